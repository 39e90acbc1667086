"""Class colours, through matrices that simulate colour-blindness: Machado, Oliveira and Fernandes 2009, severity 1."""

import itertools

import numpy as np
import pytest

from getam.report.palette import CLASS_COLOURS, LINE_COLOURS, OKABE_ITO, colour_rows, colour_table, css_colour

SIGHT = {
    "trichromat": np.eye(3),
    "protanope": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranope": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
}
VOC = [
    (128, 0, 0),
    (0, 128, 0),
    (128, 128, 0),
    (0, 0, 128),
    (128, 0, 128),
    (0, 128, 128),
    (128, 128, 128),
    (64, 0, 0),
]


def seen(colours, sight):
    """Linear sRGB → what such eyes see → OKLab (Ottosson 2020), where distances are those people see."""
    srgb = np.asarray(colours) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.asarray(SIGHT[sight]).T, 0, 1)
    to_cones = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
    to_lab = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
              [0.0259040371, 0.7827717662, -0.8086757660]]  # fmt: skip
    return np.cbrt(linear @ np.transpose(to_cones)) @ np.transpose(to_lab)


def nearest(colours, sight):
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen(colours, sight), 2))


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("count", [8, 20])
def test_class_colours_are_as_far_apart_as_those_of_okabe_and_ito(sight, count):
    table = colour_table()[1 : count + 1]
    worst = min(nearest(colour_table()[1:8], each) for each in SIGHT)
    assert nearest(table, sight) >= worst > 0.07
    if sight == "protanope" and count == 8:
        assert nearest(VOC, sight) < 0.03  # the measure tells good from bad


def test_the_published_colours_come_first():
    published = [
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (240, 228, 66),
        (0, 114, 178),
        (213, 94, 0),
        (204, 121, 167),
    ]
    assert [tuple(row) for row in colour_table()[:8].tolist()] == [(0, 0, 0), *published]
    assert set(LINE_COLOURS) == set(OKABE_ITO) - {"#F0E442"}
    assert len(set(CLASS_COLOURS)) == 20


def test_labels_beyond_the_table_begin_anew():
    labels = np.arange(1, 600, dtype=np.uint16)
    assert colour_rows(labels).tolist() == [(label - 1) % 20 + 1 for label in range(1, 600)]
    assert colour_rows(np.array([[0, 255]], np.uint8)).tolist() == [[0, 15]]
    for label in (1, 2, 20, 21, 45):
        row = colour_table()[colour_rows(np.array([label]))[0]]
        assert css_colour(label) == "#{:02X}{:02X}{:02X}".format(*row)
