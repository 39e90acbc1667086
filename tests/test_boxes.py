"""Boxes around connected parts, against a flood fill pixel by pixel."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from getam.boxes import component_boxes


def flooded(mask: npt.NDArray[np.bool_]) -> list[tuple[list[int], int]]:
    """(box, pixels) of every part, in the order of their first pixel; corners touch."""
    left = {(y, x) for y, x in np.argwhere(mask).tolist()}
    found = []
    for start in sorted(left):
        if start not in left:
            continue
        part, todo = [], [start]
        left.remove(start)
        while todo:
            y, x = todo.pop()
            part.append((y, x))
            for near in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    todo.append(near)
        ys, xs = zip(*part)
        found.append(([min(xs), min(ys), max(xs) + 1, max(ys) + 1], len(part)))
    return found


@given(arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 7))))
def test_boxes_and_sizes_are_those_of_a_flood_fill(mask: npt.NDArray[np.bool_]) -> None:
    boxes, pixels = component_boxes(mask)
    assert boxes.shape == (len(pixels), 4)
    expected = flooded(mask)
    assert sorted(zip(boxes.tolist(), pixels.tolist())) == sorted(expected)
