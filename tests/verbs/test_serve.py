"""`getam serve` as a process: a real photo over a real socket, and an orderly end."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from getam.errors import InputError
from getam.verbs import serve as module
from getam.verbs.predict import predict
from getam.verbs.serve import serve


@pytest.fixture(scope="module")
def cat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-image's cat, a real photo."""
    data = pytest.importorskip("skimage.data", reason="the photo comes with getam[demo]")
    from PIL import Image

    file = tmp_path_factory.mktemp("cat") / "cat.jpg"
    Image.fromarray(data.chelsea()).save(file, quality=95)
    return file


@contextmanager
def serving(*options: object) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process and its port; it is ended, if it is not over."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "getam", "serve", "--port", "0", "--device", "cpu", *map(str, options)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            found = re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+) \(Ctrl-C ends it\)\n", line)
            assert found, line + process.stderr.read()
            yield process, int(found[1])
        finally:
            if process.poll() is None:
                process.kill()


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, path, body)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


def test_a_real_photo_has_the_mask_of_predict_and_sigterm_answers_what_is_inside(
    cat: Path, tmp_path: Path
) -> None:
    wanted = (predict(cat, out=tmp_path / "masks", device="cpu") / "cat.png").read_bytes()
    with serving("--timeout", 100) as (process, port):
        status, headers, mask = ask(port, "POST", "/segment", cat.read_bytes())
        assert (status, headers["content-type"]) == (200, "image/png")
        assert mask == wanted  # byte for byte, confidences too
        assert "uvicorn" not in headers.get("server", "")
        assert ask(port, "POST", "/explain?class=cat", cat.read_bytes())[0] == 200
        assert json.loads(ask(port, "GET", "/classes")[2])["classes"][0] == {"label": 1, "name": "cat"}
        answers: list[tuple[int, Any, bytes]] = []
        clients = [
            threading.Thread(target=lambda: answers.append(ask(port, "POST", "/segment", cat.read_bytes())))
            for _ in range(3)
        ]
        for client in clients:
            client.start()
        while json.loads(ask(port, "GET", "/readyz")[2])["taken"] < 3:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        for client in clients:
            client.join(100)
        assert [(status, content) for status, _, content in answers] == [(200, wanted)] * 3
        assert process.wait(60) == 0
        with pytest.raises(OSError):
            ask(port, "GET", "/healthz")


def test_a_taken_port_and_a_model_that_is_none_are_sentences(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="cannot listen"):
        module._listening("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(InputError, match="does not exist"):
        serve(model=tmp_path / "none", port=0)


@pytest.mark.parametrize(
    "option",
    [{"places": 0}, {"batch": 0}, {"timeout": -1.0}, {"upload_mb": 0.0}, {"megapixels": 0.0}, {"port": 65536}],
    ids=str,
)  # fmt: skip
def test_options_out_of_range(option: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"--{next(iter(option)).replace('_', '-')} "):
        serve(**option)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(InputError, match=r"pip install 'getam\[serve\]'"):
        serve()


class Kept:
    """Stands for the server: keeps what it is given."""

    def __init__(self, config: Any) -> None:
        Kept.config = config

    def run(self, sockets: list[socket.socket]) -> None:
        Kept.address = sockets[0].getsockname()


def test_what_is_asked_reaches_the_service(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    from getam.service import app

    before = signal.getsignal(signal.SIGTERM)
    services: list[Any] = []
    real = app.Service
    monkeypatch.setattr(app, "Service", lambda *a, **o: services.append(real(*a, **o)) or services[-1])
    monkeypatch.setattr(uvicorn, "Server", Kept)
    try:
        serve(model=trained, port=0, places=3, timeout=7, batch=2, upload_mb=1, megapixels=2, scales=(64,),
              flip=True, crf=False, device="cpu")  # fmt: skip
        serve(model=trained, port=0)
    finally:
        signal.signal(signal.SIGTERM, before)
    given, usual = services
    assert (given.limit, given.timeout, given.masks._largest) == (3, 7, 2)
    assert (given.network.limits.bytes, given.network.limits.pixels) == (1_000_000, 2_000_000)
    assert (given.network._scales, given.network._flip, given.network._crf) == ((64,), True, False)
    assert (usual.limit, usual.timeout) == (32, 30)
    assert (usual.network._scales, usual.network._flip, usual.network._crf) == ((320,), False, True)
    assert usual.masks._largest == (1 if usual.network.on_cpu else 8)
    assert Kept.address[0] == "127.0.0.1"  # nobody else reaches it unless told to
    assert Kept.config.timeout_graceful_shutdown == 35
