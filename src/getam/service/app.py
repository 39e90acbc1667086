"""The routes: what is asked over HTTP, what is answered, and with which status when it cannot be."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse

from getam.errors import InputError
from getam.label_numbers import ignore_label
from getam.report.photo_maps import PhotoMaps
from getam.service.answers import (
    JSON,
    NPZ,
    PNG,
    MapFormat,
    MaskFormat,
    map_png,
    mask_json,
    mask_png,
    mask_rle,
)
from getam.service.body import photo_bytes
from getam.service.metrics import Counted, Metrics
from getam.service.network import Mask, Prepared, ServedNetwork
from getam.service.openapi import ANSWERS, ERRORS, PHOTO
from getam.service.queue import Batches, FullError, Places
from getam.service.uploads import RefusedError

CODERS = 2  # threads that decode photos and encode answers, beside those of the network
SOONEST, LATEST = 1, 60  # seconds, of Retry-After
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Service:
    """The network and everything between it and the routes.

    Attributes:
        network: what answers.
        places: how many requests may be inside.
        timeout: seconds until a request that has no answer is given up.
        batch: photos in one pass of the network, at most.
    """

    network: ServedNetwork
    limit: int = 32
    timeout: float = 30.0
    batch: int = 1
    closing: bool = False
    places: Places = field(init=False)
    metrics: Metrics = field(init=False)
    masks: Batches[Prepared, Mask] = field(init=False)
    maps: Batches[Callable[[], PhotoMaps], PhotoMaps] = field(init=False)
    coders: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.places = Places(self.limit)
        self.metrics = Metrics(lambda: self.places.taken, self.limit)
        self.coders = ThreadPoolExecutor(CODERS, thread_name_prefix="getam-coder")
        self.masks = Batches(
            self.network.masks, largest=self.batch, name="getam-masks", sizes=self.metrics.batches.observe
        )
        # A thread of its own: a map takes longer than a mask, and threads may share the network (decision 004).
        self.maps = Batches(lambda asked: [make() for make in asked], largest=1, name="getam-maps")

    async def close(self) -> None:
        """Finish what is inside, then end the threads."""
        self.closing = True
        await self.masks.close()
        await self.maps.close()
        self.coders.shutdown()

    async def code(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Decoding and encoding, in a thread."""
        return await self.places.in_thread(self.coders, function, *arguments)

    def retry_after(self) -> int:
        """Seconds in which those inside will probably have their answers."""
        seconds = self.places.taken * max(self.masks.seconds, self.maps.seconds)
        return min(max(math.ceil(seconds), SOONEST), LATEST)

    async def answered(
        self, work: Callable[[bytes], Coroutine[Any, Any, Response]], request: Request
    ) -> Response:
        """The photo of a request, worked on in a place and within the time-out; or what stands in the way."""
        read = False
        try:
            with self.places.one():
                async with asyncio.timeout(self.timeout):
                    content = await photo_bytes(request, self.network.limits)
                    read = True
                    return await work(content)
        except FullError as error:
            return problem(503, f"{error}: try again later", {"Retry-After": str(self.retry_after())})
        except TimeoutError:
            if read:
                return problem(
                    504, f"there was no answer within {self.timeout:g} s: send a smaller photo, or later"
                )
            return problem(
                408, f"the photo had not arrived after {self.timeout:g} s", {"Connection": "close"}
            )
        except RefusedError as error:
            return problem(error.status, str(error))


def create_app(service: Service) -> Any:
    """The ASGI application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    network, places = service.network, service.places
    app = FastAPI(
        title="getam", version=metadata.version("getam"), summary="Photos in, pixel masks out.", lifespan=lifespan,
        docs_url=None, redoc_url=None,  # those pages load scripts from elsewhere
    )  # fmt: skip

    @app.post(
        "/segment", openapi_extra=PHOTO, responses={**ANSWERS["segment"], **ERRORS}, response_class=Response
    )
    async def segment(
        request: Request,
        format: Annotated[MaskFormat | None, Query(description="else by Accept; else png")] = None,
        tags: Annotated[
            list[str] | None,
            Query(alias="tag", description="names of /classes that it shows; else any may be found"),
        ] = None,
    ) -> Response:
        """The mask of a photo: as `getam predict` makes it, at the photo's size."""
        chosen = format or (MaskFormat.JSON if _prefers_json(request) else MaskFormat.PNG)

        async def work(content: bytes) -> Response:
            try:
                photo = await service.code(lambda: network.prepare(content, tags))
            except InputError as error:
                return problem(422, str(error))
            mask = await service.masks.result(photo, network.key(photo))
            if chosen is MaskFormat.PNG:
                return Response(await service.code(mask_png, mask), media_type=PNG)
            told = mask_json if chosen is MaskFormat.JSON else mask_rle
            return JSONResponse(await service.code(told, mask, network.classes))

        return await service.answered(work, request)

    @app.post(
        "/explain", openapi_extra=PHOTO, responses={**ANSWERS["explain"], **ERRORS}, response_class=Response
    )
    async def explain(
        request: Request,
        classes: Annotated[
            list[str] | None, Query(alias="class", description="names of /classes; else those that are found")
        ] = None,
        format: Annotated[
            MapFormat, Query(description="a picture of one class, or the numbers")
        ] = MapFormat.PNG,
        refine: Annotated[bool, Query(description="spread the picture along the photo's edges")] = True,
    ) -> Response:
        """Which pixels carry each class: as `getam explain` draws the first, or as the NPZ it writes of all."""
        if classes is not None and len(classes) > 1 and format is MapFormat.PNG:
            return problem(422, "a PNG shows one class: give one, or ask for format=npz")

        async def work(content: bytes) -> Response:
            photo = await service.code(network.prepare_whole, content)
            try:
                maps = await service.maps.result(lambda: network.maps(photo, classes or (), refine=refine))
            except InputError as error:
                return problem(422, str(error))
            if format is MapFormat.NPZ:
                return Response(await service.code(maps.packed), media_type=NPZ)
            return Response(await service.code(lambda: map_png(maps, refine=refine)), media_type=PNG)

        return await service.answered(work, request)

    @app.get("/classes")
    async def classes() -> dict[str, Any]:
        """What labels mean: 0 is background, the largest number undecided."""
        named = [{"label": number, "name": name} for number, name in enumerate(network.classes, start=1)]
        return {"background": 0, "undecided": ignore_label(len(named)), "classes": named,
                "weights_sha256": network.weights_sha256}  # fmt: skip

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """That the process answers."""
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"description": "full, or closing"}})
    async def readyz() -> Response:
        """Whether a photo would be taken now."""
        if service.closing or places.taken >= places.limit:
            return problem(
                503, "closing" if service.closing else "full", {"Retry-After": str(service.retry_after())}
            )
        return JSONResponse({"status": "ready", "taken": places.taken, "places": places.limit})

    @app.get("/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
             response_class=Response)  # fmt: skip
    async def metrics() -> Response:
        """Counters in Prometheus' format."""
        return Response(service.metrics.text(), media_type=PROMETHEUS)

    return Counted(app, service.metrics, frozenset(str(getattr(route, "path", "")) for route in app.routes))


def problem(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    """An answer that says what is wrong in a sentence, as FastAPI's own do."""
    return JSONResponse({"detail": why}, status, headers)


def _prefers_json(request: Request) -> bool:
    """Whether Accept names JSON, and no PNG before it."""
    kinds = [part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")]
    known = [kind for kind in kinds if kind in (PNG, JSON)]
    return known[:1] == [JSON]
