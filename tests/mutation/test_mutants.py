"""The changes themselves: where mutmut's runner makes none, we do; what only a reader sees stays."""

from pathlib import Path

import pytest

from mutation.mutants import draw, mutants

SOURCE = '''"""What it is."""

from dataclasses import dataclass
from functools import partial

__all__ = ["Preset"]
SIDE = 16
MODES = ("bilinear", partial(int, base=8))


@dataclass(frozen=True)
class Preset:
    """Its numbers."""

    width: int = 24

    @property
    def half(self) -> int:
        """Half."""
        return self.width // 2


def resize(x: int = 3, *, flip: bool = False) -> int:
    """Text."""
    if flip:
        print("flipping", x + 1)
    if x < 0:
        raise ValueError(f"{x} is " "negative")
    return max(x, 2)
'''


@pytest.fixture
def changes(tmp_path: Path) -> list[str]:
    file = tmp_path / "m.py"
    file.write_text(SOURCE)
    return [mutant.diff() for mutant in mutants(file) if mutant.compiles()]


@pytest.mark.parametrize(
    "line",
    [
        "SIDE = 17",
        'MODES = ("XXbilinearXX", partial(int, base=8))',
        'MODES = ("bilinear", partial(int, base=9))',
        'MODES = ("bilinear", partial(int, ))',
        "    width: int = 25",
        "        return self.width / 2",
        "def resize(x: int = 4, *, flip: bool = False) -> int:",
        "def resize(x: int = 3, *, flip: bool = True) -> int:",
        "    if True:",
        "    if x <= 0:",
        "    return min(x, 2)",
        "    return x",
        '        print("flipping", x - 1)',
        "        pass",
    ],
)
def test_behaviour_is_changed(changes: list[str], line: str) -> None:
    assert any(f"\n+{line}" in f"\n{change}\n" for change in changes)


@pytest.mark.parametrize(
    "text", ["XXflipping", "XXnegative", "XXPreset", "frozen=False", "XXText", "x: None"]
)
def test_what_only_a_reader_sees_is_not(changes: list[str], text: str) -> None:
    assert not any(text in change for change in changes)


def test_a_default_belongs_to_the_lines_of_its_function_and_a_constant_to_none(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text(SOURCE)
    lines = {mutant.diff().split("\n+")[-1]: mutant.lines for mutant in mutants(file)}
    assert lines["SIDE = 17"] is None
    assert lines["    width: int = 25"] is None
    assert 29 in (lines["def resize(x: int = 4, *, flip: bool = False) -> int:"] or ())
    assert lines["    return min(x, 2)"] == range(29, 30)


def test_a_seed_draws_the_same_changes_again(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text(SOURCE)
    drawn = [[mutant.diff() for mutant in draw(mutants(file), 10, seed)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 10
