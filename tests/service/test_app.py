"""The routes over HTTP, without a socket: answers against the network's own, and every way in which there is none."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from photographs import photo
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from pycocotools import mask as coco

from getam.errors import InputError
from getam.service.app import Service, create_app
from getam.service.network import Mask, ServedNetwork
from getam.service.uploads import Limits, check_upload

Client = httpx.AsyncClient


class Waits:
    """Stands for the network: a mask of zeros when `go` says so."""

    classes = ("cat", "dog")
    limits = Limits(1, 1)
    weights_sha256 = "ab"

    def __init__(self) -> None:
        self.go, self.busy, self.batches = threading.Event(), threading.Event(), list[int]()

    def prepare(self, content: bytes, tags: Any = None) -> Any:
        return check_upload(content, self.limits)

    prepare_whole = prepare

    def key(self, photo: Any) -> Any:
        return photo

    def masks(self, batch: Any) -> list[Mask]:
        self.batches.append(len(batch))
        self.busy.set()
        assert self.go.wait(20)
        return [Mask(np.zeros((height, width), np.uint8), {}) for width, height in batch]

    def maps(self, photo: Any, classes: Any, *, refine: bool) -> Any:
        raise InputError("no class")


@pytest.fixture(scope="module")
def served(lively: Path) -> ServedNetwork:
    return ServedNetwork(lively, scales=(64,), device="cpu", limits=Limits(0.2, 1))


@asynccontextmanager
async def asking(service: Service) -> AsyncIterator[Client]:
    transport = httpx.ASGITransport(create_app(service), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://getam", timeout=60) as client:
        yield client


def ask(network: Any, work: Callable[[Client], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """What `work` returns with a client of a service of its own."""

    async def run() -> Any:
        service = Service(network, **options)
        async with asking(service) as client:
            result = await work(client)
        await service.close()
        assert service.places.taken == 0
        return result

    return asyncio.run(asyncio.wait_for(run(), 100))


@contextmanager
def waiting() -> Iterator[Waits]:
    network = Waits()
    try:
        yield network
    finally:
        network.go.set()


def mask_of(network: ServedNetwork, content: bytes) -> Any:
    (mask,) = network.masks([network.prepare(content)])
    assert isinstance(mask, Mask)
    return mask


# Answers


def test_segment_in_every_format(served: ServedNetwork) -> None:
    content = photo()
    wanted = mask_of(served, content)
    assert len(np.unique(wanted.label)) == 3

    async def work(client: Client) -> list[httpx.Response]:
        return [
            await client.post("/segment", content=content),
            await client.post("/segment", content=content, headers={"Accept": "application/json, image/png"}),
            await client.post("/segment?format=png", content=content, headers={"Accept": "application/json"}),
            await client.post("/segment?format=json", files={"photo": ("a.png", content)}),
            await client.post("/segment", files={"photo": content}, data={"note": "x"}),
            await client.post("/segment?format=rle", content=content),
        ]

    answers = ask(served, work)
    assert [answer.status_code for answer in answers] == [200] * 6
    kinds = [answer.headers["content-type"] for answer in answers]
    assert kinds == [f"{kind}" for kind in (
        "image/png", "application/json", "image/png", "application/json", "image/png", "application/json"
    )]  # fmt: skip
    for place in (0, 2, 4):
        with Image.open(io.BytesIO(answers[place].content)) as image:
            assert image.mode == "P"
            np.testing.assert_array_equal(np.array(image), wanted.label)
            assert json.loads(image.text["getam:confidence"]) == pytest.approx(wanted.confidences, abs=1e-4)
    told = answers[1].json()
    assert told == answers[3].json()
    with Image.open(io.BytesIO(base64.b64decode(told["png"]))) as image:
        np.testing.assert_array_equal(np.array(image), wanted.label)
    assert (told["height"], told["width"]) == wanted.label.shape
    for each in told["classes"]:
        flags = wanted.label == each["label"]
        x, y, width, height = each["box"]
        assert each["name"] == served.classes[each["label"] - 1]
        assert each["pixels"] == flags.sum() == flags[y : y + height, x : x + width].sum()
        assert flags[y].any()
        assert flags[y + height - 1].any()
        assert flags[:, x].any()
        assert flags[:, x + width - 1].any()
        assert each["confidence"] == pytest.approx(wanted.confidences[each["name"]], abs=1e-4)
    document = answers[5].json()
    assert [category["name"] for category in document["categories"]] == list(served.classes)
    again = np.zeros_like(wanted.label)
    for annotation in document["annotations"]:
        again[coco.decode(annotation["segmentation"]) == 1] = annotation["category_id"]
    np.testing.assert_array_equal(again, wanted.label)


def test_segment_looks_for_the_tags_alone(served: ServedNetwork) -> None:
    content = photo()
    first, second = served.classes[:2]

    async def work(client: Client) -> list[httpx.Response]:
        asked = (f"?tag={second}", f"?tag={first}&tag={second}", f"?tag={first}&tag=rd", "")
        return [await client.post(f"/segment{query}", content=content) for query in asked]

    one, both, unknown, free = ask(served, work)
    for answer, tags in ((one, [second]), (both, [first, second]), (free, None)):
        (wanted,) = served.masks([served.prepare(content, tags)])
        assert isinstance(wanted, Mask)
        with Image.open(io.BytesIO(answer.content)) as image:
            np.testing.assert_array_equal(np.array(image), wanted.label)
    assert one.content != free.content
    assert unknown.status_code == 422
    assert "no class 'rd'" in unknown.json()["detail"]


def test_explain(served: ServedNetwork) -> None:
    content = photo()
    prepared = served.prepare_whole(content)
    wanted = served.maps(prepared, ["red"], refine=True)

    async def work(client: Client) -> list[httpx.Response]:
        asked = ("?class=red", "?class=red&refine=false", "?class=red&class=blue&format=npz", "?format=npz", "",
                 "?class=rd", "?class=red&class=blue", "?format=tiff")  # fmt: skip
        return [await client.post(f"/explain{query}", content=content) for query in asked]

    refined, plain, both, found, one, unknown, two, odd = ask(served, work)
    for answer, refine in ((refined, True), (plain, False)):
        assert answer.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(answer.content)) as image:
            np.testing.assert_array_equal(np.array(image), np.array(wanted.overlay(refine=refine)))
    assert refined.content != plain.content
    assert both.headers["content-type"] == "application/x-npz"
    numbers = np.load(io.BytesIO(both.content))
    assert numbers["classes"].tolist() == ["red", "blue"]
    np.testing.assert_array_equal(numbers["values"][0], wanted.values[0, 0].numpy())
    assert np.load(io.BytesIO(found.content))["classes"].tolist() == [
        name for name, _ in served.maps(prepared, [], refine=False).found()
    ]
    assert one.status_code == 200
    assert [answer.status_code for answer in (unknown, two, odd)] == [422] * 3
    assert "no class 'rd'" in unknown.json()["detail"]
    assert "format=npz" in two.json()["detail"]


def test_what_is_asked_about_the_service(served: ServedNetwork) -> None:
    async def work(client: Client) -> list[httpx.Response]:
        paths = ("/classes", "/healthz", "/readyz", "/openapi.json", "/docs", "/segment")
        return [await client.get(path) for path in paths]

    classes, health, ready, openapi, docs, wrong = ask(served, work, limit=7)
    assert classes.json() == {
        "background": 0, "undecided": 255, "weights_sha256": served.weights_sha256,
        "classes": [{"label": 1, "name": "blue"}, {"label": 2, "name": "red"}],
    }  # fmt: skip
    assert health.json() == {"status": "ok"}
    assert ready.json() == {"status": "ready", "taken": 0, "places": 7}
    assert {"/segment", "/explain", "/classes", "/healthz", "/readyz", "/metrics"} == set(
        openapi.json()["paths"]
    )
    assert (docs.status_code, wrong.status_code) == (404, 405)  # no page that loads scripts from elsewhere


def test_metrics(served: ServedNetwork) -> None:
    async def work(client: Client) -> str:
        for content in (photo(), photo(), b"no photo"):
            await client.post("/segment", content=content)
        await client.get("/wp-admin")
        await client.get("/wp-login")
        return (await client.get("/metrics")).text

    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(ask(served, work, limit=5))
        for sample in family.samples
    }
    assert found["getam_requests_total", "/segment", "200"] == 2
    assert found["getam_requests_total", "/segment", "415"] == 1
    assert found["getam_requests_total", "other", "404"] == 2
    assert found["getam_request_seconds_count", "/segment"] == 3
    assert found["getam_request_seconds_sum", "/segment"] > 0
    assert found["getam_batch_photos_count",] == 2
    assert found["getam_places",] == 5
    assert found["getam_places_taken",] == 0
    assert found["process_resident_memory_bytes",] > 1e6


# What is refused


def test_uploads_that_are_refused(served: ServedNetwork) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(50_000)

    cases: list[tuple[int, dict[str, Any]]] = [
        (422, {}),
        (422, {"content": b""}),
        (415, {"content": b"GIF"}),
        (422, {"content": photo()[:-40]}),
        (413, {"content": bytes(200_001)}),
        (413, {"content": endless()}),
        (413, {"content": photo(height=1001, width=1000)}),
        (422, {"files": {"image": photo()}}),
        (422, {"data": {"photo": "text"}, "files": {"other": b""}}),
        (422, {"files": [("photo", photo()), ("photo", photo())]}),
        (422, {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}),
        (422, {"content": b"--a\r\nx", "headers": {"Content-Type": "multipart/form-data; boundary=a"}}),
        (413, {"files": {"photo": bytes(270_000)}}),
        (413, {"files": {"photo": bytes(200_001)}}),
    ]

    async def work(client: Client) -> list[httpx.Response]:
        return [await client.post(path, **case) for _, case in cases for path in ("/segment",)] + [
            await client.post("/explain", content=b"GIF")
        ]

    answers = ask(served, work)
    assert [answer.status_code for answer in answers] == [*(status for status, _ in cases), 415]
    for answer in answers:
        assert re.fullmatch(r"[^\n]{10,300}", answer.json()["detail"])


def test_a_full_service_says_when_to_come_again() -> None:
    with waiting() as network:

        async def work(client: Client) -> tuple[list[httpx.Response], list[httpx.Response]]:
            first = [asyncio.create_task(client.post("/segment", content=photo())) for _ in range(2)]
            await until(network.busy.is_set)
            refused = [await client.post(path, content=photo()) for path in ("/segment", "/explain")]
            refused.append(await client.get("/readyz"))
            assert (await client.get("/healthz")).status_code == 200
            network.go.set()
            return refused, [await each for each in first]

        refused, answers = ask(network, work, limit=2)
        assert [answer.status_code for answer in refused] == [503] * 3
        for answer in refused:
            assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert "all 2 places" in refused[0].json()["detail"]
        assert [answer.status_code for answer in answers] == [200, 200]


def test_retry_after_follows_what_is_inside() -> None:
    service = Service(Waits(), limit=9)  # type: ignore[arg-type]
    service.masks.seconds, service.maps.seconds = 0.5, 2.0
    assert service.retry_after() == 1
    service.places.taken = 3
    assert service.retry_after() == 6
    service.places.taken = 100
    assert service.retry_after() == 60


def test_photos_of_a_key_share_a_batch_as_large_as_is_said() -> None:
    with waiting() as network:

        async def work(client: Client) -> None:
            tasks = [asyncio.create_task(client.post("/segment", content=photo()))]
            await until(network.busy.is_set)
            tasks += [asyncio.create_task(client.post("/segment", content=photo())) for _ in range(5)]
            await asyncio.sleep(0.5)
            network.go.set()
            assert [(await each).status_code for each in tasks] == [200] * 6

        ask(network, work, batch=3)
        assert network.batches == [1, 3, 2]


def test_time_outs() -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(100)

    with waiting() as network:

        async def work(client: Client) -> list[httpx.Response]:
            late = await client.post("/segment", content=photo())
            slow = await client.post("/segment", content=never())
            network.go.set()
            return [late, slow]

        late, slow = ask(network, work, timeout=0.3)
        assert (late.status_code, slow.status_code) == (504, 408)
        assert "0.3 s" in late.json()["detail"]
        assert "0.3 s" in slow.json()["detail"]


def test_closing_answers_what_is_inside() -> None:
    with waiting() as network:

        async def run() -> None:
            service = Service(network)  # type: ignore[arg-type]
            async with asking(service) as client:
                inside = [asyncio.create_task(client.post("/segment", content=photo())) for _ in range(3)]
                await until(network.busy.is_set)
                await until(lambda: service.masks.waiting == 2)
                closing = asyncio.create_task(service.close())
                await asyncio.sleep(0.05)
                assert (await client.get("/readyz")).json()["detail"] == "closing"
                assert not closing.done()
                network.go.set()
                assert [(await each).status_code for each in inside] == [200] * 3
                await closing

        asyncio.run(asyncio.wait_for(run(), 60))


def test_a_network_that_fails_is_a_500_and_the_next_photo_has_its_mask() -> None:
    with waiting() as network:
        network.go.set()
        real, calls = network.masks, list[int]()

        def once(batch: Any) -> list[Mask]:
            calls.append(len(batch))
            if len(calls) == 1:
                raise RuntimeError("broken")
            return real(batch)

        network.masks = once  # type: ignore[method-assign]

        async def work(client: Client) -> list[httpx.Response]:
            return [await client.post("/segment", content=photo()) for _ in range(2)]

        assert [answer.status_code for answer in ask(network, work)] == [500, 200]


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.005)
