"""`getam serve`: masks and maps over HTTP."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from getam.engine.device import AUTO
from getam.errors import InputError
from getam.outputs.progress import say
from getam.verbs.from_python import from_python

LOOPBACK = "127.0.0.1"
PORT = 8000
PLACES = 32
SECONDS = 30.0
MEGABYTES = 20.0
MEGAPIXELS = 50.0
BATCH = 8  # on a GPU
GRACE = 5  # seconds beyond the time-out in which answers may still be sent while the service ends


@from_python
def serve(
    *,
    model: Path | None = None,
    scales: tuple[int, ...] | None = None,
    flip: bool = False,
    crf: bool = True,
    device: str = AUTO,
    host: str = LOOPBACK,
    port: int = PORT,
    places: int = PLACES,
    timeout: float = SECONDS,
    batch: int | None = None,
    upload_mb: float = MEGABYTES,
    megapixels: float = MEGAPIXELS,
) -> None:
    """Answer photos with masks and maps over HTTP until it is told to stop.

    Needs `pip install 'getam[serve]'`.

    SIGTERM and Ctrl-C end it: no new request is taken, those inside get their answers.

    Args:
        model: run folder or model file; the embedded model when left out.
        scales: long sides in pixels; logits are averaged over them. Left out, as of `getam predict`.
        flip: average with the mirrored photo.
        crf: sharpen outlines with a dense CRF.
        device: auto, cpu, cuda, cuda:1 or mps; auto is a GPU if there is one.
        host: address to listen on; only this machine can reach the default. Nobody is asked who they are: before you
            open it to others, put what checks that in front.
        port: to listen on; 0 for any that is free.
        places: requests that may be inside at once; further ones are told to come back later (503).
        timeout: seconds after which a request is given up (504; 408 where its photo has not arrived by then).
        batch: photos of one size in one pass of the network, at most; when left out 8 on a GPU and 1 on a CPU, where
            more are no faster (docs/performance.md).
        upload_mb: of a photo's file, in millions of bytes.
        megapixels: of a photo, in millions of pixels, read from its header before anything is decoded.

    Raises:
        InputError: no such model or device, one without masks, an option out of range, or the extra is missing.
    """
    for name, value in (("places", places), ("batch", batch), ("timeout", timeout), ("upload-mb", upload_mb),
                        ("megapixels", megapixels)):  # fmt: skip
        if value is not None and value <= 0:
            raise InputError(f"--{name} {value:g} must be above 0")
    if not 0 <= port < 2**16:
        raise InputError(f"--port {port} is no port: choose 0 to 65535")
    try:
        import uvicorn

        from getam.service.app import Service, create_app
    except ImportError as error:
        raise InputError(
            f"getam serve needs the extra 'serve' ({error}): pip install 'getam[serve]'"
        ) from error
    from getam.service.network import ServedNetwork
    from getam.service.uploads import Limits

    network = ServedNetwork(
        model, scales=scales, flip=flip, crf=crf, device=device, limits=Limits(upload_mb, megapixels)
    )
    several = batch or (1 if network.on_cpu else BATCH)
    service = Service(network, limit=places, timeout=timeout, batch=several)
    config = uvicorn.Config(
        create_app(service), host=host, port=port, log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=int(timeout) + GRACE,
    )  # fmt: skip
    server = uvicorn.Server(config)
    with _listening(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        say(f"listening on http://{shown}:{listening.getsockname()[1]} (Ctrl-C ends it)")
        signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn sends it again when it is through
        server.run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}, port {port} ({error.strerror or error}): choose another --host or --port"
        ) from None
