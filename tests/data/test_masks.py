"""Label maps go to disk and back unchanged, and class lists are matched by name."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from getam.data.masks import (
    read_classes,
    read_label_names,
    read_mask,
    remap,
    voc_palette,
    write_classes,
    write_mask,
)
from getam.errors import InputError

# From the table printed in the documentation of the PASCAL VOC 2012 development kit.
VOC_COLOURS = {
    0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 5: (128, 0, 128),
    6: (0, 128, 128), 7: (128, 128, 128), 8: (64, 0, 0), 9: (192, 0, 0), 10: (64, 128, 0), 11: (192, 128, 0),
    12: (64, 0, 128), 13: (192, 0, 128), 14: (64, 128, 128), 15: (192, 128, 128), 16: (0, 64, 0),
    17: (128, 64, 0), 18: (0, 192, 0), 19: (128, 192, 0), 20: (0, 64, 128), 255: (224, 224, 192),
}  # fmt: skip


def test_palette_is_the_one_of_voc() -> None:
    colours = np.array(voc_palette()).reshape(256, 3)
    for label, colour in VOC_COLOURS.items():
        assert tuple(colours[label]) == colour
    assert len({tuple(colour) for colour in colours}) == 256


labels = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))


@settings(max_examples=40, deadline=None)
@given(label=labels)
def test_masks_survive_the_disk(tmp_path_factory: pytest.TempPathFactory, label: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("masks") / "deep" / "a.png"
    write_mask(path, label)
    np.testing.assert_array_equal(read_mask(path, label.shape), label)
    with Image.open(path) as image:
        assert image.mode == "P"
        shown = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(shown, np.array(voc_palette()).reshape(256, 3)[label])


def test_writing_leaves_nothing_beside_the_mask(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", np.zeros((3, 4), np.uint8))
    write_mask(tmp_path / "a.png", np.ones((3, 4), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert read_mask(tmp_path / "a.png").all()


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "ß" * 125 + ".png"])  # as long as names may be
def test_long_file_names_are_written(tmp_path: Path, name: str) -> None:
    write_mask(tmp_path / name, np.ones((2, 3), np.uint8))
    assert read_mask(tmp_path / name).all()


@pytest.mark.parametrize(
    "label", [np.zeros((2, 2), np.int64), np.zeros((2, 2, 3), np.uint8), np.zeros((0, 3), np.uint8)]
)
def test_what_is_no_label_map_is_not_written(tmp_path: Path, label: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"a mask is \(H, W\) uint8"):
        write_mask(tmp_path / "a.png", label)


def test_grey_masks_are_read(tmp_path: Path) -> None:
    label = np.array([[0, 1, 255]], np.uint8)
    Image.fromarray(label).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), label)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("RGB", r"a\.png is RGB colours, not label numbers: convert it to a palette PNG"),
        ("RGBA", r"a\.png is RGB colours"),
        ("LA", r"a\.png is LA colours"),
        ("1", r"a\.png is black and white"),
    ],
)
def test_masks_in_colour_or_of_other_depth(tmp_path: Path, mode: str, message: str) -> None:
    Image.new(mode, (4, 3)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=message):
        read_mask(tmp_path / "a.png")


def test_mask_of_another_size_prints_both(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", np.zeros((3, 4), np.uint8))
    with pytest.raises(InputError, match=r"a\.png is 4×3 but its photo is 8×6 \(width×height\)"):
        read_mask(tmp_path / "a.png", (6, 8))
    with pytest.raises(InputError, match=r"a\.png is 4×3 but its photo is 3×4"):
        read_mask(tmp_path / "a.png", (4, 3))


def test_jpeg_truncated_and_missing_masks(tmp_path: Path) -> None:
    Image.new("L", (40, 30)).save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg is a JPEG, which blurs labels"):
        read_mask(tmp_path / "a.jpg")
    write_mask(tmp_path / "b.png", np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8))
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:1500])
    with pytest.raises(InputError, match=r"b\.png cannot be read.*truncated"):
        read_mask(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"c\.png does not exist"):
        read_mask(tmp_path / "c.png")


def test_class_lists_survive_the_disk(tmp_path: Path) -> None:
    names = ("cat", "Kühe", "traffic light")
    path = write_classes(tmp_path, names)
    assert path.read_text(encoding="utf-8").splitlines()[0] == "background"
    assert read_classes(tmp_path) == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\ndog\n", r"classes\.txt, line 1: 'cat' where 'background' is expected"),
        (b"", r"line 1: '' where 'background'"),
        (b"background\n", "0 classes besides background"),
        (b"background\ncat\n\ndog\n", r"'' is no class name \(label 2\)"),
        (b"background\ncat\ncat\n", "'cat' names two labels"),
        (b"background\nBackground\n", "names label 1, but background is always label 0"),
        (b"background\n\xff\xfe\n", "is not UTF-8"),
    ],
)
def test_bad_class_lists(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_classes(tmp_path)


def test_missing_class_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"classes\.txt does not exist: write one class name a line"):
        read_classes(tmp_path)


@given(label=labels, order=st.permutations(range(6)), kept=st.integers(1, 6))
def test_remap_follows_the_names(label: np.ndarray, order: list[int], kept: int) -> None:
    names = [f"class{number}" for number in range(6)]
    wanted = [names[number] for number in order[:kept]]
    label = np.where((label > 6) & (label < 255), 255, label).astype(np.uint8)

    result = remap(label, names, wanted)

    assert result.dtype == np.uint8
    for before, after in zip(label.ravel().tolist(), result.ravel().tolist(), strict=True):
        if before in (0, 255):
            assert after == before
        elif names[before - 1] in wanted:
            assert wanted[after - 1] == names[before - 1]
        else:
            assert after == 255


def test_remap_refuses_labels_beyond_the_list() -> None:
    with pytest.raises(InputError, match=r"label 3 is beyond the 2 classes of the list \(cat, dog\)"):
        remap(np.array([[0, 3]], np.uint8), ("cat", "dog"), ("cat",))


def test_label_0_may_be_void_where_that_is_asked(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("void\ngrass\ncow\n")
    assert read_label_names(tmp_path) == ("void", ("grass", "cow"))
    with pytest.raises(InputError, match=r"line 1: 'void' where 'background' is expected"):
        read_classes(tmp_path)
    write_classes(tmp_path, ("cat",))
    assert read_label_names(tmp_path) == ("background", ("cat",))


@given(label=labels, order=st.permutations(range(6)), void=st.booleans())
def test_remap_with_background_classes_and_void(label: np.ndarray, order: list[int], void: bool) -> None:
    names = [f"class{number}" for number in range(6)]
    shuffled = [names[number] for number in order]
    wanted, background = shuffled[:2], shuffled[2:4]
    label = np.where((label > 6) & (label < 255), 255, label).astype(np.uint8)

    result = remap(label, names, wanted, background=background, void=void)

    for before, after in zip(label.ravel().tolist(), result.ravel().tolist(), strict=True):
        if before == 255 or (before == 0 and void):
            assert after == 255
        elif before == 0 or names[before - 1] in background:
            assert after == 0
        elif names[before - 1] in wanted:
            assert wanted[after - 1] == names[before - 1]
        else:
            assert after == 255


def test_a_class_list_longer_than_a_palette(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(f"class {number}" for number in range(255))
    write_classes(tmp_path, names)
    assert read_classes(tmp_path) == names
    monkeypatch.setattr("getam.data.masks.MAX_CLASSES", 254)
    for refused in (read_classes, read_label_names, lambda folder: write_classes(folder, names)):
        with pytest.raises(InputError, match="255 classes besides background; between 1 and 254"):
            refused(tmp_path)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_deep_maps_are_16_bit_grey_pngs(tmp_path: Path, dtype: type) -> None:
    label = np.array([[0, 254, 255], [256, 290, 65535]], dtype)
    write_mask(tmp_path / "a.png", label)
    assert Image.open(tmp_path / "a.png").mode in ("I;16", "I")
    found = read_mask(tmp_path / "a.png", (2, 3))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, label)


@pytest.mark.parametrize("value", [-1, 65536])
def test_what_16_bits_do_not_hold_is_not_written(tmp_path: Path, value: int) -> None:
    with pytest.raises(
        InputError, match=f"labels 0 to 65535, but one was to be written with {value} to {value}"
    ):
        write_mask(tmp_path / "a.png", np.full((2, 2), value, np.int32))


def test_deep_images_of_other_kinds_are_refused(tmp_path: Path) -> None:
    Image.new("F", (4, 3)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif is deeper than 8 bits a pixel \(mode F\) and no PNG"):
        read_mask(tmp_path / "a.tif")


MANY = tuple(f"class {number}" for number in range(1, 301))


@pytest.mark.parametrize(
    ("label", "from_classes", "to_classes", "expected"),
    [
        (np.array([0, 1, 255], np.uint8), MANY, MANY, [0, 1, 65535]),  # 8 bits know no class 255
        (np.array([0, 290, 255, 65535], np.uint16), MANY, MANY, [0, 290, 255, 65535]),
        (np.array([0, 290, 255, 65535], np.uint16), MANY, ("class 290",), [0, 1, 255, 255]),
        (np.array([0, 2, 255, 65535], np.uint16), ("cat", "dog"), ("dog",), [0, 1, 255, 255]),
        (np.array([0, 2, 255], np.uint8), ("cat", "class 300"), MANY, [0, 300, 65535]),
        (np.array([0, 2, 65535], np.int32), MANY, MANY[::-1], [0, 299, 65535]),
    ],
)
def test_remapping_between_depths(
    label: np.ndarray, from_classes: tuple[str, ...], to_classes: tuple[str, ...], expected: list[int]
) -> None:
    found = remap(label[None], from_classes, to_classes)
    assert found.tolist() == [expected]
    assert found.dtype == (np.uint16 if len(to_classes) > 254 else np.uint8)
    if len(from_classes) > 254 and label.dtype != np.uint8:
        with pytest.raises(
            InputError, match=r"label 301 is beyond the 300 classes of the list \(class 1, .* and 270 more\)"
        ):
            remap(np.array([[301]], label.dtype), from_classes, to_classes)
