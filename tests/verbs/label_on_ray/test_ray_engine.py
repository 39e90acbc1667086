"""`getam label --engine ray` against the plain engine: the same bytes, whatever happens to workers in between."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest
import yaml
from PIL import Image

import getam
import tiny
from getam.data.masks import read_mask
from getam.data.places import listing, read_bytes, write_bytes
from getam.engine.model_file import save_model
from getam.errors import InputError, SkippedError
from getam.verbs.label import label
from getam.verbs.label_on_ray import engine as label_ray
from getam.verbs.label_on_ray.cluster import workers_of
from getam.verbs.label_on_ray.engine import RayWorker, _failed
from getam.verbs.label_on_ray.worker import Done, LabelWorker, Plan

PLAIN: dict[str, Any] = {"scales": (48,), "flip": False, "saliency": None}
COUNT = 24
# Workers import torch each; on a full machine the first took more than 300 s
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """One Ray of this machine for all tests: it takes seconds to start."""
    found = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    paths = os.pathsep.join(path for path in sys.path if path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", paths)  # workers import getam from where this process has it
        patch.setenv("OMP_NUM_THREADS", "1")
        found.init(
            address="local", num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20, log_to_driver=False,
            _node_ip_address="127.0.0.1",
        )  # fmt: skip
        yield found
        found.shutdown()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks go to a worker in this process, two at a time, through the same JSON; Ray need not be installed."""

    @contextmanager
    def nothing(address: str | None, **options: Any) -> Iterator[Any]:
        yield SimpleNamespace(exceptions=SimpleNamespace(RayError=ZeroDivisionError), get=lambda sent: sent)

    def stream(
        ray: Any, tasks: Any, plan: Plan, weights: bytes | None, workers: str | None
    ) -> Iterator[Done]:
        worker = object.__new__(RayWorker)
        worker._worker = LabelWorker(plan, weights)
        for start in range(0, len(tasks), 2):
            batch = {"task": [json.dumps(asdict(task)) for task in tasks[start : start + 2]]}
            yield from (Done(**json.loads(line)) for line in worker(batch)["done"])

    monkeypatch.setattr(label_ray, "import_ray", lambda: None)
    monkeypatch.setattr(label_ray, "cluster", nothing)
    monkeypatch.setattr(label_ray, "_stream", stream)


@pytest.fixture(scope="module")
def data(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Photos of coloured blots, some in a subfolder, one of them in grey, and a model that sees them."""
    root = tmp_path_factory.mktemp("ray")
    photos = root / "photos"
    (photos / "farm").mkdir(parents=True)
    random = np.random.default_rng(4)
    rows = ["image,tags"]
    for index in range(COUNT):
        blots = Image.fromarray(random.integers(0, 255, (5, 6, 3)).astype(np.uint8))
        name = f"farm/scene{index}.png" if index % 4 == 0 else f"scene{index}.png"
        blots.resize((48, 40), Image.Resampling.BICUBIC).convert("L" if index == 5 else "RGB").save(
            photos / name
        )
        rows.append(f"{name},{('red', '', 'red;blue', 'blue')[index % 4]}")
    (photos / "tags.csv").write_text("\n".join(rows) + "\n")
    config = yaml.safe_load((trained / "config.yaml").read_text())
    save_model(root / "awake.safetensors", tiny.awake(getam.load_model(trained)), config)
    return {"data": photos, "model": root / "awake.safetensors"}


@pytest.fixture(scope="module")
def plain(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the plain engine writes: relative name → content of every mask."""
    return masks(label(out=tmp_path_factory.mktemp("plain") / "out", **data, **PLAIN))


def masks(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*.png"))}


def receipts(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for file in folder.glob("done/*/*.jsonl") for line in file.read_text().splitlines()
    ]


def by_ray(data: dict[str, Any], out: Path, **options: Any) -> Path:
    return label(out=out, engine="ray", **data, **{**PLAIN, "workers": "1..2", **options})


def test_a_folder_like_the_plain_one_and_the_same_call_again_has_nothing_to_do(
    ray: Any, data: dict[str, Any], plain: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = by_ray(data, tmp_path / "out")
    assert len(plain) == COUNT
    assert masks(out) == plain
    assert (out / "classes.txt").read_text().split() == ["background", "blue", "red"]
    assert {each["name"] for each in receipts(out)} == {name.removesuffix(".png") for name in plain}
    assert len(receipts(out)) == COUNT
    record = json.loads((out / "protocol.jsonl").read_text())
    assert (record["verb"], record["engine"], record["photos"]) == ("label", "ray", COUNT)
    assert "Pseudo label (" in (out / "first-look.html").read_text()
    assert getam.evaluate(out, out).miou == 1.0

    monkeypatch.setattr("getam.verbs.label_on_ray.engine.cluster", None)  # whoever asks for workers fails
    by_ray(data, tmp_path / "out")
    assert len(receipts(out)) == COUNT
    assert len((out / "protocol.jsonl").read_text().splitlines()) == 2
    with pytest.raises(InputError, match=r"exists: choose another --out"):
        by_ray(data, tmp_path / "out", flip=True)  # of another call


@pytest.mark.slow  # half a minute, and once, with Ray 2.60 on a machine full of other work, not done after five
def test_a_killed_worker_loses_nothing(
    ray: Any, data: dict[str, Any], plain: dict[str, bytes], tmp_path: Path
) -> None:
    out, killed = tmp_path / "out", list[int]()

    def kill() -> None:
        while len(masks(out) if out.is_dir() else {}) < 3:
            time.sleep(0.01)
        for process in workers():
            os.kill(process, signal.SIGKILL)
            killed.append(process)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    by_ray(data, out)
    thread.join(10)
    assert killed
    assert masks(out) == plain
    assert sorted(each["name"] for each in receipts(out)) == sorted(
        name.removesuffix(".png") for name in plain
    )
    assert [file.name for file in out.rglob(".*")] == [".lock"]  # nothing half-written is left


@pytest.mark.parametrize("engine", ["plain", "ray"])
def test_bad_photos_stop_the_call_or_are_left_out_and_the_same_call_does_the_rest(
    engine: Any, here: None, data: dict[str, Any], plain: dict[str, bytes], tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(data["data"], photos)
    good = (photos / "scene1.png").read_bytes()
    (photos / "scene1.png").write_bytes(good[: len(good) // 2])
    given: dict[str, Any] = {
        **PLAIN,
        "data": photos,
        "model": data["model"],
        "engine": engine,
        "out": tmp_path / "out",
    }
    with pytest.raises(InputError, match=r"photo .*scene1\.png cannot be read .*; what is done is kept"):
        label(**given)
    with pytest.raises(
        SkippedError, match=rf"1 of {COUNT} photos were left out .*scene1\.png cannot be read"
    ):
        label(**given, on_bad_image="skip")
    wanted = {name: content for name, content in plain.items() if name != "scene1.png"}
    assert masks(tmp_path / "out") == wanted
    (photos / "scene1.png").write_bytes(good)
    label(**given)
    assert masks(tmp_path / "out") == plain


def test_what_was_replaced_is_made_anew_and_what_was_corrected_is_kept(
    here: None, data: dict[str, Any], plain: dict[str, bytes], tmp_path: Path
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(data["data"], photos)
    given = {"data": photos, "model": data["model"]}
    by_ray(given, out)
    shutil.copy(photos / "scene2.png", photos / "scene6.png")  # both are tagged red and blue
    (out / "scene3.png").unlink()
    by_ray(given, out)
    assert masks(out) == {**plain, "scene6.png": plain["scene2.png"]}
    (out / "scene3.png").write_bytes(b"corrected")
    with pytest.raises(InputError, match=r"scene3\.png exists: choose another --out"):
        by_ray({**given, "tags": changed(photos)}, out)
    by_ray({**given, "tags": changed(photos)}, out, overwrite=True)
    assert len(read_mask(out / "scene3.png")) == 40


def changed(photos: Path) -> Path:
    """Other tags for one photo."""
    file = photos / "other.csv"
    file.write_text((photos / "tags.csv").read_text().replace("scene3.png,blue", "scene3.png,red"))
    return file


def test_maps_of_a_folder_and_of_a_provider(here: None, data: dict[str, Any], tmp_path: Path) -> None:
    data = {**data, "tags": few(tmp_path)}
    for name, saliency in (("provider", "embedded"), ("auto", "auto")):
        wanted = label(out=tmp_path / f"plain-{name}", **data, **{**PLAIN, "saliency": saliency})
        assert masks(by_ray(data, tmp_path / name, saliency=saliency)) == masks(wanted)
    maps = tmp_path / "maps"
    for photo in data["data"].rglob("*.png"):
        half = np.zeros((40, 48), np.uint8)
        half[:20] = 255
        file = maps / photo.relative_to(data["data"])
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(half).save(file)
    wanted = label(out=tmp_path / "plain-folder", **data, **{**PLAIN, "saliency": maps})
    assert masks(by_ray(data, tmp_path / "folder", saliency=maps)) == masks(wanted)


def few(folder: Path) -> Path:
    """Tags of three photos: makers of saliency maps take their time."""
    (folder / "few.csv").write_text("image,tags\nfarm/scene0.png,red\nscene2.png,red;blue\nscene1.png,\n")
    return folder / "few.csv"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "plain", "workers": "2"}, "--workers 2 is of --engine ray"),
        ({"engine": "plain", "ray_address": "a:1"}, "--ray-address a:1 is of --engine ray"),
        ({"engine": "plain", "data": Path("s3://a/b")}, "--data s3://a/b is no folder of this"),
        ({"engine": "plain", "out": Path("gs://a/b")}, "--out gs://a/b is no folder of this machine: add --engine ray"),
        ({"calibrate": Path("truth")}, "--calibrate looks at few photos"),
        ({"device": "cuda:1"}, "--device cuda:1 with --engine ray"),
        ({"out": Path("memory://a"), "to": "voc"}, "--to voc reads masks and photos of this machine"),
        ({"data": Path("memory://b"), "split": "val"}, "--split is for folders of this machine"),
        ({"shard": "2/3"}, "--shard 2/3: Ray deals the photos out by itself"),
        ({"workers": "many"}, "--workers many: give a number"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(
    options: dict[str, Any], said: str, here: None, data: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        label(**{**PLAIN, **data, "out": tmp_path / "out", "engine": "ray", **options})
    assert not masks(tmp_path / "out")


def test_photos_and_masks_of_a_store(
    here: None, data: dict[str, Any], plain: dict[str, bytes], tmp_path: Path
) -> None:
    """A store in memory: photos are listed and tags read there, masks, classes and protocol written there."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    for file in data["data"].rglob("*.*"):
        write_bytes(f"memory://in/{file.relative_to(data['data']).as_posix()}", file.read_bytes())
    given = {"data": Path("memory://in"), "model": data["model"]}
    by_ray(given, Path("memory://out"))

    def there(suffix: str) -> dict[str, bytes]:
        return {n: read_bytes(e.place) for n, e in listing("memory://out").items() if n.endswith(suffix)}

    assert there(".png") == plain
    assert read_bytes("memory://out/classes.txt").split() == [b"background", b"blue", b"red"]
    by_ray(given, Path("memory://out"))
    assert len(read_bytes("memory://out/protocol.jsonl").splitlines()) == 2
    assert sum(len(content.splitlines()) for content in there(".jsonl").values()) == COUNT + 2
    write_bytes("memory://in/scene1.png", b"nothing")
    with pytest.raises(
        SkippedError, match=r"all are named in memory://out/protocol\.jsonl; .*memory://in/scene1\.png"
    ):
        by_ray(given, Path("memory://out"), on_bad_image="skip")
    assert masks(by_ray(given, tmp_path / "here", on_bad_image="fail", tags=some(tmp_path))) == {
        "Farm/Scene0.png": plain["farm/scene0.png"], "scene2.png": plain["scene2.png"],
    }  # fmt: skip
    write_bytes("memory://out/classes.txt", b"background\ncat\n")
    with pytest.raises(InputError, match=r"memory://out holds masks of the classes cat, not blue, red"):
        by_ray(given, Path("memory://out"), overwrite=True)
    with pytest.raises(InputError, match=r"memory://empty/tags\.csv does not exist: say with --tags"):
        by_ray({**given, "data": Path("memory://empty")}, tmp_path / "o")
    for row, said in (("x.png,red", "photo x.png is not in memory://in"), ("scene1.png", "line 2")):
        write_bytes("memory://in/tags.csv", f"image,tags\n{row}\n".encode())
        with pytest.raises(InputError, match=rf"memory://in/tags\.csv, line 2.*{said}|line 2"):
            by_ray(given, tmp_path / "o")
    store.store.clear()


def some(folder: Path) -> Path:
    """Tags of two photos, as people spell their names."""
    (folder / "some.csv").write_text("image,tags\nFarm/Scene0,red\nscene2.PNG,red;blue\n")
    return folder / "some.csv"


def test_what_stops_a_worker_is_one_sentence() -> None:
    class RemoteError(Exception):  # as Ray wraps what a worker raises
        cause = None

    for inside, said in (
        (
            OSError(28, "No space left on device"),
            r"labelling stopped: \[Errno 28\] No space left on device; what is done",
        ),
        (
            InputError("maps have NaN."),
            "labelling stopped: maps have NaN; what is done is kept, and the same command",
        ),
    ):
        middle = RemoteError("many\nlines")
        middle.cause = inside  # type: ignore[assignment]
        outer = RuntimeError("more\nlines")
        outer.__cause__ = middle
        assert re.match(said, str(_failed(outer)))
    assert str(_failed(RuntimeError("actor died\nTHE LAST LINE."))).startswith(
        "labelling stopped: THE LAST LINE; "
    )


def test_a_worker_that_fails_stops_the_call_and_what_came_before_is_listed(
    here: None, data: dict[str, Any], plain: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = label_ray._stream

    def broken(*given: Any) -> Iterator[Done]:
        for count, done in enumerate(whole(*given)):
            if count == 4:
                raise ZeroDivisionError("worker gone")  # what `here` takes for Ray's errors
            yield done

    monkeypatch.setattr(label_ray, "_stream", broken)
    with pytest.raises(InputError, match="labelling stopped: worker gone; what is done is kept"):
        by_ray(data, tmp_path / "out")
    assert len(receipts(tmp_path / "out")) == 4
    given = list[int]()

    def counted(ray: Any, tasks: Any, *rest: Any) -> Iterator[Done]:
        given.append(len(tasks))
        return whole(ray, tasks, *rest)

    monkeypatch.setattr(label_ray, "_stream", counted)
    assert masks(by_ray(data, tmp_path / "out")) == plain
    assert given == [COUNT - 4]


def test_how_many_workers() -> None:
    assert workers_of("1", 9) == (1, 1)
    for wrong in ("0", "3..2", "2..", "-1", ""):
        with pytest.raises(InputError, match=r"such as 2\.\.16"):
            workers_of(wrong, 4)
    assert workers_of(None, 0) == (1, 1)


def workers() -> list[int]:
    """Processes below this one that label: Ray calls them by their class."""
    return [
        process
        for process in map(int, filter(str.isdigit, os.listdir("/proc")))
        if b"RayWorker" in said_of(process, "cmdline") and is_below(process)
    ]


def is_below(process: int) -> bool:
    while process > 1 and process != os.getpid():
        process = int(said_of(process, "stat").rpartition(b")")[2].split()[1] or 0)
    return process == os.getpid()


def said_of(process: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{process}/{what}").read_bytes()
    except OSError:
        return b"() ? 0"
