"""A map of class names is read as it is meant, applied to tags and masks alike, and told of its mistakes by line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam.data.class_map import ClassMap, read_class_map
from getam.data.collection import Collection, load_collection, load_sample_mask
from getam.data.masks import write_classes, write_mask
from getam.errors import InputError

SAME = {"cat": "pet", "dog": "pet", "big, red": "red", "lorry": "truck", "mud": "", "grass": "background"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", 'from,to\ncat,pet\ndog , pet\n\n"big, red",red\nlorry,truck\nmud,\ngrass,Background\n'),
        ("m.csv", "\ufeffcat;pet\ndog;pet\nbig, red;red\nlorry;truck\nmud;\ngrass;background\n"),
        ("m.txt", "cat\tpet\ndog\tpet\nbig, red\tred\nlorry\ttruck\nmud\t\ngrass\tbackground"),
        ("m.YAML", "cat: pet\ndog: pet\nbig, red: red\nlorry: truck\nmud: ~\ngrass: background\n"),
        ("m.yml", '{cat: pet, dog: pet, "big, red": red, lorry: truck, mud: "", grass: background}'),
    ],
)
def test_the_same_map_in_all_its_forms(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert dict(read_class_map(tmp_path / name).names) == SAME


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "cat,pet\ndog\n", r"m\.csv, line 2: 'dog' is not from,to; .* end a line with ',' to drop"),
        (
            "m.csv",
            "cat,pet\n\nbig, red,x\n",
            r"m\.csv, line 3: 'big, red,x' is not from,to; put names with ','",
        ),
        ("m.csv", "cat,pet\n,dog\n", r"m\.csv, line 2: there is no name before 'dog'"),
        ("m.csv", "cat,pet\ncat,dog\n", r"m\.csv, line 2: 'cat' is already on line 1"),
        ("m.csv", "background,dog\n", r"m\.csv, line 1: 'background' is always label 0"),
        ("m.csv", "cat,a\u200bb\n", r"m\.csv, line 1: .* invisible"),
        ("m.csv", 'cat,pet\n"dog,pet\n', r"m\.csv, line 2: .*quotes"),
        ("m.csv", "from,to\n", r"map .*m\.csv is empty"),
        ("m.yaml", "", r"map .*m\.yaml is empty"),
        ("m.yaml", "cat: pet\ndog: [a, b]\n", r"m\.yaml, line 2: not a name for a name"),
        ("m.yaml", "- cat\n", r"m\.yaml, line 1: no mapping"),
        ("m.yaml", "cat: pet\ndog: 'x\n", r"m\.yaml, line \d: no YAML"),
        ("m.yaml", "cat: pet\ncat: dog\n", r"m\.yaml, line 2: 'cat' is already on line 1"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        read_class_map(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"map .*none\.csv does not exist"):
        read_class_map(tmp_path / "none.csv")
    (tmp_path / "m.csv").write_bytes(b"caf\xe9,x\n")
    with pytest.raises(InputError, match=r"m\.csv is not UTF-8 text"):
        read_class_map(tmp_path / "m.csv")


def test_names_are_replaced_once_and_in_any_case() -> None:
    swap = ClassMap(Path("m.csv"), {"cat": "dog", "dog": "cat", "Cow": "x", "cow": "y"})
    assert swap.classes(("cat", "dog", "CAT", "hen")) == ("dog", "cat", "dog", "hen")
    assert swap.classes(("cow", "Cow", "COW")) == ("y", "x", "x")


@pytest.fixture
def farm(tmp_path: Path) -> Path:
    """Two photos; the second's mask shows every class. Nobody looked for dogs in the first, for mud in the second."""
    for name in ("a", "b"):
        Image.new("RGB", (4, 1)).save(tmp_path / f"{name}.png")
    (tmp_path / "tags.csv").write_text("image,cat,dog,mud,hen\na.png,1,?,1,0\nb.png,0,1,?,1\n")
    write_mask(tmp_path / "masks" / "a.png", np.array([[1, 3, 0, 255]], np.uint8))
    write_mask(tmp_path / "masks" / "b.png", np.array([[4, 3, 2, 1]], np.uint8))
    write_classes(tmp_path / "masks", ("hen", "mud", "dog", "cat"))
    return tmp_path


def mapped(farm: Path, lines: str, **options: object) -> tuple[Collection, list[list[int]]]:
    (farm / "map.csv").write_text(lines)
    collection = load_collection(
        farm, masks=farm / "masks", class_map=read_class_map(farm / "map.csv"), **options
    )  # type: ignore[arg-type]
    return collection, [load_sample_mask(s, collection, (1, 4))[0].tolist() for s in collection.samples]


def test_renaming(farm: Path) -> None:
    collection, masks = mapped(farm, "hen,ZZ chicken\n")
    assert collection.classes == ("ZZ chicken", "cat", "dog", "mud")
    assert [s.tags for s in collection.samples] == [("cat", "mud"), ("ZZ chicken", "dog")]
    assert [s.unknown for s in collection.samples] == [("dog",), ("mud",)]
    assert masks == [[1, 3, 0, 255], [2, 3, 4, 1]]


def test_merging_and_what_is_unknown_of_the_parts(farm: Path) -> None:
    collection, masks = mapped(farm, "cat,pet\ndog,pet\nmud,hen\n")
    assert collection.classes == ("hen", "pet")
    assert [s.tags for s in collection.samples] == [("hen", "pet"), ("hen", "pet")]
    assert [s.unknown for s in collection.samples] == [(), ()]  # a part that is there settles it
    assert masks == [[1, 2, 0, 255], [2, 2, 1, 1]]
    collection, _ = mapped(farm, "dog,hen\n")
    assert [s.unknown for s in collection.samples] == [("hen",), ("mud",)]  # no hen, perhaps a dog


def test_dropping_and_background(farm: Path) -> None:
    collection, masks = mapped(farm, "mud,\ndog,background\n")
    assert collection.classes == ("cat", "hen")
    assert [s.tags for s in collection.samples] == [("cat",), ("hen",)]
    assert [s.others for s in collection.samples] == [(), ()]
    assert [s.unknown for s in collection.samples] == [(), ()]
    assert masks == [[2, 0, 0, 255], [1, 0, 255, 2]]


def test_classes_are_chosen_by_their_new_names(farm: Path) -> None:
    _, masks = mapped(farm, "cat,pet\ndog,pet\n", classes=("pet",), background=("hen",))
    assert masks == [[0, 1, 0, 255], [1, 1, 255, 0]]
    with pytest.raises(InputError, match=r"no row of .* is tagged 'cat'"):
        mapped(farm, "cat,pet\n", classes=("cat",))


def test_a_name_that_occurs_nowhere_is_named(farm: Path) -> None:
    with pytest.raises(InputError, match=r"map\.csv, line 2: nothing is called 'hne'; did you mean 'hen'"):
        mapped(farm, "cat,pet\nhne,\n")
    write_classes(farm / "masks", ("hen", "mud", "dog", "cat", "sky"))
    mapped(farm, "sky,background\n")  # of the masks alone
    with pytest.raises(InputError, match=r"map\.csv, line 1: nothing is called 'sky'"):
        load_collection(farm, class_map=read_class_map(farm / "map.csv"))
