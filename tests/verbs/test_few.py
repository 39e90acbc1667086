"""Which data sets say too little, and what is advised: one sentence each, none where all is well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from getam.data.collection import Collection, Sample
from getam.engine.model import load_model
from getam.verbs.few import known_classes, warnings_of


def collection(
    *tags: tuple[str, int], classes: tuple[str, ...] = ("car", "cat"), saliency: bool = False
) -> Collection:
    """Photos by their tags, joined by ;, and how many of each."""
    samples = [
        Sample(
            f"{its}{n}",
            Path("p.jpg"),
            tuple(filter(None, its.split(";"))),
            saliency=Path("s") if saliency else None,
        )
        for its, count in tags
        for n in range(count)
    ]
    return Collection(classes, tuple(samples))


def test_enough_photos_of_several_classes_are_no_matter() -> None:
    assert warnings_of(collection(("car", 5), ("cat", 5)), ("cat",)) == []


def test_the_same_tags_everywhere() -> None:
    told = "all 30 photos have the same tags (car), which tells nothing apart: add photos of other classes, or of none"
    assert warnings_of(collection(("car", 30), classes=("car",)), ()) == [
        f"{told}, or saliency maps with --saliency"
    ]
    assert warnings_of(collection(("car", 30), classes=("car",), saliency=True), ()) == [told]
    assert warnings_of(collection(("", 30), classes=()), ())[0] == (
        "all 30 photos have the same tags (none), which tells nothing apart: add photos of other classes, or of none"
    )


def test_rare_classes_and_those_that_never_occur() -> None:
    found = warnings_of(
        collection(("car", 5), ("cat", 4), ("dog", 1), classes=("car", "cat", "cow", "dog")), ()
    )
    assert found == [
        "classes with too few photos to be learned: cat (4), dog (1); 5 are the least, 20 are better",
        "classes that no photo is tagged with: cow; they will not be found",
    ]


def test_classes_that_are_known_already() -> None:
    few = collection(("cat", 50), ("dog", 49), classes=("cat", "dog"))
    [said] = warnings_of(few, ("cat", "cow", "dog"))
    assert said == (
        "the model that comes with the package knows cat, dog already: `getam label` and `getam predict` without "
        "--model may do better than 99 photos can teach"
    )
    assert warnings_of(few, ("cat",)) == []
    assert warnings_of(collection(("cat", 50), ("dog", 50), classes=("cat", "dog")), ("cat", "dog")) == []
    assert warnings_of(replace(few, classes=()), ("cat",)) == []


def test_the_known_classes_are_those_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    assert known_classes() == load_model().classes
    monkeypatch.setattr("getam.nets.embedded.FILE", "none.safetensors")
    assert known_classes() == ()
