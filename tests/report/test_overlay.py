"""Overlays: colours where the map is hot and the mask has labels, the photo elsewhere."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from getam.errors import InputError
from getam.report.overlay import (
    HATCH_GREYS,
    PHOTO_UNDER_HEAT,
    data_uri,
    heat_colours,
    heat_overlay,
    heat_table,
    label_overlay,
    outline,
)

GREY = np.full((24, 32, 3), 100, np.uint8)

label_maps = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3)
)


def lightness(colours):
    """Oracle: CIE L* of sRGB, another perceptual scale than the OKLCH the table is made in."""
    c = colours / 255.0
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)


def test_heat_rises_evenly_in_lightness():
    steps = lightness(heat_table())
    assert (np.diff(steps) > -0.3).all()  # rounding to 8 bits
    assert steps[0] < 10
    assert steps[-1] > 95
    even = np.linspace(steps[0], steps[-1], 256)
    assert np.abs(steps - even).max() < 6


def test_heat_colours_clip_and_keep_the_shape():
    values = np.array([[-1.0, 0.0], [1.0, 7.0]])
    colours = heat_colours(values)
    assert colours.shape == (2, 2, 3)
    assert np.array_equal(colours[0, 0], heat_table()[0])
    assert np.array_equal(colours[1, 1], heat_table()[255])


def test_the_hottest_place_has_the_hottest_colour_and_cold_places_show_the_photo():
    heat = np.zeros((6, 8), np.float32)
    heat[1, 6] = 1e-6  # raw maps are tiny: only the relative size counts
    shown = heat_overlay(GREY, heat)
    assert shown.shape == GREY.shape
    assert np.unravel_index(lightness(shown).argmax(), GREY.shape[:2])[0] // 4 == 1
    assert np.unravel_index(lightness(shown).argmax(), GREY.shape[:2])[1] // 4 == 6
    assert (shown[12:, :12] == round(100 * PHOTO_UNDER_HEAT)).all()


def test_heat_does_not_depend_on_its_scale():
    heat = np.random.default_rng(0).random((5, 7))
    assert np.array_equal(heat_overlay(GREY, heat), heat_overlay(GREY, heat * 1000))


def test_an_all_zero_map_leaves_the_dimmed_photo():
    assert (heat_overlay(GREY, np.zeros((3, 3))) == round(100 * PHOTO_UNDER_HEAT)).all()


@pytest.mark.parametrize(
    ("heat", "message"),
    [
        (np.full((2, 2), -1.0), "-1"),
        (np.full((2, 2), np.nan), "finite"),
        (np.zeros((1, 2, 2)), r"\(1, 2, 2\)"),
        (np.zeros((0, 2)), r"\(0, 2\)"),
    ],
)
def test_impossible_maps_are_refused(heat, message):
    with pytest.raises(InputError, match=message):
        heat_overlay(GREY, heat)


@settings(deadline=None)
@given(label_maps)
def test_outline_is_where_a_neighbour_differs(labels):
    height, width = labels.shape
    expected = np.zeros(labels.shape, bool)
    for y in range(height):
        for x in range(width):
            for other in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= other[0] < height and 0 <= other[1] < width
                expected[y, x] |= inside and labels[other] != labels[y, x]
    assert np.array_equal(outline(labels), expected)


def test_labels_colour_their_pixels_and_nothing_else():
    labels = np.zeros((24, 32), np.uint8)
    labels[4:12, 4:12] = 2
    labels[14:22, 14:22] = 255
    shown = label_overlay(GREY, labels)
    assert (shown[labels == 0] == 100).all()
    inside = shown[7, 7].astype(int)
    assert inside[2] > inside[1] > inside[0]  # label 2 is sky blue
    assert shown[4, 4].min() > inside.max()  # the outline is white
    hatched = shown[labels == 255]
    assert (hatched[:, 0] == hatched[:, 1]).all()
    assert (hatched[:, 1] == hatched[:, 2]).all()
    assert len(np.unique(hatched)) == len(HATCH_GREYS)


def test_colours_are_blended_by_their_opacity() -> None:
    labels = np.zeros((24, 32), np.uint8)
    labels[4:12, 4:12] = 2
    labels[14:22, 14:22] = 255
    shown = label_overlay(GREY, labels)
    assert tuple(shown[7, 7]) == (90, 160, 200)  # a quarter of 100, three of (86, 180, 233)
    assert tuple(shown[4, 5]) == (222, 236, 244)  # the outline: four fifths of white over that
    for y in range(14, 22):
        for x in range(14, 22):  # stripes of four pixels, of 96 and 176
            assert tuple(shown[y, x]) == ((97,) * 3 if (y + x) % 8 < 4 else (157,) * 3)


def test_heat_covers_the_photo_by_its_strength() -> None:
    heat = np.array([[0.0, 1.0], [0.25, 1.0]])
    shown = heat_overlay(GREY[:2, :2], heat)
    table = heat_table().astype(float)
    for y, x, strength, opacity in ((0, 0, 0, 0.0), (0, 1, 255, 0.85), (1, 0, 64, 0.85 / 2)):
        expected = 55 * (1 - opacity) + table[strength] * opacity
        np.testing.assert_allclose(shown[y, x], expected, atol=0.51)


def test_the_heat_colours_begin_and_end_as_designed() -> None:
    """OKLCH of the five stops, by the published matrices forwards: sRGB → OKLab."""
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    heat_table.cache_clear()
    designed = {  # place in the table: lightness, hue
        64: (0.35, 315.0),
        128: (0.56, 15.0),
        191: (0.76, 55.0),
        255: (0.97, 105.0),
    }
    for place, (lightness, hue) in designed.items():
        c = heat_table()[place] / 255.0
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        found, a, b = to_lab @ np.cbrt(to_cones @ linear)
        assert found == pytest.approx(lightness, abs=0.01)
        assert np.degrees(np.arctan2(b, a)) % 360 == pytest.approx(hue, abs=4)


def test_misfits_name_both_sides():
    with pytest.raises(InputError, match=r"\(5, 5\).*\(24, 32\)"):
        label_overlay(GREY, np.zeros((5, 5), np.uint8))
    with pytest.raises(InputError, match="int64"):
        label_overlay(GREY, np.zeros((24, 32), np.int64))
    with pytest.raises(InputError, match="float64"):
        label_overlay(GREY / 255.0, np.zeros((24, 32), np.uint8))


@pytest.mark.parametrize(
    "bad", [GREY / 255.0, GREY[:, :, 0], GREY[:, :, :2], GREY[:0], np.zeros((2, 3, 4, 3), np.uint8)]
)
def test_other_photos_are_refused(bad):
    with pytest.raises(InputError, match=r"give \(H, W, 3\) uint8 RGB"):
        heat_overlay(bad, np.ones((2, 2)))
    with pytest.raises(InputError, match=r"give \(H, W, 3\) uint8 RGB"):
        label_overlay(bad, np.zeros(bad.shape[:2], np.uint8))


def test_a_map_with_a_single_infinite_value_is_refused():
    heat = np.ones((2, 2))
    heat[0, 1] = np.inf
    with pytest.raises(InputError, match="finite"):
        heat_overlay(GREY, heat)


def test_inputs_are_left_alone():
    photo, labels, heat = GREY.copy(), np.eye(24, 32, dtype=np.uint8), np.eye(3)
    label_overlay(photo, labels)
    heat_overlay(photo, heat)
    assert (photo == 100).all()
    assert np.array_equal(labels, np.eye(24, 32))
    assert np.array_equal(heat, np.eye(3))


@pytest.mark.parametrize(("kind", "tolerance"), [("png", 0), ("jpeg", 6)])
def test_data_uris_decode_to_the_image(kind, tolerance):
    image = np.linspace(0, 255, 16 * 16 * 3).reshape(16, 16, 3).astype(np.uint8)
    head, body = data_uri(image, kind).split(",")
    assert head == f"data:image/{kind};base64"
    opened = Image.open(io.BytesIO(base64.b64decode(body)))
    assert opened.format == kind.upper()
    decoded = np.asarray(opened)
    assert np.abs(decoded.astype(int) - image).max() <= tolerance
