"""Brush strokes against Label Studio's own converter, in both directions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from getam.data.mask_formats.label_studio_rle import decode_brush, encode_brush

brush = pytest.importorskip(
    "label_studio_converter.brush", reason="label-studio-converter comes with the extra dev"
)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_the_converter_reads_what_is_written_and_the_other_way_round(flags: np.ndarray) -> None:
    alpha = brush.decode_rle(encode_brush(flags)).reshape(*flags.shape, 4)
    np.testing.assert_array_equal(alpha, np.repeat(flags[..., None], 4, 2) * 255)
    theirs = brush.mask2rle(flags.astype(np.uint8) * 255)
    np.testing.assert_array_equal(decode_brush(theirs, flags.shape), flags)


@pytest.mark.parametrize("pixels", [1, 2, 3, 4, 5, 64, 65, 2**14, 2**14 + 1, 3 * 2**14 + 7])
def test_runs_of_every_width(pixels: int) -> None:
    flags = np.zeros((1, pixels + 2), bool)
    flags[0, 1:-1] = True
    np.testing.assert_array_equal(brush.decode_rle(encode_brush(flags))[3::4] > 0, flags[0])
    np.testing.assert_array_equal(decode_brush(encode_brush(flags), flags.shape), flags)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=8, max_size=8))
def test_values_that_are_not_repeated_and_soft_brushes(alpha: list[int]) -> None:
    bits = f"{32:032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in (3, 4, 8, 16)) + "010" + f"{31:08b}"
    assert len(bits) == 64
    for value in alpha:
        bits += "0" * 24 + f"{value:08b}"
    rle = [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]
    assert brush.decode_rle(rle)[3::4].tolist() == alpha
    assert decode_brush(rle, (2, 4)).ravel().tolist() == [value >= 128 for value in alpha]


def test_bytes_that_do_not_fit_are_refused() -> None:
    rle = encode_brush(np.eye(9, dtype=bool))
    with pytest.raises(ValueError, match="9×8"):
        decode_brush(rle, (8, 9))
    for end in range(len(rle) - 1):
        with pytest.raises(ValueError):
            decode_brush(rle[:end], (9, 9))
