"""The hub: not contacted unasked; asked of a server of our own, of none, and of one that never answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer

import huggingface_hub.constants as constants
import pytest

from getam.verbs.doctor import network
from getam.verbs.doctor.network import hub


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture(params=[200, 404])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[str]]]:
    """Its address, and the kinds of requests it got."""
    got: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            got.append("HEAD")
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}", got
        made.shutdown()
        thread.join()


def test_it_answers(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, got = server
    monkeypatch.setattr(constants, "ENDPOINT", url)
    (found,) = hub(network=True)
    assert got == ["HEAD"]
    assert found.value == f"{url} answers"
    assert not found.problem
    assert not found.remedy


def test_unasked_nothing_is_contacted(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, got = server
    monkeypatch.setattr(constants, "ENDPOINT", url)
    (found,) = hub(network=False)
    assert got == []
    assert found.value == "not asked: nothing is contacted without --network"
    assert not found.problem


def test_offline_on_purpose(server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    url, got = server
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (found,) = hub(network=True)
    assert got == []
    assert "HF_HUB_OFFLINE is set" in found.value
    assert "HF_HUB_OFFLINE" in found.remedy
    assert not found.problem


def test_it_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def blocked(*args: object, **options: object) -> None:
        raise OSError("blocked")

    monkeypatch.setattr(socket, "create_connection", blocked)
    monkeypatch.setattr(socket, "getaddrinfo", blocked)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    (found,) = hub(network=True)
    assert found.value == "http://127.0.0.1:9 cannot be reached: blocked"
    assert found.problem
    assert not found.stops
    assert "--weights FILE.safetensors" in found.remedy


def test_no_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that says nothing: looking up a name has no limit of its own."""
    end = threading.Event()
    monkeypatch.setattr(network, "urlopen", lambda *args, **options: nullcontext(end.wait()))
    try:
        assert network._ask("http://127.0.0.1:9", seconds=0.05) == "no answer in 0.05 s"
    finally:
        end.set()


def test_what_is_no_address_is_said() -> None:
    assert network._ask("nowhere")
