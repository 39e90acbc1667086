"""Every refiner by its name: one contract, clear refusals, chains in the order that makes sense."""

import pytest
import torch
import torch.nn.functional as F

from getam.errors import InputError
from getam.refine.beliefs import crf_of_maps
from getam.refine.class_aware import class_aware_affinity
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import AFA as AFA_CRF
from getam.refine.crf_parameters import DEEPLAB, IRN
from getam.refine.diffusion import attention_diffusion
from getam.refine.geodesic import geodesic_expansion
from getam.refine.pamr import pamr
from getam.refine.par import par
from getam.refine.random_walk import ACR, AFA, random_walk
from getam.refine.random_walk import IRN as IRN_WALK
from getam.refine.registry import REFINERS, find_chain, find_refiner, refine


@pytest.fixture
def scene():
    """Photos (2,3,24,32), maps (2,2,3,4) whose last slot is empty, affinities and attention (2,12,12)."""
    maps = torch.rand(2, 2, 3, 4)
    maps[1, 1] = 0
    images, affinity, attention = torch.rand(2, 3, 24, 32) * 255, torch.rand(2, 12, 12), torch.rand(2, 12, 12)
    return {"images": images, "maps": maps, "affinity": affinity, "attention": attention}


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


@pytest.mark.parametrize(
    ("name", "function", "options", "needs", "from_zero"),
    [
        ("pamr", pamr, {}, "images", False),
        ("par", par, {}, "images", False),
        ("crf-irn", crf_of_maps, {"parameters": IRN}, "images", False),
        ("crf-deeplab", crf_of_maps, {"parameters": DEEPLAB}, "images", False),
        ("crf-afa", crf_of_maps, {"parameters": AFA_CRF}, "images", False),
        ("geodesic", geodesic_expansion, {}, "images", False),
        ("walk-afa", random_walk, {"walk": AFA}, "affinity", False),
        ("walk-irn", random_walk, {"walk": IRN_WALK}, "affinity", False),
        ("walk-acr", random_walk, {"walk": ACR}, "affinity", True),
        ("diffusion", attention_diffusion, {}, "affinity", True),
        ("class-aware", class_aware_affinity, {"power": 2, "threshold": 0.4}, "attention", False),
    ],
)
def test_the_name_stands_for_the_function_and_its_numbers(name, function, options, needs, from_zero, scene):
    wanted = function(maps=scene["maps"], **{needs: scene[needs]}, **options)
    assert torch.equal(refine([name], **scene), wanted)
    assert (REFINERS[name].needs, REFINERS[name].from_zero) == (needs, from_zero)
    others = [other for other in REFINERS if other != name and REFINERS[other].needs == needs]
    assert not any(torch.equal(refine([other], **scene), wanted) for other in others)


def test_ten_iterations_over_six_dilations_are_the_defaults_of_pamr_and_par(scene):
    published = {"iterations": 10, "dilations": (1, 2, 4, 8, 12, 24)}
    for refiner in (pamr, par):
        found = refiner(scene["images"], scene["maps"])
        assert torch.equal(found, refiner(scene["images"], scene["maps"], **published))
        for other in ({"iterations": 9}, {"iterations": 11}, {"dilations": (1, 2, 4, 8, 12)}):
            assert not torch.equal(found, refiner(scene["images"], scene["maps"], **(published | other)))


def test_a_chain_is_one_after_the_other(scene):
    walked = random_walk(scene["maps"], scene["affinity"], walk=AFA)
    torch.testing.assert_close(refine(["walk-afa", "par"], **scene), par(scene["images"], walked))
    assert refine([], **scene) is scene["maps"]


def test_patches_after_pixels_make_no_sense():
    with pytest.raises(InputError, match="pamr has brought the maps to photo size: put diffusion first"):
        find_chain(["pamr", "diffusion"])


@pytest.mark.parametrize("name", [name for name, refiner in REFINERS.items() if refiner.needs != "images"])
def test_every_refiner_of_patches_comes_first(name):
    with pytest.raises(InputError, match=f"put {name} first"):
        find_chain(["pamr", name])


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


def test_the_crf_of_maps_has_irns_numbers_and_ten_updates_by_default(scene):
    images, maps = scene["images"], scene["maps"]
    found = crf_of_maps(images, maps)
    assert torch.equal(found, crf_of_maps(images, maps, parameters=IRN, iterations=10))
    assert not torch.equal(found, crf_of_maps(images, maps, iterations=9))
    sized = F.interpolate(maps, (24, 32), mode="bilinear", align_corners=True)
    unit = sized / sized.amax((2, 3), keepdim=True).clamp(min=1e-9)
    beliefs = torch.cat([1 - unit.amax(1, keepdim=True), unit], 1)
    expected = (beliefs / beliefs.sum(1, keepdim=True))[:, 1:]
    torch.testing.assert_close(crf_of_maps(images, maps, iterations=0)[0], expected[0], rtol=1e-3, atol=1e-4)


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
        dict.fromkeys(("images", "maps", "affinity", "attention"), torch.float64),
        {"maps": torch.float16},
        dict.fromkeys(("maps", "affinity", "attention"), torch.bfloat16),
    ],
)
def test_the_dtype_of_what_is_given_does_not_matter(name, dtypes, scene):
    """Values that all of these dtypes hold exactly."""
    scene["images"] = scene["images"].round()
    for key in ("maps", "affinity", "attention"):
        scene[key] = (64 * scene[key]).round() / 64
    given = {key: value.to(dtypes.get(key, value.dtype)) for key, value in scene.items()}
    assert torch.equal(refine([name], **given), refine([name], **scene))
