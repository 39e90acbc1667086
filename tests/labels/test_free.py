"""What labels without saliency promise, however they are decided."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from getam.errors import InputError
from getam.labels import free as free_file
from getam.labels.completion import open_specks
from getam.labels.free import complete_without_saliency
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import AFA, DEEPLAB, CRFParameters


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


def by_hand(
    maps: torch.Tensor,
    classes: list[int],
    photo: torch.Tensor,
    *,
    foreground: float = 0.25,
    background: float = 0.25,
    iterations: int = 5,
    parameters: CRFParameters = DEEPLAB,
    opening: int = 9,
) -> torch.Tensor:
    """The three steps for one photo (1,3,H,W) whose maps (1,K,H,W) all have a class; numbers as published."""
    size = photo.shape[-2:]
    half = (size[0] // 2, size[1] // 2)
    small = F.interpolate(photo, half, mode="area")
    found = []
    for level in (foreground, background):
        belief = torch.cat([torch.full((1, 1, *size), level), maps], 1)
        coarse = F.interpolate(belief, half, mode="bilinear").clamp(min=1e-4)
        coarse = coarse / coarse.sum(1, keepdim=True)
        refined = dense_crf(small, coarse, parameters=parameters, iterations=iterations)
        winner = F.interpolate(refined, size, mode="bilinear").argmax(1)
        found.append(torch.tensor([0, *(c + 1 for c in classes)])[winner])
    strict, loose = found
    label = torch.where((strict == 0) & (loose != 0), 255, strict).to(torch.uint8)
    return open_specks(label, opening)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"foreground": 0.6, "background": 0.1},
        {"foreground": 0.4},
        {"iterations": 1, "opening": 3},
        {"parameters": AFA, "opening": 0, "background": 0.05},
    ],
)
def test_is_its_steps_one_after_the_other(options: dict[str, Any]) -> None:
    maps = (blob() + 0.3 * torch.rand(1, 2, 40, 48)) / 1.3
    photo = (noise_free_photo() + 25 * torch.randn(1, 3, 40, 48)).clamp(0, 255)
    found = complete_without_saliency(maps, torch.tensor([[7, 2]]), photo, **options)
    assert torch.equal(found, by_hand(maps, [7, 2], photo, **options))
    assert len(found.unique()) >= 3
    slots = torch.tensor([[7, -1, 2]])
    spread = torch.stack([maps[:, 0], torch.ones(1, 40, 48), maps[:, 1]], 1)  # a slot beyond the tags
    assert torch.equal(complete_without_saliency(spread, slots, photo, **options), found)


def test_without_iterations_the_levels_alone_decide() -> None:
    maps, photo = torch.rand(1, 1, 8, 8), torch.rand(1, 3, 8, 8) * 255
    found = complete_without_saliency(maps, torch.tensor([[1]]), photo, iterations=0, opening=0)
    assert torch.equal(found, torch.where(maps[:, 0] > 0.25, 2, 0).byte())


def test_maps_of_half_precision_are_compared_in_full() -> None:
    maps = torch.full((1, 1, 2, 2), 0.3, dtype=torch.float16)  # 0.30005
    found = complete_without_saliency(
        maps,
        torch.tensor([[0]]),
        torch.zeros(1, 3, 2, 2),
        foreground=0.3,
        background=0.3,
        iterations=0,
        opening=0,
    )
    assert found.unique().tolist() == [1]


def test_no_photo_has_no_label() -> None:
    found = complete_without_saliency(
        torch.zeros(0, 2, 8, 9), torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, 3, 8, 9)
    )
    assert found.shape == (0, 8, 9)
    assert found.dtype == torch.uint8


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
    photo, classes = noise_free_photo(), torch.tensor([[0, 1]])
    for given in (
        (blob(), torch.tensor([[0]]), photo),
        (blob(), classes, photo[:, :, 1:]),
        (blob(), classes, photo.expand(2, 3, 40, 48)),
        (blob(), classes, photo[:, :1]),
    ):
        with pytest.raises(InputError, match="do not belong together"):
            complete_without_saliency(*given)


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
