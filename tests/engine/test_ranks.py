"""Which process this is: as torch's group says, else as the launcher says, and alone where neither does."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from getam.engine.ranks import LAUNCHED, rank, world


def group(available: bool, initialised: bool) -> Any:
    """What stands for torch, of whose processes this is the second of four."""
    return SimpleNamespace(
        distributed=SimpleNamespace(
            is_available=lambda: available, is_initialized=lambda: initialised,
            get_world_size=lambda: 4, get_rank=lambda: 1,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("torch", "launched", "found"),
    [
        (None, False, (1, 0)),
        (None, True, (3, 2)),
        (group(False, True), True, (3, 2)),
        (group(True, False), True, (3, 2)),
        (group(True, True), True, (4, 1)),
        (group(True, True), False, (4, 1)),
    ],
)
def test_the_group_is_asked_first_then_the_launcher(
    torch: Any, launched: bool, found: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    if launched:
        said = {"WORLD_SIZE": "3", "RANK": "2"}
        for name in LAUNCHED:
            monkeypatch.setenv(name, said.get(name, "1"))
    assert (world(), rank()) == found


def test_half_a_launcher_launched_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in LAUNCHED[1:]:
        monkeypatch.setenv(name, "5")
    monkeypatch.delenv(LAUNCHED[0], raising=False)
    assert (world(), rank()) == (1, 0)
