"""Every `getam …` in README and docs, held against the real parser and the registries; nothing is run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from getam import cli
from getam.cli_verbs import Verb, parsed
from getam.data.formats.registry import FORMATS as TAG_FORMATS
from getam.data.mask_formats.registry import FORMATS as MASK_FORMATS
from getam.engine.device import KINDS
from getam.labels.registry import LABELLERS
from getam.maps.registry import REGISTRY
from getam.pipeline import parse_pipeline
from getam.recipes import RECIPES
from getam.refine.registry import REFINERS
from pages import README, WRITTEN_BY_HAND, commands

COMMANDS = [
    pytest.param(words, id=f"{page.name}:{line}")
    for page in (README, *WRITTEN_BY_HAND)
    for line, words in commands(page)
]
NAMES: dict[str, Mapping[str, Any]] = {
    "recipe": RECIPES,
    "method": REGISTRY,
    "labels": LABELLERS,
    "to": MASK_FORMATS,
    "from_": MASK_FORMATS,
}
"""Options whose values are names that the parser takes as any text."""


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 60
    assert {words[0] for (words,) in (each.values for each in COMMANDS)} >= {
        "train",
        "label",
        "convert",
        "data",
    }


@pytest.mark.parametrize("words", COMMANDS)
def test_the_parser_takes_it(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[dict[str, Any]] = []

    def only_parsed(verb: Verb) -> Callable[..., Any]:
        keep = parsed(verb)

        @functools.wraps(keep)
        def instead(*args: Any, **options: Any) -> Callable[[], None]:
            call = keep(*args, **options)
            return lambda: given.append(call.keywords)

        return instead

    monkeypatch.setattr(cli, "parsed", only_parsed)
    assert cli.main(words) == 0, capsys.readouterr().err
    (options,) = given
    for option, names in NAMES.items():
        assert options.get(option) is None or options[option] in names
    if format := options.get("format"):
        assert format.partition(":")[0] in TAG_FORMATS
    if recipe := options.get("preset"):
        assert recipe in RECIPES[options["recipe"]].presets
    if device := options.get("device"):
        assert device.partition(":")[0] in ("auto", *KINDS)
    if isinstance(refine := options.get("refine"), tuple):
        assert set(refine) <= {*REFINERS, "none"}
    for row in options.get("compare") or ():
        parse_pipeline(row)


def test_a_renamed_option_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--data", "photos", "--outt", "runs/a"]) == 2
    assert "--outt" in capsys.readouterr().err


def test_pages_are_there() -> None:
    assert Path(README).is_file()
    assert len(WRITTEN_BY_HAND) > 15
