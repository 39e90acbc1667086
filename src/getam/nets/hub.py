"""Weights from the Hugging Face hub; without a network, from its cache on disk, or else one clear error at once."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import huggingface_hub.constants as hub

from getam.errors import GetamError, WeightsError

Model = TypeVar("Model")
LOCAL_FILE = "give a local file with --weights FILE.safetensors"


def from_hub(create: Callable[[], Model], name: str, remedy: str = LOCAL_FILE) -> Model:
    """Run `create`, which builds the model `name` with pretrained weights; `remedy` is what else can be done.

    Raises:
        WeightsError: the weights are neither cached nor to be had.
    """
    try:
        with _offline_if_unreachable():
            return create()
    except GetamError:
        raise
    except (OSError, RuntimeError) as error:  # hub clients raise subclasses of OSError, timm RuntimeError
        raise WeightsError(
            f"the weights of {name} could not be fetched from the hub ({type(error).__name__}): {remedy}, or try again "
            "with a network"
        ) from error


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Spare the hub client its minute of retries when its host has no address; cached files are still found."""
    before, logger = hub.HF_HUB_OFFLINE, logging.getLogger("huggingface_hub")
    level = logger.level
    try:
        socket.getaddrinfo(urlsplit(hub.ENDPOINT).hostname, 443)
    except OSError:
        hub.HF_HUB_OFFLINE = True
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before
        logger.setLevel(level)
