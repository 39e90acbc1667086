"""The table of verbs: examples that the parser understands, shown where the help ends."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from getam import cli
from getam.cli_verbs import VERBS

EXAMPLES = [(verb, line) for verb, entry in VERBS.items() for line, _ in entry.examples]


def understood(line: str) -> Callable[..., Any]:
    command, *words = shlex.split(line)
    assert command == "getam"
    given = cli.joined(cli.split_commas(words[: words.index(">")] if ">" in words else words))
    return cli.parse(given, whole=given[:1])


@pytest.mark.parametrize(("verb", "line"), EXAMPLES)
def test_examples_are_understood(verb: str, line: str) -> None:
    call = understood(line)
    assert isinstance(call, partial)
    first = VERBS[verb].examples[0][0]
    others = {"app": ("train",)}  # what comes of it is what another verb goes on with
    allowed = (verb,) if line == first else (verb, *others.get(verb, ()))
    assert cli.joined(shlex.split(line)[1:])[0] in allowed


def test_examples_mean_what_they_say() -> None:
    call = understood("getam label --data photos --classes cat,dog --to coco")
    assert isinstance(call, partial)
    assert call.keywords["classes"] == ("cat", "dog")
    assert call.keywords["to"] == "coco"


def test_an_example_with_a_mistake_is_not_understood(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        understood("getam label --data photos --clases cat")
    assert end.value.code


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_ends_with_them(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    assert VERBS[verb].examples
    with pytest.raises(SystemExit):
        cli.main([verb, "--help"])
    _, _, end = capsys.readouterr().out.partition("\n\nExamples:\n")
    said = [f"  # {what}\n  {line}\n" for line, what in VERBS[verb].examples]
    assert end == "\n".join(said)


def test_a_verb_runs_when_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before: parsing loads nothing."""
    from getam.verbs import predict

    called: list[Any] = []
    monkeypatch.setattr(predict, "predict", lambda *args, **options: called.append((args, options)))
    call = understood("getam predict a.jpg --flip")
    assert called == []
    call()
    ((args, options),) = called
    assert str(args[0]) == "a.jpg"
    assert options["flip"]
