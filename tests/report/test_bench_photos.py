"""Counts of photos survive being written as text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from getam.report.bench_photos import as_lines, from_lines


@given(
    unions=hnp.arrays(np.int64, st.tuples(st.integers(1, 4), st.just(12)), elements=st.integers(0, 10**7)),
    share=st.floats(0, 1),
)
def test_what_is_written_is_read(unions: np.ndarray, share: float) -> None:
    counts = np.stack([(unions * share).astype(np.int64), unions], axis=1)
    lines = as_lines(counts)
    assert len(lines) == len(unions)
    np.testing.assert_array_equal(from_lines(lines, 11), counts)


def test_a_line_names_the_labels_that_occur() -> None:
    counts = np.array([[[5, 0, 0], [9, 3, 0]], [[0, 0, 0], [0, 0, 0]]])
    assert as_lines(counts) == ("0:5/9 1:0/3", "")


@pytest.mark.parametrize("line", ["0:5", "a:1/2", "0:1/2 7:1/2", "0:1/2/3", "5/9"])
def test_other_text_is_an_error(line: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        from_lines([line], 2)
