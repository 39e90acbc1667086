"""What labels without saliency promise, however they are decided."""

import pytest
import torch

from getam.labels.free import complete_without_saliency


def blob(height: int = 40, width: int = 48) -> torch.Tensor:
    """(1,2,H,W): a bright disc on the left in the first map, on the right in the second."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    discs = [
        torch.exp(-((((y - height / 2) / 8) ** 2 + ((x - centre) / 7) ** 2) ** 3)) for centre in (12, 36)
    ]
    return torch.stack(discs)[None]


def test_labels_are_the_photos_classes_background_or_undecided() -> None:
    maps = torch.cat([blob(), blob()])
    classes = torch.tensor([[5, 2], [3, -1]])
    label = complete_without_saliency(maps, classes, torch.rand(2, 3, 40, 48) * 255)
    assert label.shape == (2, 40, 48)
    assert label.dtype == torch.uint8
    assert set(label[0].unique().tolist()) <= {0, 6, 3, 255}
    assert set(label[1].unique().tolist()) <= {0, 4, 255}
    assert label[0, 20, 12] == 6
    assert label[0, 20, 36] == 3
    assert label[1, 20, 12] == 4
    assert not label.requires_grad


@pytest.mark.parametrize("classes", [torch.full((2, 1), -1), torch.zeros(2, 0, dtype=torch.int64)])
def test_photos_without_tags_show_no_class(classes: torch.Tensor) -> None:
    maps = torch.rand(2, classes.shape[1], 24, 24)
    label = complete_without_saliency(maps, classes, torch.rand(2, 3, 24, 24) * 255)
    assert label.shape == (2, 24, 24)
    assert label.dtype == torch.uint8
    assert set(label.unique().tolist()) <= {0, 255}
