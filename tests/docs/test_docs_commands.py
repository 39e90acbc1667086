"""Every `getam …` in README and docs, held against the real parser and the registries; nothing is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from getam.data.formats.registry import FORMATS as TAG_FORMATS
from getam.data.mask_formats.registry import FORMATS as MASK_FORMATS
from getam.engine.device import KINDS
from getam.labels.registry import LABELLERS
from getam.maps.registry import REGISTRY
from getam.pipeline_text import parse_pipeline
from getam.recipes import RECIPES
from getam.refine.registry import REFINERS
from pages import MEASURING, README, ROOT, WRITTEN_BY_HAND, commands, options_of, shell_lines

COMMANDS = [
    pytest.param(words, id=f"{page.name}:{line}")
    for page in (README, *WRITTEN_BY_HAND, MEASURING)
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
    assert {each.values[0][0] for each in COMMANDS} >= {"train", "label", "convert", "data"}


@pytest.mark.parametrize("words", COMMANDS)
def test_the_parser_takes_it(words: list[str]) -> None:
    options = options_of(words)
    for option, names in NAMES.items():
        if (words[0], option) == ("export", "to"):
            continue  # the parser itself takes no other word
        assert options.get(option) is None or options[option] in names
    if format := options.get("format"):
        assert format.partition(":")[0] in TAG_FORMATS
    if preset := options.get("preset"):
        assert preset in RECIPES[options["recipe"]].presets
    if device := options.get("device"):
        assert device.partition(":")[0] in ("auto", *KINDS)
    if isinstance(refine := options.get("refine"), tuple):
        assert set(refine) <= {*REFINERS, "none"}
    for row in options.get("compare") or ():
        parse_pipeline(row)


SCRIPTS = [
    pytest.param(words[1:], id=f"{MEASURING.name}:{line}")
    for line, words in shell_lines(MEASURING)
    if words[0] == "python"
]


@pytest.mark.parametrize("words", SCRIPTS)
def test_a_script_of_measurements_knows_its_options(words: list[str]) -> None:
    text = (ROOT / words[0]).read_text()
    for option in (word for word in words if word.startswith("--")):
        assert f'add_argument("{option}"' in text or f'add_argument(\n        "{option}"' in text, option


def test_scripts_are_found() -> None:
    assert {Path(each.values[0][0]).name for each in SCRIPTS} >= {"voc_animals.py", "taught.py", "against.py"}


def test_a_renamed_option_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options_of(["train", "--data", "photos", "--outt", "runs/a"])
    assert "--outt" in capsys.readouterr().err
