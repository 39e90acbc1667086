"""How many steps where nobody says: more for more photos and for less to start from, and when they are too few."""

from __future__ import annotations

import math

import pytest

from getam.recipes.base import CommonConfig, Config
from getam.recipes.schedule import FEWEST, MOST, PER_ROOT, complaint, start_of, suitable_steps


@pytest.mark.parametrize(
    ("config", "start"),
    [
        (Config(weights="embedded"), "embedded"), (Config(), "pretrained"),
        (Config(weights="a.safetensors"), "pretrained"),
        (Config(weights=""), "nothing"), (Config(backbone="small-hybrid"), "nothing"), (CommonConfig(), "pretrained"),
    ],
)  # fmt: skip
def test_what_a_network_starts_from(config: CommonConfig, start: str) -> None:
    assert start_of(config) == start


@pytest.mark.parametrize("start", ["embedded", "pretrained", "nothing"])
def test_steps_grow_with_the_root_of_the_photos_between_bounds(start: str) -> None:
    assert suitable_steps(1, start) == FEWEST[start]
    assert suitable_steps(10**9, start) == MOST
    photos = math.ceil((FEWEST[start] / PER_ROOT[start]) ** 2) + 10
    assert suitable_steps(photos, start) == round(PER_ROOT[start] * math.sqrt(photos)) < MOST


def test_less_to_start_from_needs_more() -> None:
    for photos in (20, 60, 180, 2694):
        counts = [suitable_steps(photos, start) for start in ("embedded", "pretrained", "nothing")]
        assert counts == sorted(counts)
        assert counts[0] < counts[1]


def test_too_few_steps_are_complained_of() -> None:
    least = FEWEST["pretrained"] // 2
    assert complaint(Config(steps=least), 60) == ""
    said = complaint(Config(steps=least - 1), 60)
    assert said.startswith(f"{least - 1} steps are too few to learn from")
    assert f"for the {suitable_steps(60, 'pretrained')} that suit 60 photos" in said
    assert complaint(Config(steps=least - 1, weights="embedded"), 60) == ""
    assert complaint(Config(steps=least, weights=""), 60)
