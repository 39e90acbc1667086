"""The networks the app may open: the embedded one, those named when it started, and timm's by name."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

import timm
import torch
from torch import nn

from getam.errors import InputError
from getam.maps.registry import REGISTRY
from getam.nets.class_names import ClassNames
from getam.nets.network import Network
from getam.nets.segmenter import Segmenter
from getam.opened.subject import Subject, open_model
from getam.opened.usual_chain import usual_chain
from getam.pipeline import Pipeline

EMBEDDED = "embedded"
AT_ONCE = 2  # networks in memory: two are compared, and a large one has hundreds of megabytes
TIMM_NAME = re.compile(r"[A-Za-z0-9_.]+")  # no slash and no colon: a page cannot name a file or a place


@dataclass(frozen=True)
class Opened:
    """A network, and how it is best read."""

    name: str
    net: nn.Module
    usual: Pipeline

    @cached_property
    def subject(self) -> Subject:
        """How its photos are prepared and its classes are called."""
        return Subject(self.net)

    @property
    def names(self) -> ClassNames:
        """Of its classes."""
        return self.subject.names()

    @property
    def labels(self) -> bool:
        """Whether `getam label` takes it: networks of ours."""
        return isinstance(self.net, Network)

    @property
    def predicts(self) -> bool:
        """Whether it has a decoder, for masks without tags."""
        return isinstance(self.net, Segmenter)

    def class_names(self) -> tuple[str, ...]:
        """All of them, of synonyms the first; doubled names once."""
        count = getattr(self.net, "num_classes", None)
        total = len(self.net.classes) if isinstance(self.net, Network) else int(count or 0)
        return tuple(dict.fromkeys(self.names.shown(index) for index in range(total)))


class Models:
    """Opens networks by the names that a page sends.

    Args:
        given: run folders, model files, names of timm models, or NAME=FILE.safetensors for one with its weights.
        device: where networks run.

    Attributes:
        names: what a page may offer; the first is opened at the start.
    """

    def __init__(self, given: Sequence[str] = (), device: torch.device | str = "cpu") -> None:
        self._given = dict(_named(entry) for entry in given)
        self._device = device
        self._open: OrderedDict[str, Opened] = OrderedDict()
        self._lock = Lock()
        self.names = (*self._given, EMBEDDED)

    def open(self, name: str) -> Opened:
        """The network of that name; the last two stay open.

        Raises:
            InputError: it is neither among `names` nor a name of timm's: what a page sends is never read as a path.
            WeightsError: there are no weights for it.
        """
        name = name.strip()
        with self._lock:
            if name not in self._open:
                self._open[name] = self._load(name)
            self._open.move_to_end(name)
            while len(self._open) > AT_ONCE:
                self._open.popitem(last=False)
            return self._open[name]

    def _load(self, name: str) -> Opened:
        if name == EMBEDDED:
            return Opened(name, open_model(None, device=self._device), usual_chain(None))
        if name in self._given:
            model, weights = self._given[name]
            net = open_model(model, weights, device=self._device)
            return Opened(name, net, usual_chain(model) if weights is None else Pipeline())
        if not TIMM_NAME.fullmatch(name) or not timm.is_model(name.split(".")[0]):
            raise InputError(
                f"there is no model {name!r} here: choose one of {', '.join(self.names)}, or a name of timm's such as"
                " vit_base_patch16_224; runs and files are given when the app starts, with --model"
            )
        return Opened(name, open_model(f"timm:{name}", device=self._device), Pipeline())


def _named(entry: str) -> tuple[str, tuple[str, Path | None]]:
    name, equals, weights = entry.partition("=")
    return (name, (name, Path(weights))) if equals and timm.is_model(name) else (entry, (entry, None))


def methods_of(opened: Opened) -> tuple[str, ...]:
    """Map methods to choose from, the usual one first; which of them can read a network shows when it is asked."""
    usual = opened.usual.method
    return (usual, *(name for name, method in REGISTRY.items() if name != usual and method.per_class))
