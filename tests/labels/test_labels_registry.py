"""Every labeller by its name: one contract, and refusals that say what else would do."""

import pytest
import torch

from getam.errors import InputError
from getam.labels.double_threshold import double_threshold
from getam.labels.registry import LABELLERS, find_labeller, label_with

CLASSES = torch.tensor([[4, 2], [7, -1]])


@pytest.fixture
def scene():
    maps = torch.rand(2, 2, 16, 20)
    maps[1, 1] = 0
    given = {"maps": maps, "images": torch.rand(2, 3, 16, 20) * 255, "saliency": torch.rand(2, 16, 20)}
    known = torch.tensor([[0, 3, 5], [0, 8, 255]])  # by photo
    initial = torch.stack([own[torch.randint(3, (16, 20))] for own in known])
    return {**given, "initial": initial, "prediction": torch.randint(10, (2, 16, 20))}


@pytest.mark.parametrize("name", LABELLERS)
def test_every_labeller_keeps_the_contract(name, scene):
    before = {key: value.clone() for key, value in scene.items()}
    label = label_with(name, CLASSES, **scene)
    assert label.shape == (2, 16, 20)
    assert label.dtype == torch.uint8
    assert set(label[0].unique().tolist()) <= {0, 3, 5, 255}
    assert set(label[1].unique().tolist()) <= {0, 8, 255}
    assert all(torch.equal(scene[key], value) for key, value in before.items())


@pytest.mark.parametrize("name", LABELLERS)
def test_only_what_it_needs_is_needed(name, scene):
    needed = {key: value for key, value in scene.items() if key in LABELLERS[name].needs}
    assert torch.equal(label_with(name, CLASSES, **needed), label_with(name, CLASSES, **scene))
    for missing in needed:
        with pytest.raises(InputError, match=f"the labels '{name}' need {missing}"):
            label_with(name, CLASSES, **{key: value for key, value in needed.items() if key != missing})


def test_the_name_stands_for_the_function(scene):
    expected = double_threshold(scene["maps"], CLASSES)
    assert torch.equal(label_with("threshold", CLASSES, maps=scene["maps"]), expected)


def test_unknown_names_are_answered_with_those_there_are():
    with pytest.raises(InputError, match="no labeller 'crf': choose one of completion, free, threshold"):
        find_labeller("crf")
