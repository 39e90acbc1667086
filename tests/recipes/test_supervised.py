"""The supervised ceiling: cross-entropy on the masks, and the class score."""

import pytest
import torch
import torch.nn.functional as F

import tiny
from getam.data.class_mix import class_mix
from getam.losses.cross_entropy import pixel_loss
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe


def test_losses_are_cross_entropies_on_masks_and_tags() -> None:
    net, images = tiny.hybrid_segmenter(), tiny.photos(2, model=tiny.hybrid_segmenter())
    mask = torch.randint(0, 4, (2, 32, 32))
    mask[:, :5] = 255
    tags = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    recipe = SupervisedRecipe()
    losses = recipe.losses(net, {"image": images, "tags": tags, "mask": mask}, 0.0, SupervisedConfig())
    scores, logits = net(images)
    torch.testing.assert_close(losses["pixel"], F.cross_entropy(logits, mask, ignore_index=255))
    torch.testing.assert_close(losses["cls"], F.multilabel_soft_margin_loss(scores, tags))
    assert recipe.needs == ("mask",)
    assert SupervisedConfig(warmup=0.0, poly_power=1.0).lr_factor(0.5) == 0.5


def test_a_photo_without_a_mask_teaches_its_tags_only() -> None:
    """One batch of both kinds: the sum over pixels of the one mask, and the gradient pixel by pixel."""
    images = tiny.photos(3, model=tiny.hybrid_segmenter())
    mask = torch.full((3, 32, 32), 255)
    mask[1, :, :16], mask[1, 20:, 20:] = 0, 2
    tags = torch.tensor([[1.0, 0, 1], [0, 1, 0], [0, 0, 0]])
    kept: list[torch.Tensor] = []

    class Watched(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            scores, logits = net(images)
            kept[:] = [scores, logits]
            for output in kept:
                output.retain_grad()
            return scores, logits

    net = tiny.hybrid_segmenter()
    batch = {"image": images, "tags": tags, "mask": mask}
    losses = SupervisedRecipe().losses(Watched(), batch, 0.0, SupervisedConfig())
    scores, logits = kept
    by_hand, decided = 0.0, 0
    for y in range(32):
        for x in range(32):
            if mask[1, y, x] != 255:
                row = logits[1, :, y, x].detach().double()
                by_hand += (row.exp().sum().log() - row[mask[1, y, x]]).item()
                decided += 1
    assert losses["pixel"].item() == pytest.approx(by_hand / decided, rel=1e-5)
    odds = torch.where(tags > 0, scores, -scores).detach().double()
    assert losses["cls"].item() == pytest.approx((1 + (-odds).exp()).log().mean().item(), rel=1e-5)

    (losses["pixel"] + losses["cls"]).backward()
    assert logits.grad is not None
    assert scores.grad is not None
    assert logits.grad[[0, 2]].abs().max() == 0
    assert logits.grad[1, :, mask[1] == 255].abs().max() == 0
    assert (logits.grad[1, :, mask[1] != 255].abs().sum(0) > 0).all()
    assert (scores.grad.abs() > 0).all()


def test_a_batch_without_any_mask_gives_no_pixel_loss_and_no_nan() -> None:
    net, images = tiny.hybrid_segmenter(), tiny.photos(2, model=tiny.hybrid_segmenter())
    batch = {"image": images, "tags": torch.eye(3)[:2], "mask": torch.full((2, 32, 32), 255)}
    losses = SupervisedRecipe().losses(net, batch, 0.0, SupervisedConfig(gce=0.5, class_mix=1.0))
    assert losses["pixel"].item() == 0
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_the_network_and_its_defaults_are_getams() -> None:
    recipe = SupervisedRecipe()
    assert (recipe.name, recipe.config_type, recipe.presets) == (
        "supervised",
        SupervisedConfig,
        {"light": {}},
    )
    net = SupervisedConfig(backbone="small-hybrid", size=32, channels=(8, 8, 8, 8), width=8).build(
        ("cat", "dog")
    )
    assert net.classes == ("cat", "dog")
    config = SupervisedConfig(warmup=0.2, poly_power=2.0)
    assert config.lr_factor(0.099) == pytest.approx(0.5 * 0.901**2)


def test_options_change_the_loss_as_they_say() -> None:
    net, recipe = tiny.hybrid_segmenter(), SupervisedRecipe()
    mask = torch.zeros(2, 32, 32, dtype=torch.int64)
    mask[0, :16], mask[1, 16:] = 1, 3
    batch = {"image": tiny.photos(2, model=net), "tags": torch.tensor([[1.0, 0, 0], [0, 0, 1]]), "mask": mask}
    _, logits = net(batch["image"])
    robust = recipe.losses(net, batch, 0.0, SupervisedConfig(gce=0.7))["pixel"]
    torch.testing.assert_close(robust, pixel_loss(logits, mask, 0.7))
    images, masks, tags = class_mix(batch["image"], mask, batch["tags"], 1.0)
    scores, logits = net(images)
    mixed = recipe.losses(net, batch, 0.0, SupervisedConfig(class_mix=1.0))
    torch.testing.assert_close(mixed["pixel"], F.cross_entropy(logits, masks))
    torch.testing.assert_close(mixed["cls"], F.multilabel_soft_margin_loss(scores, tags))


@pytest.mark.parametrize("asked", [False, True])
def test_with_partial_labels_undecided_pixels_of_the_photo_are_of_its_tags(asked: bool) -> None:
    net, recipe = tiny.hybrid_segmenter(), SupervisedRecipe()
    mask = torch.randint(0, 4, (2, 32, 32), generator=torch.Generator().manual_seed(0))
    mask[:, :9] = 255
    roi = torch.ones(2, 32, 32, dtype=torch.bool)
    roi[:, :4] = False
    tags, known = (
        torch.tensor([[1.0, 0, 0], [0, 0, 1]]),
        torch.tensor([[True, True, False], [True, True, True]]),
    )
    batch = {"image": tiny.photos(2, model=net), "tags": tags, "mask": mask, "roi": roi, "known": known}
    _, logits = net(batch["image"])
    possible = torch.tensor(
        [[True, False, True], [False, False, True]]
    )  # the third may be in the first photo
    found = recipe.losses(net, batch, 0.0, SupervisedConfig(partial_labels=asked))["pixel"]
    wanted = pixel_loss(logits, mask, 0.0, known, (possible, roi) if asked else None)
    torch.testing.assert_close(found, wanted)
    assert not asked or found != pixel_loss(logits, mask, 0.0, known)
