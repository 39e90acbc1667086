"""Every refiner by its name: one contract, clear refusals, chains in the order that makes sense."""

import pytest
import torch

from getam.errors import InputError
from getam.refine.beliefs import crf_of_maps
from getam.refine.crf import DEEPLAB, dense_crf
from getam.refine.par import par
from getam.refine.random_walk import AFA, random_walk
from getam.refine.registry import REFINERS, find_chain, find_refiner, refine


@pytest.fixture
def scene():
    """Photos (2,3,24,32), maps (2,2,3,4) whose last slot is empty, affinities (2,12,12)."""
    maps = torch.rand(2, 2, 3, 4)
    maps[1, 1] = 0
    return {"images": torch.rand(2, 3, 24, 32) * 255, "maps": maps, "affinity": torch.rand(2, 12, 12)}


@pytest.mark.parametrize("name", REFINERS)
def test_every_refiner_keeps_the_contract(name, scene):
    before = {key: value.clone() for key, value in scene.items()}
    refined = refine([name], **scene)
    size = (24, 32) if REFINERS[name].needs == "images" else (3, 4)
    assert refined.shape == (2, 2, *size)
    assert refined.dtype == torch.float32
    assert torch.isfinite(refined).all()
    assert (refined >= 0).all()
    assert refined[0].amax() > 0
    assert not refined[1, 1].any()  # a slot beyond the tags stays empty
    assert all(torch.equal(scene[key], value) for key, value in before.items())
    assert refine([name], **(scene | {"maps": scene["maps"][:, :0]})).shape == (2, 0, *size)


@pytest.mark.parametrize("name", REFINERS)
def test_a_need_that_is_not_met_is_named(name, scene):
    with pytest.raises(InputError, match=f"{name} needs {REFINERS[name].needs}"):
        refine([name], scene["maps"])


def test_a_chain_is_one_after_the_other(scene):
    walked = random_walk(scene["maps"], scene["affinity"], walk=AFA)
    torch.testing.assert_close(refine(["walk-afa", "par"], **scene), par(scene["images"], walked))
    assert refine([], **scene) is scene["maps"]


def test_patches_after_pixels_make_no_sense():
    with pytest.raises(InputError, match="pamr has brought the maps to photo size: put diffusion first"):
        find_chain(["pamr", "diffusion"])


def test_unknown_names_are_answered_with_those_there_are():
    with pytest.raises(InputError, match=r"no refiner 'crf': choose one of pamr, par, crf-irn"):
        find_refiner("crf")


def test_the_crf_takes_what_no_map_claims_for_background(scene):
    images, maps = scene["images"][:1], torch.rand(1, 2, 24, 32) + 0.01
    unit = maps / maps.amax((2, 3), keepdim=True)
    beliefs = torch.cat([1 - unit.amax(1, keepdim=True), unit], 1)
    expected = dense_crf(images, beliefs / beliefs.sum(1, keepdim=True), parameters=DEEPLAB)[:, 1:]
    torch.testing.assert_close(
        crf_of_maps(images, 1e-6 * maps, parameters=DEEPLAB), expected, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("name", REFINERS)
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused_and_named(name, broken, scene):
    for given in ("maps", REFINERS[name].needs):
        spoilt = scene[given].clone()
        spoilt.flatten()[7] = broken
        with pytest.raises(InputError, match=f"the {given} holds? NaN or infinite values"):
            refine([name], **(scene | {given: spoilt}))


@pytest.mark.parametrize("name", REFINERS)
@pytest.mark.parametrize(
    "dtypes",
    [
        {"images": torch.uint8},
        {"images": torch.float64, "maps": torch.float64, "affinity": torch.float64},
        {"maps": torch.float16},
        {"maps": torch.bfloat16, "affinity": torch.bfloat16},
    ],
)
def test_the_dtype_of_what_is_given_does_not_matter(name, dtypes, scene):
    """Values that all of these dtypes hold exactly."""
    scene["images"] = scene["images"].round()
    scene["maps"], scene["affinity"] = ((64 * scene[key]).round() / 64 for key in ("maps", "affinity"))
    given = {key: value.to(dtypes.get(key, value.dtype)) for key, value in scene.items()}
    assert torch.equal(refine([name], **given), refine([name], **scene))
