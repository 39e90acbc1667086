"""The relations of I2CRC against sums written out pixel by pixel, and who takes part in them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from getam.labels.single_tag import single_tagged
from getam.losses.saliency_relation import saliency_relation_losses

TAGS = torch.tensor([[0.0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]])


def given(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Score maps (4,3,2,3), saliency (4,4,6) neither 0 nor 1, and a region without the last two columns."""
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 3, 2, 3, generator=random, dtype=dtype)
    roi = torch.ones(4, 4, 6, dtype=torch.bool)
    roi[:, :, 4:] = False
    return scores, torch.rand(4, 4, 6, generator=random), roi


def by_hand(scores: Tensor, saliency: Tensor, roi: Tensor, photos: dict[int, int]) -> list[float]:
    """L_f, L_b and L_d of the photos, of which the values are the only classes; loops over pixels and classes."""
    fine = F.interpolate(scores, size=saliency.shape[-2:], mode="bilinear", align_corners=False)
    sums = [0.0, 0.0, 0.0]
    for photo, own in photos.items():
        for k in range(3):
            centres = []
            for side in (0, 1):
                total = above = stray = 0.0
                for again in (0, 1):  # first the centre, then the distances from it
                    for y in range(saliency.shape[1]):
                        for x in range(saliency.shape[2]):
                            s = float(saliency[photo, y, x])
                            weight = (s if side == 0 else 1 - s) * float(roi[photo, y, x])
                            value = float(fine[photo, k, y, x])
                            if again:
                                stray += (weight * (value - above / (total + 1e-5))) ** 2
                            else:
                                total, above = total + weight, above + weight * value
                centres.append(above / (total + 1e-5))
                sums[side] += stray / (total + 1e-5)
            sums[2] += (centres[1] - centres[0]) * (k == own)
    return [each / (3 * len(photos)) for each in sums]


def test_each_term_is_its_formula() -> None:
    found = saliency_relation_losses(*given(), TAGS)
    assert [float(each) for each in found] == pytest.approx(by_hand(*given(), {0: 1, 2: 0}), rel=1e-4)


def test_photos_of_several_tags_or_none_contribute_nothing() -> None:
    scores, saliency, roi = given()
    scores.requires_grad_()
    for term in saliency_relation_losses(scores, saliency, roi, TAGS):
        (slope,) = torch.autograd.grad(term, scores, retain_graph=True)
        assert slope.abs().flatten(1).sum(1).gt(0).tolist() == [True, False, True, False]


def test_a_constant_score_map_is_at_its_centre_everywhere() -> None:
    _, saliency, roi = given()
    constant = torch.tensor([3.0, -2.0, 0.5])[None, :, None, None].expand(4, 3, 2, 3)
    found = saliency_relation_losses(constant, saliency, roi, TAGS)
    assert all(abs(float(each)) < 1e-5 for each in found)


def test_a_higher_score_of_the_class_where_it_is_salient_lowers_the_third_term_alone() -> None:
    _, _, roi = given()
    roi[:] = True
    saliency = torch.zeros(4, 4, 6)
    saliency[:, :, :2] = 1
    flat = torch.zeros(4, 3, 4, 6)

    def raised(k: int, columns: slice) -> Tensor:
        scores = flat.clone()
        scores[0, k, :, columns] = 6.0
        return saliency_relation_losses(scores, saliency, roi, TAGS).between

    assert float(raised(1, slice(0, 2))) == pytest.approx(-6 / (2 * 3), rel=1e-4)  # 2 photos, 3 classes
    assert float(raised(1, slice(2, 6))) == pytest.approx(6 / (2 * 3), rel=1e-4)
    assert float(raised(2, slice(0, 2))) == 0


def test_a_photo_with_an_unknown_class_takes_no_part() -> None:
    known = torch.ones(4, 3, dtype=torch.bool)
    known[0, 2] = False
    found = saliency_relation_losses(*given(), TAGS, known)
    assert [float(each) for each in found] == pytest.approx(by_hand(*given(), {2: 0}), rel=1e-4)
    assert single_tagged(TAGS, known).tolist() == [False, False, True, False]
    assert single_tagged(TAGS).tolist() == [True, False, True, False]


@pytest.mark.parametrize("side", [0.0, 1.0])
def test_a_crop_with_one_side_only_takes_no_part(side: float) -> None:
    scores, saliency, roi = given()
    saliency[0] = side
    found = saliency_relation_losses(scores, saliency, roi, TAGS)
    assert [float(each) for each in found] == pytest.approx(by_hand(scores, saliency, roi, {2: 0}), rel=1e-4)
    saliency[0, 0, 0] = 1 - side  # one pixel is enough
    found = saliency_relation_losses(scores, saliency, roi, TAGS)
    assert [float(each) for each in found] == pytest.approx(
        by_hand(scores, saliency, roi, {0: 1, 2: 0}), rel=1e-4
    )


def test_no_photo_to_learn_from_gives_0_with_a_graph() -> None:
    scores, saliency, roi = given()
    scores.requires_grad_()
    for case in ({"tags": torch.zeros(4, 3)}, {"roi": torch.zeros_like(roi)}):
        found = saliency_relation_losses(
            **{"score_map": scores, "saliency": saliency, "roi": roi, "tags": TAGS, **case}  # type: ignore[arg-type]
        )
        total = found.foreground + found.background + found.between
        (slope,) = torch.autograd.grad(total, scores)
        assert total.item() == 0
        assert not slope.any()


def test_the_gradients_are_right() -> None:
    scores, saliency, roi = given(torch.float64)
    scores.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: tuple(saliency_relation_losses(s, saliency.double(), roi, TAGS)), (scores,)
    )
