"""Scores of photos that were held out: those of the network on each alone, in eval mode, and the mode put back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import tiny
from getam.data.collection import load_collection
from getam.engine.held_out import held_out_scores
from getam.recipes.base import Config


@pytest.mark.parametrize("training", [True, False])
def test_scores_and_tags_of_every_photo(scenes: Path, training: bool) -> None:
    collection = load_collection(scenes / "photos", scenes / "tags.csv")
    crops = Config(size=32).whole_photos(collection)
    net = tiny.hybrid_segmenter(classes=collection.classes).train(training)
    random = torch.random.get_rng_state()
    scores, tags = held_out_scores(net, crops, 4)
    assert torch.equal(random, torch.random.get_rng_state())
    assert net.training is training
    assert not scores.requires_grad
    with torch.no_grad():
        alone = [net.eval().class_scores(crops[n]["image"][None])[0] for n in range(len(crops))]
    torch.testing.assert_close(scores, torch.stack(alone))
    assert torch.equal(tags, torch.stack([crops[n]["tags"] for n in range(len(crops))]))


def test_photos_are_whole_and_in_their_own_colours(scenes: Path) -> None:
    collection = load_collection(scenes / "photos", scenes / "tags.csv")
    crops = Config(size=32, zoom=(0.5, 0.5), colour_jitter=True, seed=4).whole_photos(collection)
    assert (crops.zoom, crops.colour_jitter, crops.with_masks, crops.size) == (
        (1.0, 1.0),
        False,
        False,
        (32, 32),
    )
    roi = crops[0]["roi"]
    assert roi.any(0).sum() == 32 or roi.any(1).sum() == 32
