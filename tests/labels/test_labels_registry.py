"""Every labeller by its name: one contract, and refusals that say what else would do."""

import pytest
import torch

from getam.errors import InputError
from getam.labels.completion import complete
from getam.labels.double_threshold import afa_label, double_threshold, irn_label
from getam.labels.free import complete_without_saliency
from getam.labels.fusion import object_guided_refinement, saliency_fusion
from getam.labels.registry import LABELLERS, find_labeller, label_with
from getam.labels.single_tag import saliency_label

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


@pytest.mark.parametrize("name", [name for name in LABELLERS if name != "object-guided"])  # that takes labels
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused_and_named(name, broken, scene):
    for given in LABELLERS[name].needs:
        spoilt = scene[given].clone()
        spoilt.flatten()[7] = broken
        with pytest.raises(InputError, match=f"the {given} holds? NaN or infinite values"):
            label_with(name, CLASSES, **(scene | {given: spoilt}))


@pytest.mark.parametrize("name", LABELLERS)
@pytest.mark.parametrize(
    "dtypes",
    [
        {"images": torch.uint8},
        {"images": torch.float64, "maps": torch.float64, "saliency": torch.float64},
        {"maps": torch.float16},
        {"maps": torch.bfloat16, "saliency": torch.float16},
    ],
)
def test_the_dtype_of_what_is_given_does_not_matter(name, dtypes, scene):
    """Values that all of these dtypes hold exactly."""
    scene["maps"], scene["saliency"] = ((64 * scene[key]).round() / 64 for key in ("maps", "saliency"))
    scene["images"] = scene["images"].round()
    given = {key: value.to(dtypes.get(key, value.dtype)) for key, value in scene.items()}
    assert torch.equal(label_with(name, CLASSES, **given), label_with(name, CLASSES, **scene))


@pytest.mark.parametrize(
    ("name", "function", "needs"),
    [
        ("completion", complete, ("maps", "saliency")),
        ("free", complete_without_saliency, ("maps", "images")),
        ("threshold", double_threshold, ("maps",)),
        ("irn", irn_label, ("maps", "images")),
        ("afa", afa_label, ("maps", "images")),
        ("saliency-fusion", saliency_fusion, ("maps", "saliency")),
        ("object-guided", object_guided_refinement, ("prediction", "initial")),
        ("single-tag", saliency_label, ("saliency",)),
    ],
)
def test_the_name_stands_for_the_function(name, function, needs, scene):
    expected = function(classes=CLASSES, **{need: scene[need] for need in needs})
    assert torch.equal(label_with(name, CLASSES, **scene), expected)
    assert LABELLERS[name].needs == needs


def test_unknown_names_are_answered_with_those_there_are():
    with pytest.raises(InputError, match="no labeller 'crf': choose one of completion, free, threshold"):
        find_labeller("crf")


def test_a_need_that_is_not_met_names_those_that_do_not_have_it():
    with pytest.raises(
        InputError, match=r"'irn' need maps: give it, or choose one of object-guided, single-tag$"
    ):
        label_with("irn", torch.tensor([[0]]), images=torch.zeros(1, 3, 8, 8))
