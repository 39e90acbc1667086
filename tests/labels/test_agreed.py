"""What two labels of a photo say alike, against a loop over pixels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from getam.errors import InputError
from getam.labels.agreed import agreed


@given(st.data())
def test_a_pixel_is_decided_where_both_say_the_same(data: st.DataObject) -> None:
    count, dtype, ignore = data.draw(
        st.sampled_from([(3, torch.uint8, 255), (254, torch.uint8, 255), (255, torch.int32, 65535)])
    )
    label = st.sampled_from([0, 1, 3, ignore])
    size = data.draw(st.integers(1, 12))
    one, other = (data.draw(st.lists(label, min_size=size, max_size=size)) for _ in range(2))
    found = agreed(torch.tensor([one], dtype=dtype), torch.tensor([other], dtype=torch.int32), count)
    assert found.dtype == dtype
    assert found.tolist() == [[a if a == b else ignore for a, b in zip(one, other, strict=True)]]


def test_labels_of_two_sizes_do_not_belong_together() -> None:
    with pytest.raises(InputError, match=r"labels of \(2, 3\) and \(3, 2\) .* one photo"):
        agreed(torch.zeros(2, 3), torch.zeros(3, 2), 4)
