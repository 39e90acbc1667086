"""Every format, there and back: the label map is the same number for number, whatever it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from getam.data.mask_formats.base import UNDECIDED, Format, PhotoMask, Reading
from getam.data.mask_formats.registry import FORMATS, find_format
from getam.errors import InputError

CLASSES = ("cat", "Straßenbahn 電車", "x & <y> \"z\" 'w', v")
NAMES = ("a", "sub folder/ü b&c", "sub folder/d.e", "Ω#%?")


def photo(name: str, label: np.ndarray, **more: object) -> PhotoMask:
    return PhotoMask(name, label.astype(np.uint16), f"{name}.jpg", **more)


def there_and_back(
    form: Format, folder: Path, masks: list[PhotoMask], classes: tuple[str, ...] = CLASSES
) -> list[PhotoMask]:
    """What is read of what was written; names, sizes and classes are checked."""
    sizes = {mask.name: mask.label.shape for mask in masks}
    form.write(folder, classes, iter(masks), None)
    source = form.read(folder, Reading(size=sizes.__getitem__))
    found = sorted(source.masks, key=lambda mask: [each.name for each in masks].index(mask.name))
    assert sorted(source.names) == sorted(sizes) == sorted(mask.name for mask in found)
    assert source.classes == classes
    assert not source.lost
    assert all(mask.label.dtype == np.uint16 for mask in found)
    for file in form.results(source.names):
        assert (folder / file).is_file()
    made = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert made == set(form.results(source.names))
    if form.names_photos:
        assert [mask.photo for mask in found] == [mask.photo for mask in masks]
    return found


def cases() -> list[PhotoMask]:
    """Holes with islands in them, single pixels, classes that touch by sides and corners, nothing at all."""
    rings = np.zeros((13, 17), int)
    rings[1:12, 1:15], rings[3:10, 3:13], rings[5:8, 5:9], rings[6, 6] = 1, 0, 1, 2
    rings[4, 11] = 3
    board = np.indices((6, 5)).sum(0) % 3 + 1
    return [photo(NAMES[0], rings), photo(NAMES[1], board), photo(NAMES[2], np.zeros((3, 4))),
            photo(NAMES[3], np.full((1, 1), 3))]  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_holes_single_pixels_touching_classes_and_empty_masks(name: str, tmp_path: Path) -> None:
    masks = cases()
    for before, after in zip(masks, there_and_back(FORMATS[name], tmp_path, masks)):
        np.testing.assert_array_equal(after.label, before.label)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    label=hnp.arrays(
        np.uint16,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
        elements=st.sampled_from([0, 1, 2, 3, UNDECIDED]),
    )
)
def test_any_label_map(name: str, label: np.ndarray, tmp_path: Path) -> None:
    (after,) = there_and_back(FORMATS[name], tmp_path, [photo("a", label)])
    expected = np.where(label == UNDECIDED, 0, label) if name == "yolo" else label
    np.testing.assert_array_equal(after.label, expected)


@pytest.mark.parametrize("name", FORMATS)
def test_undecided_pixels_stay_or_are_counted(name: str, tmp_path: Path) -> None:
    label = np.array([[0, 1, UNDECIDED], [UNDECIDED, 2, UNDECIDED]])
    lost = FORMATS[name].write(tmp_path, CLASSES, iter([photo("a", label), photo("b", label)]), None)
    assert dict(lost) == ({"undecided pixels, now background": 6} if name == "yolo" else {})


@pytest.mark.parametrize("name", FORMATS)
def test_three_hundred_classes_where_there_is_room(name: str, tmp_path: Path) -> None:
    classes = tuple(f"class {number}" for number in range(1, 301))
    label = np.append(np.arange(301), [0] * 3).reshape(19, 16)
    label[-1, -1] = UNDECIDED
    form = FORMATS[name]
    if form.most < 300:
        assert name == "voc"  # a palette ends at 255
        return
    (after,) = there_and_back(form, tmp_path, [photo("a", label)], classes)
    label[-1, -1] = 0 if name == "yolo" else UNDECIDED
    np.testing.assert_array_equal(after.label, label)


@pytest.mark.parametrize("name", FORMATS)
def test_254_classes(name: str, tmp_path: Path) -> None:
    classes = tuple(f"class {number}" for number in range(1, 255))
    label = np.arange(255).reshape(15, 17)
    (after,) = there_and_back(FORMATS[name], tmp_path, [photo("a", label)], classes)
    np.testing.assert_array_equal(after.label, label)


@pytest.mark.parametrize("name", FORMATS)
def test_confidences_stay_or_are_counted(name: str, tmp_path: Path) -> None:
    mask = photo("a", np.array([[1, 2]]), confidences={CLASSES[0]: 0.75, CLASSES[1]: 0.5})
    lost = FORMATS[name].write(tmp_path, CLASSES, iter([mask, mask]), None)
    if name in ("cvat", "labelme", "voc", "yolo"):
        assert dict(lost) == {"confidences": 4}
    else:
        (after,) = there_and_back(FORMATS[name], tmp_path, [mask])
        assert after.confidences == mask.confidences


@pytest.mark.parametrize("name", ["coco", "cvat", "label-studio", "labelme"])
def test_a_class_called_undecided_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'undecided'"):
        FORMATS[name].write(tmp_path, ("undecided",), iter([photo("a", np.ones((1, 1)))]), None)


@pytest.mark.parametrize("name", ["coco", "cvat", "label-studio", "labelme"])
def test_photos_without_a_file_name_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--photos"):
        FORMATS[name].write(tmp_path, CLASSES, iter([PhotoMask("a", np.ones((1, 1), np.uint16))]), None)


@pytest.mark.parametrize("name", FORMATS)
def test_classes_may_be_given_in_another_order(name: str, tmp_path: Path) -> None:
    FORMATS[name].write(tmp_path, CLASSES, iter([photo("a", np.array([[0, 1, 2, 3]]))]), None)
    order = ("more", *CLASSES[::-1])
    reading = Reading(classes=order, size=lambda name: (1, 4))
    if name == "yolo":  # numbers are all it has
        with pytest.raises(InputError, match="leave out --classes"):
            FORMATS[name].read(tmp_path, reading)
        return
    source = FORMATS[name].read(tmp_path, reading)
    assert source.classes == order
    assert [mask.label.tolist() for mask in source.masks] == [[[0, 4, 3, 2]]]
    with pytest.raises(InputError, match="--classes has not"):
        FORMATS[name].read(tmp_path, Reading(classes=CLASSES[:2]))


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_there_is_one_sentence(name: str, tmp_path: Path) -> None:
    reading = Reading(size=lambda name: (1, 4))
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match=str(tmp_path)):
            FORMATS[name].read(place, reading)


@pytest.mark.parametrize("name", ["coco", "cvat", "label-studio"])
def test_paths_out_of_the_folder_and_doubled_names_are_refused(name: str, tmp_path: Path) -> None:
    label = np.ones((1, 1), np.uint16)
    for names, said in ((["../a"], "no path inside"), (["/a"], "no path inside"), (["a", "a"], "2 photos")):
        FORMATS[name].write(
            tmp_path, CLASSES, (PhotoMask(each, label, f"{each}.jpg") for each in names), None
        )
        with pytest.raises(InputError, match=said):
            FORMATS[name].read(tmp_path, Reading())


@pytest.mark.parametrize("name", ["coco", "cvat", "label-studio", "labelme", "yolo", "png", "voc"])
def test_broken_files_are_one_sentence_that_names_the_file(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    label = np.ones((4, 4))
    form.write(tmp_path, CLASSES, iter([photo("a", label)]), None)
    for file in [tmp_path / each for each in form.results(["a"])]:
        if file.suffix in (".xml", ".json", ".png"):
            whole = file.read_bytes()
            file.write_bytes(whole[: len(whole) // 2])
            with pytest.raises(InputError, match=file.name):
                list(form.read(tmp_path, Reading(size=lambda name: (4, 4))).masks)
            file.write_bytes(whole)


def test_an_unknown_format_is_one_sentence() -> None:
    with pytest.raises(InputError, match="label-studio"):
        find_format("coc")


def test_png_of_more_than_254_classes_is_16_bit_and_others_are_palettes(tmp_path: Path) -> None:
    png = FORMATS["png"]
    png.write(tmp_path / "few", CLASSES, iter([photo("a", np.array([[1, UNDECIDED]]))]), None)
    with Image.open(tmp_path / "few" / "a.png") as image:
        assert (image.mode, np.array(image).tolist()) == ("P", [[1, 255]])
    many = tuple(map(str, range(255)))
    png.write(tmp_path / "many", many, iter([photo("a", np.array([[255, UNDECIDED]]))]), None)
    with Image.open(tmp_path / "many" / "a.png") as image:
        assert image.mode.startswith("I")
        assert np.array(image).tolist() == [[255, 65535]]


def test_png_labels_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    FORMATS["png"].write(tmp_path, CLASSES, iter([photo("a", np.array([[4]]))]), None)
    with pytest.raises(InputError, match="label 4, beyond the 3"):
        list(FORMATS["png"].read(tmp_path, Reading()).masks)
