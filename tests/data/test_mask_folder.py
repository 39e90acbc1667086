"""Which masks a folder holds, by name, and what their labels are called."""

from pathlib import Path

import numpy as np
import pytest

from getam.data.class_map import read_class_map
from getam.data.mask_folder import ClassList, classes_of, masks_in, remapped
from getam.data.masks import write_classes, write_mask
from getam.errors import InputError


def test_the_suffix_may_be_written_in_any_case(tmp_path: Path) -> None:
    for name in ("a.Png", "in/b.PNG", "in/a.png", "note.txt", ".hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    wanted = {"a": tmp_path / "a.Png", "in/a": tmp_path / "in/a.png", "in/b": tmp_path / "in/b.PNG"}
    assert masks_in(tmp_path) == wanted
    (tmp_path / "in" / "b.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"has two masks for 'in/b', b\.PNG and b\.png: remove one"):
        masks_in(tmp_path)


def test_a_linked_folder_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(b"")
    (tmp_path / "masks").symlink_to(tmp_path / "elsewhere")
    assert list(masks_in(tmp_path / "masks")) == ["a"]


def test_names_stand_in_the_folder_or_the_one_above(tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    write_classes(tmp_path, ("cat", "dog"))
    assert classes_of(masks) == ClassList(("cat", "dog"), void=False)
    write_classes(masks, ("cow",))
    assert classes_of(masks).names == ("cow",)
    (masks / "classes.txt").write_text("void\nsky\ncow\n")
    assert classes_of(masks) == ClassList(("sky", "cow"), void=True)
    with pytest.raises(
        InputError, match=r"mask folder .*nowhere does not exist or is no folder: check the path"
    ):
        classes_of(tmp_path / "nowhere")


def test_voc_needs_no_list(tmp_path: Path) -> None:
    masks = tmp_path / "SegmentationClass"
    for folder in (masks, tmp_path / "JPEGImages", tmp_path / "ImageSets" / "Segmentation"):
        folder.mkdir(parents=True)
    assert classes_of(masks).names[:3] == ("aeroplane", "bicycle", "bird")


def test_a_map_gives_new_names(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("void\nsky\ncow\ncalf\nlamp\n")
    (tmp_path / "map.csv").write_text("from,to\nsky,background\ncalf,cow\nlamp,\n")
    before, after = classes_of(tmp_path), classes_of(tmp_path, read_class_map(tmp_path / "map.csv"))
    assert (before.classes, before.background) == (("sky", "cow", "calf", "lamp"), False)
    assert (after.classes, after.background) == (("cow",), True)


def test_labels_are_renumbered_by_name_and_errors_name_the_file(tmp_path: Path) -> None:
    label = np.array([[0, 1, 2, 255]], np.uint8)
    write_mask(tmp_path / "a.png", label)
    assert remapped(tmp_path / "a.png", label, ("dog", "cat"), ("cat",), False).tolist() == [[0, 255, 1, 255]]
    assert remapped(tmp_path / "a.png", label, ("dog", "cat"), ("cat",), True).tolist() == [
        [255, 255, 1, 255]
    ]
    with pytest.raises(InputError, match=r"mask .*a\.png: "):
        remapped(tmp_path / "a.png", label, ("dog",), ("dog",), False)
