"""What is not finite is refused wherever it hides, whatever the dtype; the rest passes."""

import pytest
import torch

from getam.errors import InputError
from getam.refine.inputs import require_finite


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 5, 11])
def test_one_value_is_enough(dtype: torch.dtype, broken: float, place: int) -> None:
    values = torch.ones(3, 4, dtype=dtype)
    values.flatten()[place] = broken
    with pytest.raises(InputError, match=r"the maps hold NaN or infinite values: .*train again"):
        require_finite(images=torch.ones(1), maps=values)
    with pytest.raises(InputError, match="the affinity holds NaN"):
        require_finite(affinity=values)


def test_everything_else_passes() -> None:
    largest = torch.tensor([torch.finfo(torch.float32).max, -torch.finfo(torch.float32).max])
    require_finite(
        images=torch.ones(2, dtype=torch.uint8),
        maps=torch.zeros(0, 3),
        saliency=None,
        masks=torch.tensor([True]),
    )
    require_finite(maps=largest)  # their sum, or their square, would not be finite
    require_finite(maps=torch.rand(2, requires_grad=True))
