"""Signatures read from source, against those of the functions themselves, loaded."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from getam import cli, cli_signature
from getam.cli_signature import declared
from getam.cli_verbs import VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_they_are_those_of_the_functions(verb: str) -> None:
    read, loaded = VERBS[verb].declared(), VERBS[verb].load()
    assert read is not loaded
    assert read.__doc__ == loaded.__doc__
    assert read.__name__ == loaded.__name__
    parameters = inspect.signature(loaded, eval_str=True).parameters
    assert list(inspect.signature(read).parameters.values()) == list(parameters.values())


def test_the_body_does_not_run() -> None:
    assert VERBS["methods"].declared()() is None


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One that cannot be run."""
    (tmp_path / "never_run.py").write_text(
        "from __future__ import annotations\nimport math as m\nimport pathlib\nfrom fractions import Fraction as F\n"
        "from .. import nothing\nA = 2\nB: int = A * 3\nC: int\nD = E = 4\n"
        "def verb(a: pathlib.Path = B, b: list[F] | None = (m.pi, -A), *rest: int, c=lambda: B, **more: str) -> No:\n"
        "    'Say.\\n\\n    More.'\n    raise ValueError\n"
        "def lost(a=nowhere): ...\ndef undefined(a=C): ...\nraise ValueError\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cli_signature._tree.cache_clear()
    return "never_run"


def test_names_are_looked_up_where_they_are_written(module: str) -> None:
    import math
    from fractions import Fraction

    verb = declared(module, "verb")
    parameters = inspect.signature(verb).parameters
    assert parameters["a"].annotation is Path
    assert parameters["a"].default == 6
    assert parameters["b"].annotation == list[Fraction] | None
    assert parameters["b"].default == (math.pi, -2)
    assert parameters["rest"].annotation is int
    assert parameters["c"].default() == 6
    assert verb.__doc__ == "Say.\n\n    More."
    assert module not in sys.modules


def test_what_is_defined_nowhere_is_said(module: str) -> None:
    for function, name in (("lost", "nowhere"), ("undefined", "C")):
        with pytest.raises(LookupError, match=f"never_run does not say at its top what {name} is"):
            declared(module, function)
    with pytest.raises(LookupError, match="never_run defines no function other"):
        declared(module, "other")


def test_without_source_the_function_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from getam.verbs.label import label

    monkeypatch.setattr(SourceFileLoader, "get_source", lambda loader, name: None)
    cli_signature._tree.cache_clear()
    try:
        assert VERBS["label"].declared() is label
        assert cli_signature._value("getam.engine.device", "AUTO") == "auto"
    finally:
        cli_signature._tree.cache_clear()


def test_no_help_and_no_mistake_loads_torch(tmp_path: Path) -> None:
    """Of any verb, one after the other in a process of its own."""
    code = f"""
import sys
from getam.cli import main
for verb in {list(VERBS)}:
    try:
        main([verb, "--help"])
    except SystemExit as end:
        assert not end.code
    assert main([verb, "--no-such-option"]) == 2
main(["completion", "bash"])
heavy = ["torch", "timm", "torchvision", "scipy", "lightning_fabric", "numpy", "pydantic", "huggingface_hub"]
print([module for module in heavy if module in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env={"PYTHONPATH": str(Path(cli.__file__).parents[1]), "PATH": ""}, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
