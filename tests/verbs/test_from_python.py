"""Verbs called from Python: text for paths, lists and single things for tuples."""

from __future__ import annotations

import ast
import inspect
from collections import UserList
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import pytest

import getam
from getam.verbs.from_python import from_python

OWN = ("explain", "segment")  # take photos, not paths alone
VERBS = [
    name
    for name in getam.__all__
    if getattr(getam, name).__module__.startswith("getam.verbs.") and name not in OWN
]


@from_python
def verb(
    photos: Path,
    /,
    masks: Path | None = None,
    *,
    tags: Annotated[Path, "of photos"] = Path(),
    saliency: Path | str | None = None,
    scales: tuple[int, ...] | None = None,
    files: tuple[Path, ...] = (),
    names: tuple[str, ...] = (),
    count: int = 0,
    **more: Path,
) -> dict[str, Any]:
    """Says what it got."""
    return dict(locals())


class Folder:
    def __fspath__(self) -> str:
        return "a/folder"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"tags": "t.csv"}, {"tags": Path("t.csv")}),
        ({"tags": ""}, {"tags": ""}),  # weights="" is: from nothing
        ({"tags": Folder()}, {"tags": Path("a/folder")}),
        ({"saliency": "none"}, {"saliency": "none"}),
        ({"saliency": Path("maps")}, {"saliency": Path("maps")}),
        ({"scales": [224, 320]}, {"scales": (224, 320)}),
        ({"scales": range(2)}, {"scales": (0, 1)}),
        ({"scales": 320}, {"scales": (320,)}),
        ({"scales": None}, {"scales": None}),
        ({"files": "a.csv"}, {"files": (Path("a.csv"),)}),
        ({"files": Path("a.csv")}, {"files": (Path("a.csv"),)}),
        ({"files": ["a.csv", Path("b.csv")]}, {"files": (Path("a.csv"), Path("b.csv"))}),
        ({"names": "cat"}, {"names": ("cat",)}),
        ({"names": UserList(["cat", "dog"])}, {"names": ("cat", "dog")}),
        ({"names": (name for name in ("cat", "dog"))}, {"names": ("cat", "dog")}),
        (
            {"names": {"rounds": 2, "zoom": (0.5, 2), "go_on": False}},
            {"names": ("rounds=2", "zoom=[0.5,2]", "go_on=false")},
        ),
        ({"names": {}}, {"names": ()}),
        ({"count": "3"}, {"count": "3"}),  # for the verb to judge
        ({"tags": 3}, {"tags": 3}),
        ({"other": "text"}, {"more": {"other": "text"}}),
    ],
)
def test_arguments_become_what_is_declared(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = verb("photos", **given)  # type: ignore[arg-type]
    assert found["photos"] == Path("photos")
    for name, value in wanted.items():
        assert found[name] == value
        assert type(found[name]) is type(value) or isinstance(found[name], Path)


def test_by_place() -> None:
    found = verb("photos", "masks")  # type: ignore[arg-type]
    assert (found["photos"], found["masks"]) == (Path("photos"), Path("masks"))
    assert verb(Path("photos"), None)["masks"] is None


def test_a_call_that_does_not_fit_is_refused_as_always() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'photos'"):
        verb()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 3 were given"):
        verb("photos", "masks", *["more"] * 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="multiple values for argument 'masks'"):
        verb("photos", "masks", masks="again")  # type: ignore[misc, arg-type]


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_with_paths_or_several_things_takes_them_so(name: str) -> None:
    function: Any = getattr(getam, name)
    kinds = [str(kind) for kind in get_type_hints(function).values()]
    if not any("Path" in kind or "tuple[" in kind for kind in kinds[:-1]):
        return
    tree = ast.parse(Path(inspect.getfile(inspect.unwrap(function))).read_text())
    (node,) = (
        each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name == function.__name__
    )
    decorators = [each.id for each in node.decorator_list if isinstance(each, ast.Name)]
    assert decorators[:1] == ["from_python"]
