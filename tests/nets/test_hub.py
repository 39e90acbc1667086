"""Weights from the hub: one sentence where they cannot be had, no retries without a network, nothing left changed."""

import logging
import socket
from typing import Any

import huggingface_hub.constants as hub
import pytest

from getam.errors import WeightsError
from getam.nets.hub import from_hub

LOGGER = logging.getLogger("huggingface_hub")


@pytest.fixture(autouse=True)
def _level() -> Any:
    before = LOGGER.level
    LOGGER.setLevel(logging.INFO)
    yield
    LOGGER.setLevel(before)


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)


def test_without_a_network_the_cache_alone_is_asked_and_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    offline(monkeypatch)
    assert from_hub(lambda: (hub.HF_HUB_OFFLINE, LOGGER.level), "vit") == (True, logging.CRITICAL)
    assert (hub.HF_HUB_OFFLINE, LOGGER.level) == (False, logging.INFO)


@pytest.mark.parametrize("before", [False, True])
def test_with_a_network_nothing_is_changed(before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", before)
    monkeypatch.setattr(hub, "ENDPOINT", "https://hub.example:8443/models")
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address: asked.append(address))
    assert from_hub(lambda: (hub.HF_HUB_OFFLINE, LOGGER.level), "vit") == (before, logging.INFO)
    assert asked == [("hub.example", 443)]


@pytest.mark.parametrize("error", [OSError("reset"), RuntimeError("No pretrained weights exist")])
def test_what_cannot_be_had_is_one_sentence(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    offline(monkeypatch)

    def failing() -> None:
        raise error

    with pytest.raises(
        WeightsError, match=rf"weights of vit .* hub \({type(error).__name__}\).*--weights FILE"
    ) as shown:
        from_hub(failing, "vit")
    assert shown.value.__cause__ is error
    assert (hub.HF_HUB_OFFLINE, LOGGER.level) == (False, logging.INFO)


def test_other_errors_are_not_the_hub_s(monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch)
    with pytest.raises(ZeroDivisionError):
        from_hub(lambda: 1 // 0, "vit")
