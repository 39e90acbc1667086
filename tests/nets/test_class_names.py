"""Classes by name and by number, and what is said where there is no such class."""

from __future__ import annotations

import pytest
import timm
from torch import nn

import tiny
from getam.errors import InputError
from getam.nets.class_names import ClassNames, class_names


def test_whose_names() -> None:
    three = class_names(timm.create_model("resnet10t", num_classes=3))
    assert [three.index(name) for name in "012"] == [0, 1, 2]
    imagenet = class_names(nn.Identity(), 1000)
    assert imagenet.full(281).startswith("tabby, tabby cat")
    assert (imagenet.shown(281), imagenet.file_name(281)) == ("tabby", "tabby")
    assert imagenet.index("Tabby Cat") == imagenet.index("281") == 281
    assert class_names(timm.create_model("resnet10t")).shown(281) == "tabby"
    assert class_names(tiny.hybrid_segmenter(), 1000).index("dog") == 1
    unknown = class_names(nn.Identity())
    assert (unknown.full(7), unknown.file_name(7)) == ("7", "7")
    with pytest.raises(InputError):
        unknown.index("7")


def test_only_imagenets_names_are_synonyms() -> None:
    ours = ClassNames({0: "red, blue"})
    assert (ours.shown(0), ours.file_name(0), ours.index("blue")) == ("red, blue", "red, blue", 0)


def test_the_nearest_names_of_many() -> None:
    imagenet = class_names(nn.Identity(), 1000)
    with pytest.raises(
        InputError,
        match=r"no class 'Golden retreiver'; did you mean 'golden retriever' or .* Else give its index",
    ):
        imagenet.index("Golden retreiver")
    with pytest.raises(InputError, match="no class 'qqqqqqqq'; give its index"):
        imagenet.index("qqqqqqqq")
    with pytest.raises(InputError, match="no class '1000'"):
        imagenet.index("1000")
    with pytest.raises(InputError, match=r"no class 'ct'; did you mean 'cat'\? Known: cat, dog"):
        ClassNames({0: "cat", 1: "dog"}).index("ct")
    many = {i: f"class {i:03}" for i in range(101)}
    with pytest.raises(InputError, match=r"did you mean 'class 012'.*Known: class 000"):
        ClassNames({i: many[i] for i in range(100)}).index("klass 012")
    with pytest.raises(InputError, match=r"did you mean 'class 012' or '.*' or '.*'\? Else give its index"):
        ClassNames(many).index("Klass 012")
