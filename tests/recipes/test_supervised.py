"""The supervised ceiling: cross-entropy on the masks, and the class score."""

import pytest
import torch
import torch.nn.functional as F

import tiny
from getam.recipes.base import Config
from getam.recipes.supervised import SupervisedRecipe


def test_losses_are_cross_entropies_on_masks_and_tags() -> None:
    net, images = tiny.hybrid_segmenter(), tiny.photos(2, model=tiny.hybrid_segmenter())
    mask = torch.randint(0, 4, (2, 32, 32))
    mask[:, :5] = 255
    tags = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    recipe = SupervisedRecipe()
    losses = recipe.losses(net, {"image": images, "tags": tags, "mask": mask}, 0.0, Config())
    scores, logits = net(images)
    torch.testing.assert_close(losses["pixel"], F.cross_entropy(logits, mask, ignore_index=255))
    torch.testing.assert_close(losses["cls"], F.multilabel_soft_margin_loss(scores, tags))
    assert recipe.needs == ("mask",)
    assert recipe.lr_factor(0.5, Config(warmup=0.0, poly_power=1.0)) == 0.5


def test_the_network_and_its_defaults_are_getams() -> None:
    recipe = SupervisedRecipe()
    assert (recipe.name, recipe.config_type, recipe.presets) == ("supervised", Config, {"light": {}})
    net = recipe.build(
        Config(backbone="small-hybrid", size=32, channels=(8, 8, 8, 8), width=8), ("cat", "dog")
    )
    assert net.classes == ("cat", "dog")
    config = Config(warmup=0.2, poly_power=2.0)
    assert recipe.lr_factor(0.099, config) == pytest.approx(0.5 * 0.901**2)
