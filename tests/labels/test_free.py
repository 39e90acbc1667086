"""What labels without saliency promise, however they are decided."""

import pytest
import torch

from getam.errors import InputError
from getam.labels import free as free_file
from getam.labels.free import complete_without_saliency
from getam.refine.crf import DEEPLAB, dense_crf


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


def noise_free_photo() -> torch.Tensor:
    """(1,3,40,48): two flat discs on a flat ground, so that edges and maps agree."""
    discs = blob()[0] > 0.5
    photo = torch.full((3, 40, 48), 60.0)
    photo[:, discs[0]] = 200.0
    photo[:, discs[1]] = 130.0
    return photo[None]


@pytest.mark.parametrize("iterations", [0, 5])
def test_the_crf_follows_the_discs(iterations: int) -> None:
    classes = torch.tensor([[0, 1]])
    label = complete_without_saliency(blob(), classes, noise_free_photo(), iterations=iterations, opening=0)[
        0
    ]
    truth = torch.zeros(40, 48, dtype=torch.uint8)
    for slot, disc in enumerate(blob()[0] > 0.5):
        truth[disc] = slot + 1
    assert (label == truth).float().mean() > 0.93


def test_between_the_two_levels_a_pixel_is_undecided() -> None:
    maps = torch.tensor([0.1, 0.4, 0.8]).view(1, 1, 1, 3).expand(1, 1, 2, 3).contiguous()
    photo = torch.zeros(1, 3, 2, 3)
    label = complete_without_saliency(
        maps, torch.tensor([[4]]), photo, foreground=0.6, background=0.2, iterations=0, opening=0
    )
    assert label[0, 0].tolist() == [0, 255, 5]


def test_levels_the_wrong_way_round_are_refused() -> None:
    maps, photo = blob(), noise_free_photo()
    with pytest.raises(InputError, match=r"0\.5 must not be above the foreground level 0\.2"):
        complete_without_saliency(maps, torch.tensor([[0, 1]]), photo, foreground=0.2, background=0.5)


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(InputError, match="do not belong together"):
        complete_without_saliency(blob(), torch.tensor([[0]]), noise_free_photo())


@pytest.mark.parametrize(
    ("size", "seen"), [((30, 500), (15, 250)), ((90, 1500), (15, 250)), ((31, 41), (15, 20))]
)
def test_the_crf_sees_half_the_photo_or_half_its_copy_of_500(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], seen: tuple[int, int]
) -> None:
    asked = []

    def spy(images: torch.Tensor, probabilities: torch.Tensor, **options: object) -> torch.Tensor:
        asked.append((tuple(images.shape), tuple(probabilities.shape), options))
        return dense_crf(images, probabilities, parameters=DEEPLAB, iterations=5)

    monkeypatch.setattr(free_file, "dense_crf", spy)
    label = complete_without_saliency(blob(*size), torch.tensor([[0, 1]]), torch.rand(1, 3, *size) * 255)
    assert asked == [((1, 3, *seen), (1, 3, *seen), {"parameters": DEEPLAB, "iterations": 5})]
    assert label.shape == (1, *size)
