"""Pipelines: any method, refiners and labels give a valid label or one clear refusal; the default is what it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

import getam
import tiny
from getam import cli
from getam.data.masks import read_mask
from getam.errors import CaptureError, InputError
from getam.labels.completion import complete
from getam.labels.double_threshold import irn_label
from getam.labels.enlarge import enlarged
from getam.labels.free import complete_without_saliency
from getam.labels.registry import LABELLERS
from getam.labels.single_tag import saliency_label
from getam.maps.affinity import learned_affinity, learned_boundaries, model_affinity
from getam.maps.methods.getam import getam as getam_maps
from getam.maps.methods.gradcam import gradcam
from getam.maps.methods.multi_layer import min_max
from getam.maps.multiscale import multiscale
from getam.maps.registry import REGISTRY
from getam.nets.affinity import AffinitySegmenter
from getam.nets.boundary import build_boundaries
from getam.pipeline import Evidence, Pipeline
from getam.pipeline_text import parse_pipeline
from getam.refine.boundary import boundary_walk
from getam.refine.pamr import normalise_maps, pamr
from getam.refine.par import par
from getam.refine.random_walk import ACR, AFA, IRN, random_walk
from getam.refine.registry import REFINERS
from getam.refine.scaled import scale_to_peak

PHOTO = (40, 56)


def photo(height: int = PHOTO[0], width: int = PHOTO[1]) -> Tensor:
    return torch.randint(256, (3, height, width), dtype=torch.uint8)


class Cnn(nn.Module):
    """A network of ours without attention."""

    patch, classes = 4, tiny.CLASSES

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images / 255 - 0.5).mean((2, 3)))


# The default is what `getam label` did before it could do anything else


def as_it_was(net: Any, given_photo: Tensor, present: list[int], salient: Tensor | None) -> Tensor:
    """GETAM at two scales and mirrored → PAMR at half size → completion, without a pipeline."""
    image = given_photo.float()[None]
    sizes = []
    for side in (32, 48):
        scale = side / max(image.shape[-2:])
        sizes.append(tuple(round(length * scale / net.patch) * net.patch for length in image.shape[-2:]))
    maps = multiscale(
        lambda resized: getam_maps(net, resized, [present], coupling="attn_grad"),
        image, sizes, flip=True,
    )  # fmt: skip
    small = F.interpolate(image, scale_factor=0.5, mode="area")
    refined = pamr(small, maps / maps.amax((2, 3), keepdim=True))
    refined = F.interpolate(refined, size=image.shape[-2:], mode="bilinear", align_corners=True)
    refined = refined / (refined.amax((2, 3), keepdim=True) + 1e-5)
    slots = torch.tensor([present])
    if salient is None:
        return complete_without_saliency(refined, slots, image)[0]
    return complete(refined, slots, salient[None] > 127)[0]


@pytest.mark.parametrize(
    ("make", "size", "present"),
    [(tiny.hybrid_segmenter, (40, 56), [0]), (tiny.vit_segmenter, (41, 33), [2, 1])],
)
def test_the_default_is_what_label_always_did(make: Any, size: tuple[int, int], present: list[int]) -> None:
    net, given_photo = make(), photo(*size)
    pipeline = Pipeline(scales=(32, 48))
    found = pipeline.label(net, given_photo, present, None)
    assert torch.equal(found, as_it_was(net, given_photo, present, None))
    eight_bit = torch.rand(size) * 255
    eight_bit[0, :3] = torch.tensor([127.0, 127.00001, 126.99999])
    found = pipeline.label(net, given_photo, present, eight_bit / 255)
    assert torch.equal(found, as_it_was(net, given_photo, present, eight_bit))


# Composition


def test_a_composition_is_its_steps_one_after_the_other() -> None:
    net, given_photo = tiny.vit_segmenter(), photo(32, 48)
    image = given_photo.float()[None]
    walked = random_walk(scale_to_peak(gradcam(net, image, [[1, 0]]).values), model_affinity(net, image)[0])
    small = F.interpolate(image, (16, 24), mode="area")
    refined = par(small, scale_to_peak(walked))
    maps = normalise_maps(F.interpolate(refined, (32, 48), mode="bilinear", align_corners=True))
    pipeline = parse_pipeline("gradcam+walk-afa+par:irn", scales=(48,), flip=False)
    torch.testing.assert_close(pipeline.maps(net, given_photo, [1, 0]), maps)
    wanted = irn_label(maps, torch.tensor([[1, 0]]), image)[0]
    assert (pipeline.label(net, given_photo, [1, 0], None) == wanted).float().mean() > 0.99


def test_without_a_refiner_maps_stay_on_their_grid() -> None:
    net = tiny.vit_segmenter()
    found = parse_pipeline("getam", scales=(32, 48)).maps(net, photo(), [0, 2])
    assert found.shape == (1, 2, 4, 6)
    assert found.amax((2, 3)).tolist() == [[1.0, 1.0]]
    assert parse_pipeline("getam+walk-irn", scales=(48, 32)).maps(net, photo(), [0, 2]).shape == (1, 2, 4, 6)
    assert parse_pipeline("getam:threshold", scales=(32,)).label(net, photo(), [0], None).shape == PHOTO


def passes(net: Any, image: Tensor, method: Any, sizes: list[tuple[int, int]], *, flip: bool) -> Tensor:
    """Mean over sizes, and their mirror images, of maps of peak 1 at the largest grid: (1,K,h,w)."""
    found = []
    for size in sizes:
        resized = F.interpolate(image, size=size, mode="bilinear", antialias=True)
        found.append(scale_to_peak(method(resized)))
        if flip:
            found.append(scale_to_peak(method(resized.flip(-1)).flip(-1)))
    finest = max((m.shape[-2:] for m in found), key=lambda grid: grid[0] * grid[1])
    same = [F.interpolate(m, size=finest, mode="bilinear", align_corners=True) for m in found]
    return torch.stack(same).mean(0)


@pytest.mark.parametrize("flip", [True, False])
def test_maps_are_averaged_over_scales_and_mirrored_only_where_asked(flip: bool) -> None:
    net, given_photo = tiny.vit_segmenter(), photo(24, 48)
    image = given_photo.float()[None]

    def method(resized: Tensor) -> Tensor:
        return getam_maps(net, resized, [[2, 0]], coupling="attn_grad").values

    wanted = {f: passes(net, image, method, [(16, 32), (24, 48)], flip=f) for f in (True, False)}
    found = Pipeline(refine=(), scales=(32, 48), flip=flip).maps(net, given_photo, [2, 0])
    torch.testing.assert_close(found, scale_to_peak(wanted[flip]))
    assert not torch.allclose(wanted[True], wanted[False], atol=1e-2)


@pytest.mark.parametrize("scales", [(32, 48), (48, 32)])
def test_walks_follow_the_attention_of_the_largest_scale(scales: tuple[int, ...]) -> None:
    net, given_photo = tiny.vit_segmenter(), photo(24, 48)
    image = given_photo.float()[None]
    maps = passes(
        net, image, lambda resized: gradcam(net, resized, [[1]]).values, [(16, 32), (24, 48)], flip=False
    )
    affinity = model_affinity(net, image)[0]  # the photo's own size is the largest scale
    wanted = scale_to_peak(random_walk(maps, affinity))
    found = parse_pipeline("gradcam+walk-afa", scales=scales, flip=False).maps(net, given_photo, [1])
    torch.testing.assert_close(found, wanted)


def test_maps_of_another_grid_are_brought_to_that_of_the_patches() -> None:
    net, given_photo = tiny.hybrid_segmenter(), photo(32, 48)
    image = given_photo.float()[None]
    options = {"layers": ("encoder.stem.layers.0",)}  # of half the photo's size
    raw = REGISTRY["zoom-cam"].make(net, image, [[1, 2]], **options).values
    affinity, grid = model_affinity(net, image)
    assert raw.shape[-2:] != grid
    on_patches = F.interpolate(scale_to_peak(raw), grid, mode="bilinear", align_corners=True)
    wanted = scale_to_peak(random_walk(on_patches, affinity))
    pipeline = parse_pipeline("zoom-cam+walk-afa", scales=(48,), flip=False, options=options)
    found = pipeline.maps(net, given_photo, [1, 2])
    torch.testing.assert_close(found, wanted)


def test_of_several_walks_the_last_says_whether_the_minimum_is_subtracted() -> None:
    net, given_photo = tiny.vit_segmenter(), photo(32, 32)

    def least(text: str) -> float:
        return parse_pipeline(text, scales=(32,)).maps(net, given_photo, [1]).min().item()

    assert least("getam+walk-acr+walk-afa") > 0
    assert least("getam+walk-afa+walk-acr") == 0
    image = given_photo.float()[None]
    raw = scale_to_peak(getam_maps(net, image, [[1]], coupling="attn_grad").values)
    walked = random_walk(
        random_walk(raw, model_affinity(net, image)[0]), model_affinity(net, image)[0], walk=ACR
    )
    lowered = (walked - walked.min()) / (walked.max() - walked.min())
    small = F.interpolate(image, (16, 16), mode="area")
    refined = F.interpolate(par(small, lowered), (32, 32), mode="bilinear", align_corners=True)
    found = parse_pipeline("getam+walk-afa+walk-acr+par", scales=(32,), flip=False).maps(
        net, given_photo, [1]
    )
    torch.testing.assert_close(found, normalise_maps(refined))


def test_the_defaults_are_what_the_docs_say() -> None:
    assert Pipeline() == Pipeline(
        method="getam", refine=("pamr",), labels="completion", scales=(224, 320), flip=True, options={}
    )
    assert Pipeline().method_options == {"coupling": "attn_grad"}
    assert Pipeline("ad-cam").method_options == {"coupling": "attn_grad"}
    assert Pipeline("acr").method_options == {}
    assert Pipeline(options={"coupling": "grad2", "start": 2}).method_options == {
        "coupling": "grad2",
        "start": 2,
    }
    assert Pipeline("gradcam").method_options == {}
    assert str(Pipeline("cam", ("walk-afa", "par"), "irn")) == "cam+walk-afa+par:irn"
    assert parse_pipeline("cam", scales=(64,), flip=False, labels="afa") == Pipeline(
        "cam", (), "afa", (64,), flip=False
    )
    assert parse_pipeline("cam:irn", labels="afa").labels == "afa"


def test_what_attention_lifts_is_put_down_where_the_paper_does_so() -> None:
    net, given_photo = tiny.vit_segmenter(), photo(32, 32)
    image = given_photo.float()[None]
    raw = getam_maps(net, image, [[1]], coupling="attn_grad").values
    walked = random_walk(scale_to_peak(raw), model_affinity(net, image)[0], walk=ACR)
    assert walked.min() > 0
    found = parse_pipeline("getam+walk-acr", scales=(32,), flip=False).maps(net, given_photo, [1])
    torch.testing.assert_close(found, (walked - walked.min()) / (walked.max() - walked.min()))
    for text in ("acr", "ad-cam", "getam+diffusion"):
        maps = parse_pipeline(text, scales=(32,)).maps(net, given_photo, [1])
        assert (maps.min().item(), maps.max().item()) == (0, 1)
    assert parse_pipeline("getam+walk-afa", scales=(32,)).maps(net, given_photo, [1]).min() > 0


def test_options_reach_the_method_and_labelling_has_its_own() -> None:
    net, given_photo = tiny.vit_segmenter(), photo(32, 32)
    image = given_photo.float()[None]
    for options, coupling, start in (({}, "attn_grad", None), ({"coupling": "grad", "start": 1}, "grad", 1)):
        found = Pipeline(refine=(), scales=(32,), flip=False, options=options).maps(net, given_photo, [1])
        wanted = getam_maps(net, image, [[1]], coupling=coupling, start=start).values
        torch.testing.assert_close(found, scale_to_peak(wanted))


def test_labels_of_single_tags_look_at_no_map() -> None:
    saliency = torch.rand(PHOTO)
    found = Pipeline(labels="single-tag").label(
        Cnn(), photo(), [2], saliency
    )  # where GETAM would find nothing
    assert torch.equal(found, saliency_label(saliency[None], torch.tensor([[2]]))[0])


def test_a_photo_without_tags_is_background() -> None:
    pipeline, net = Pipeline(scales=(32,)), tiny.vit_segmenter()
    assert not pipeline.label(net, photo(), [], None).any()
    assert pipeline.maps(net, photo(), []).shape == (1, 0, *PHOTO)


def test_a_photo_of_one_pixel_has_a_label() -> None:
    assert Pipeline(scales=(16,)).label(tiny.vit_segmenter(), photo(1, 1), [1], None).shape == (1, 1)


def test_a_cnn_takes_what_needs_no_attention() -> None:
    pipeline = parse_pipeline("gradcam+par:threshold", scales=(32,))
    pipeline.check(saliency=False, net=Cnn())
    label = pipeline.label(Cnn(), photo(), [1, 2], None)
    assert set(label.unique().tolist()) <= {0, 2, 3, 255}


NETS = {"vit": tiny.vit_segmenter(), "hybrid": tiny.hybrid_segmenter(), "cnn": tiny.awake(Cnn())}


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(list(NETS)),
    st.sampled_from(list(REGISTRY)),
    st.lists(st.sampled_from(list(REFINERS)), max_size=2, unique=True),
    st.sampled_from(list(LABELLERS)),
    st.booleans(),
    st.sampled_from([[0], [2, 1]]),
)
def test_every_combination_labels_or_says_why(
    kind: str, method: str, refine: list[str], labels: str, salient: bool, present: list[int]
) -> None:
    net, given_photo = NETS[kind], photo(24, 32)
    pipeline = Pipeline(method, tuple(refine), labels, scales=(32,), flip=False)
    try:
        pipeline.check(saliency=salient, several_tags=len(present) > 1, net=net)
    except (InputError, CaptureError):
        return  # what it says is tested below
    label = pipeline.label(net, given_photo, present, torch.rand(24, 32) if salient else None)
    assert label.shape == (24, 32)
    assert label.dtype == torch.uint8
    assert set(label.unique().tolist()) <= {0, 255, *(c + 1 for c in present)}


# Large photos: labelled as their copy of 500


def halves(height: int, width: int) -> Tensor:
    """Dark on the left, bright on the right, with a little noise."""
    bright = (torch.arange(width) >= width // 2).float() * 120 + 60
    return (bright + 20 * torch.rand(3, height, width)).byte()


@pytest.mark.parametrize("text", ["getam+pamr", "getam+par:irn", "getam+walk-afa:afa", "getam:threshold"])
def test_a_large_photo_is_labelled_as_its_copy_and_the_label_enlarged(text: str) -> None:
    net, large = tiny.vit_segmenter(), halves(96, 1200)
    pipeline = parse_pipeline(text, scales=(48,), flip=False)
    image = large.float()[None]
    copy = F.interpolate(image, (40, 500), mode="area")
    raw = multiscale(
        lambda resized: getam_maps(net, resized, [[1, 0]], coupling="attn_grad"), image, [(8, 48)]
    )
    if "walk" in text:
        resized = F.interpolate(image, (8, 48), mode="bilinear", antialias=True)
        raw = scale_to_peak(random_walk(raw, model_affinity(net, resized)[0]))
    chain = {"getam+pamr": pamr, "getam+par:irn": par}.get(text)
    if chain is not None:
        small = F.interpolate(copy, (20, 250), mode="area")
        raw = chain(small, scale_to_peak(raw))
    maps = normalise_maps(F.interpolate(raw, (40, 500), mode="bilinear", align_corners=True))

    label = pipeline.label(net, large, [1, 0], None)

    classes = torch.tensor([[1, 0]])
    rule = LABELLERS[pipeline.labeller(saliency=False)]
    needed = {"maps": maps, "images": copy}
    wanted = rule.function(classes=classes, **{need: needed[need] for need in rule.needs})[0]
    assert label.shape == (96, 1200)
    assert (label == enlarged(wanted, (96, 1200))).float().mean() > 0.99


@pytest.mark.parametrize("labels", ["completion", "saliency-fusion", "single-tag"])
def test_so_is_its_saliency(labels: str) -> None:
    net, large = tiny.vit_segmenter(), halves(96, 1200)
    saliency = F.interpolate(torch.rand(1, 1, 4, 6), (96, 1200), mode="bilinear")[0, 0]
    pipeline = parse_pipeline(f"getam+pamr:{labels}", scales=(48,), flip=False)
    maps = pipeline.maps(net, large, [1])
    assert maps.shape == (1, 1, 40, 500)
    salient = F.interpolate(saliency[None, None], (40, 500), mode="area")[:, 0]
    if labels == "completion":
        salient = salient > 127 / 255
    rule, classes = LABELLERS[labels], torch.tensor([[1]])
    needed = {"maps": maps, "saliency": salient}
    wanted = rule.function(classes=classes, **{need: needed[need] for need in rule.needs})[0]
    label = pipeline.label(net, large, [1], saliency)
    assert torch.equal(label, enlarged(wanted, (96, 1200)))
    assert len(label.unique()) > 1


def test_without_tags_the_label_of_a_large_photo_has_its_size() -> None:
    pipeline, net = Pipeline(scales=(32,)), tiny.vit_segmenter()
    assert pipeline.label(net, photo(20, 600), [], None).shape == (20, 600)
    assert pipeline.maps(net, photo(20, 600), []).shape == (1, 0, 17, 500)


# What makes no sense


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("getam+pamr+walk-afa", "pamr has brought the maps to photo size: put walk-afa first"),
        ("getam:saliency-fusion", "'saliency-fusion' need saliency maps: give them .* one of free, threshold"),
        ("getam:single-tag", "'single-tag' need saliency maps"),
        ("getam:object-guided", "start from prediction and initial, masks of a trained segmenter"),
        ("rollout", "rollout gives all tags of a photo the same map, .*: choose one of getam, acr"),
    ],
)  # fmt: skip
def test_nonsense_says_why(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_pipeline(text).check(saliency=False, several_tags=True)


def test_what_would_work_with_more_is_taken() -> None:
    parse_pipeline("getam:saliency-fusion").check(saliency=True)
    parse_pipeline("rollout").check(saliency=False)  # one tag a photo: one map is enough
    assert Pipeline().labeller(saliency=True) == "completion"
    assert Pipeline().labeller(saliency=False) == "free"


@pytest.mark.parametrize(
    ("text", "saliency", "levels"),
    [
        ("layercam", False, {"foreground": 0.4, "background": 0.4}),
        ("layercam+pamr:free", True, {"foreground": 0.4, "background": 0.4}),
        ("layercam:free[foreground=0.3]", False, {"foreground": 0.3}),
        ("layercam:free[background=0.1]", False, {"background": 0.1}),
        ("layercam:free[opening=3]", False, {"foreground": 0.4, "background": 0.4, "opening": 3}),
        ("layercam", True, {"salient": 127 / 255}),
        ("layercam:threshold", False, {}),
        ("gradcam", False, {}),
    ],
)
def test_the_background_level_without_saliency_is_that_of_the_method(
    text: str, saliency: bool, levels: dict[str, float]
) -> None:
    assert parse_pipeline(text).all_label_options(saliency=saliency) == levels


def test_the_background_level_of_the_method_decides() -> None:
    maps = torch.linspace(0, 1, 24 * 32).reshape(1, 1, 24, 32)
    found = Evidence(torch.tensor([[1]]), torch.rand(1, 3, 24, 32) * 255, maps, None, 3)
    own, told = (
        parse_pipeline(text).decide(found)
        for text in ("layercam:free[iterations=0]", "gradcam:free[iterations=0]")
    )
    for label, level in ((own, 0.4), (told, 0.25)):
        assert torch.equal(label, torch.where(maps[0, 0] > level, 2, 0).to(torch.uint8))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "gradcam+walk-afa",
            "walk-afa needs attention, which this model has not: use one of pamr, par, crf-irn",
        ),
        ("getam+par", "getam needs attention, which this model has not: use one of cam, gradcam"),
    ],
)
def test_a_cnn_has_no_attention_to_walk_along(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_pipeline(text).check(saliency=False, net=Cnn())
    with pytest.raises(InputError, match=message):
        parse_pipeline(text, scales=(32,)).label(Cnn(), photo(), [1], None)


@pytest.mark.parametrize("scales", [(), (0,), (32, 0), (-32,)])
def test_scales_that_are_none_are_refused(scales: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="one or more positive long sides"):
        Pipeline(scales=scales).check(saliency=False)
    Pipeline(scales=(1,)).check(saliency=False)


def test_rules_that_use_no_map_ask_nothing_of_the_method_or_the_network() -> None:
    pipeline = parse_pipeline("rollout:single-tag", scales=(32,))
    pipeline.check(saliency=True, several_tags=True, net=Cnn())
    with pytest.raises(InputError, match="gives all tags of a photo the same map"):
        parse_pipeline("rollout:threshold", scales=(32,)).check(saliency=False, several_tags=True)


def test_saliency_is_not_asked_for_by_rules_that_do_without() -> None:
    for rule in ("free", "threshold", "irn", "afa", "completion"):
        parse_pipeline(f"getam:{rule}").check(saliency=False)
        parse_pipeline(f"getam:{rule}").check(saliency=True)
    with pytest.raises(InputError, match=r"choose one of free, threshold, irn, afa$"):
        parse_pipeline("getam:single-tag").check(saliency=False)


def test_the_trial_is_one_square_of_noise_at_the_smallest_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, ...]] = []
    real = Pipeline.maps

    def spy(self: Pipeline, net: Any, given_photo: Tensor, present: list[int]) -> Tensor:
        seen.append(
            (self, tuple(given_photo.shape), given_photo.dtype, present, float(given_photo.float().std()))
        )
        return real(self, net, given_photo, present)

    monkeypatch.setattr(Pipeline, "maps", spy)
    Pipeline(scales=(48, 32)).check(saliency=False, net=tiny.vit_segmenter())
    ((pipeline, shape, dtype, present, spread),) = seen
    assert (pipeline, shape, dtype, present) == (
        Pipeline(refine=(), scales=(32,), flip=False), (3, 32, 32), torch.uint8, [0],
    )  # fmt: skip
    assert spread > 60


def test_maps_that_are_not_finite_are_refused_before_they_pass_for_background() -> None:
    net = tiny.vit_segmenter()
    with torch.no_grad():
        next(net.parameters()).fill_(torch.nan)
    for text in ("getam+pamr", "getam:threshold", "gradcam+walk-afa:irn"):
        with pytest.raises(InputError, match="NaN"):
            parse_pipeline(text, scales=(32,)).label(net, photo(), [1], None)
    saliency = torch.full(PHOTO, torch.nan)
    for labels in ("completion", "single-tag", "saliency-fusion"):
        with pytest.raises(InputError, match="the saliency holds NaN"):
            Pipeline(labels=labels, scales=(32,)).label(tiny.vit_segmenter(), photo(), [1], saliency)


def test_options_are_tried_before_photos_are_read() -> None:
    net = tiny.vit_segmenter()
    with pytest.raises(InputError, match="--layers is an option of cam, gradcam"):
        Pipeline(options={"layers": ("blocks.1",)}).check(saliency=False)
    with pytest.raises(InputError, match="coupling 'gard' is not one of"):
        Pipeline(scales=(32,), options={"coupling": "gard"}).check(saliency=False, net=net)
    with pytest.raises(CaptureError, match="LeGrad"):
        parse_pipeline("legrad", scales=(32,)).check(saliency=False, net=net)


# The grammar


@settings(deadline=None)
@given(
    st.sampled_from(list(REGISTRY)),
    st.lists(st.sampled_from([name for name, its in REFINERS.items() if its.needs == "images"])),
    st.sampled_from(list(LABELLERS)),
)
def test_a_pipeline_is_read_as_it_is_written(method: str, refine: list[str], labels: str) -> None:
    pipeline = Pipeline(method, tuple(refine), labels)
    assert parse_pipeline(str(pipeline)) == pipeline


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+par",
        "getam+",
        "getam:",
        "getam:irn:irn",
        "getam:irn+par",
        "getam++par",
        "getam[start=9",
        "getam]",
        "[start=9]",
    ],
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(
        InputError, match=r"is not METHOD\[OPTION=VALUE,…\]\[\+REFINER…\]\[:LABELLER\[…\]\], such as"
    ):
        parse_pipeline(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gatem", "no map method 'gatem'"),
        ("getam+parm", "no refiner 'parm'"),
        ("getam:crf", "no labeller 'crf'"),
        ("getam+par+diffusion", "put diffusion first"),
    ],
)
def test_unknown_names_are_refused_as_they_are_read(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_pipeline(text)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("acr[start=9]+par:irn", {"start": 9}), ("getam[coupling=grad,start=2]", {"coupling": "grad", "start": 2}),
        ("um-cam[layers=[a.1,b]]", {"layers": ("a.1", "b")}), ("getam[coupling='1']", {"coupling": "1"}),
    ],
)  # fmt: skip
def test_a_method_has_options_in_brackets(text: str, options: dict[str, Any]) -> None:
    pipeline = parse_pipeline(text)
    assert pipeline.options == options
    assert pipeline.refine == (("par",) if "+" in text else ())
    assert parse_pipeline(str(pipeline)) == pipeline


def test_options_in_the_text_come_before_those_given() -> None:
    pipeline = parse_pipeline("getam[start=9]", options={"start": 1, "rows": "cls"})
    assert pipeline.options == {"start": 9, "rows": "cls"}


def test_options_that_are_none_of_the_methods_are_refused_as_they_are_read() -> None:
    with pytest.raises(InputError, match="--layers is an option of cam, gradcam"):
        parse_pipeline("getam[layers=[a]]")
    with pytest.raises(InputError, match="option 'start' is not NAME=VALUE"):
        parse_pipeline("getam[start]")


# The command


def test_label_composes_by_name(
    scenes: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given_data = [
        "--data",
        str(scenes / "photos"),
        "--tags",
        str(scenes / "tags.csv"),
        "--model",
        str(trained),
        "--saliency",
        "none",
    ]
    chosen = [
        "--method",
        "gradcam",
        "--refine",
        "walk-afa,par",
        "--labels",
        "irn",
        "--scales",
        "32",
        "--no-flip",
    ]
    out = tmp_path / "labels"
    assert cli.main(["label", *given_data, *chosen, "--out", str(out)]) == 0
    for index, allowed in enumerate([{1}, {2}, {1, 2}]):
        label = read_mask(out / f"scene{index}.png", (40, 48))
        assert set(np.unique(label).tolist()) <= {0, 255} | allowed
    (record,) = [json.loads(line) for line in (out / "protocol.jsonl").read_text().splitlines()]
    options = record["options"]
    assert (options["method"], options["refine"], options["labels"]) == (
        "gradcam",
        ["walk-afa", "par"],
        "irn",
    )
    capsys.readouterr()
    nowhere = str(tmp_path / "nowhere")
    for nonsense, sentence in (
        ("--refine par,walk-afa", "walk-afa works on the patch grid, but par has brought"),
        ("--refine none,par", "refine is none and par at once"),
        (
            "--labels single-tag",
            "the labels 'single-tag' need saliency maps: give them with --saliency",
        ),
        ("--method rollout", "rollout gives all tags of a photo the same map"),
        ("--method cam", "use gradcam"),
        ("--method acr --layers encoder", "--layers is an option of cam, gradcam"),
    ):
        assert cli.main(["label", *given_data, *nonsense.split(), "--out", nowhere]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert sentence in line
    assert not Path(nowhere).exists()


def test_every_option_of_label_reaches_the_pipeline(
    scenes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[tuple[Pipeline, list[int], Any]] = []

    evidence = Pipeline.evidence

    def spy(
        self: Pipeline, net: Any, given_photo: Tensor, present: list[int], salient: Tensor | None
    ) -> Evidence:
        used.append((self, present, None if salient is None else float(salient.max())))
        return evidence(self, net, given_photo, present, salient)

    monkeypatch.setattr(Pipeline, "evidence", spy)
    (tmp_path / "tags.csv").write_text("image,tags\nscene2.png,red;blue\n")
    saliency = tmp_path / "saliency"
    saliency.mkdir()
    Image.fromarray(np.full((20, 24), 51, np.uint8)).save(saliency / "scene2.png")
    data = {"data": scenes / "photos", "tags": tmp_path / "tags.csv", "model": trained, "overwrite": True}
    getam.label(**data, out=tmp_path / "labels", saliency="none")
    getam.label(
        **data, out=tmp_path / "labels", saliency=saliency, method="acr", refine=("par",), labels="afa",
        scales=(40, 24), flip=False, coupling="grad2", start=1, rows="cls",
    )  # fmt: skip
    options = {"coupling": "grad2", "start": 1, "rows": "cls"}
    assert used == [
        (Pipeline(), [0, 1], None),
        (Pipeline("acr", ("par",), "afa", (40, 24), False, options), [0, 1], pytest.approx(0.2)),
    ]


def test_the_protocol_says_what_was_used(scenes: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("image,tags\nscene0.png,red\n")
    options = {"data": scenes / "photos", "tags": tmp_path / "tags.csv", "model": trained, "scales": (32,)}
    saliency = tmp_path / "saliency"
    saliency.mkdir()
    Image.fromarray(np.full((20, 24), 200, np.uint8)).save(saliency / "scene0.png")
    found = []
    for number, more in enumerate(({}, {"saliency": saliency}, {"refine": ("none",), "coupling": "grad"})):
        out = getam.label(**{**options, "saliency": None, **more}, out=tmp_path / str(number), flip=False)
        record = json.loads((out / "protocol.jsonl").read_text())["options"]
        found.append((record["refine"], record["labels"], record["coupling"]))
    assert found == [
        (["pamr"], "free", "attn_grad"), (["pamr"], "completion", "attn_grad"), ([], "free", "grad"),
    ]  # fmt: skip


def test_walks_follow_what_was_learned_and_the_others_do_not(caplog: pytest.LogCaptureFixture) -> None:
    net: Any = AffinitySegmenter(tiny.vit_segmenter().encoder, tiny.CLASSES, (8, 8, 12, 12), 8, 1)
    net = tiny.awake(net)
    given_photo = photo(32, 32)
    resized = given_photo.float()[None]
    plain, afa, irn, acr = (
        parse_pipeline(f"getam{walk}", scales=(32,), flip=False).maps(net, given_photo, [1])
        for walk in ("", "+walk-afa", "+walk-irn", "+walk-acr")
    )
    learned = net.learned_affinity(resized)
    torch.testing.assert_close(afa, scale_to_peak(random_walk(plain, learned, walk=AFA)))
    torch.testing.assert_close(irn, scale_to_peak(random_walk(plain, learned, walk=IRN)))
    attention = model_affinity(net, resized)[0]
    torch.testing.assert_close(acr, scale_to_peak(min_max(random_walk(plain, attention, walk=ACR))))
    assert [name for name, refiner in REFINERS.items() if refiner.learned] == ["walk-afa", "walk-irn"]
    for walk in ("walk-afa", "walk-irn"):
        said = f"{walk} follows the attention of this network as it is, which has learned no affinity"
        parse_pipeline(f"getam+{walk}", scales=(32,)).check(saliency=False, net=net)
        parse_pipeline("getam+walk-acr", scales=(32,)).check(saliency=False, net=tiny.vit_segmenter())
        assert said not in caplog.text
        parse_pipeline(f"getam+{walk}", scales=(32,)).check(saliency=False, net=tiny.vit_segmenter())
        assert caplog.text.count(said) == 1
    with pytest.raises(CaptureError, match=r"Segmenter has learned no affinity: .* --recipe afa"):
        learned_affinity(tiny.vit_segmenter(), resized)


def boundary_network() -> Any:
    torch.manual_seed(0)
    return build_boundaries("test_resnet", tiny.CLASSES, weights="").eval()


def test_walk_irn_follows_the_boundaries_of_the_network_itself() -> None:
    net, given_photo = boundary_network(), photo(64, 96)
    pipeline = parse_pipeline("layercam+walk-irn", scales=(64, 96), flip=False)
    found = pipeline.maps(net, given_photo, [0, 2])
    plain = replace(pipeline, refine=()).maps(net, given_photo, [0, 2])
    boundary = net.learned_boundaries(given_photo.float()[None])  # at the largest scale
    assert boundary.shape == (1, 16, 24)
    enlarged_maps = F.interpolate(plain, size=(16, 24), mode="bilinear", align_corners=True)
    torch.testing.assert_close(found, scale_to_peak(boundary_walk(enlarged_maps, boundary)))


def test_walk_irn_follows_the_boundaries_of_another_network() -> None:
    walls, given_photo = boundary_network(), photo(64, 96)
    pipeline = parse_pipeline("getam+walk-irn:threshold", scales=(96,), flip=False)
    boundary = walls.learned_boundaries(given_photo.float()[None])
    for net in (tiny.vit_segmenter(), tiny.hybrid_segmenter()):
        plain = replace(pipeline, refine=()).maps(net, given_photo, [0, 2])
        wide = F.interpolate(plain, size=(16, 24), mode="bilinear", align_corners=True)
        wanted = scale_to_peak(boundary_walk(wide, boundary))
        torch.testing.assert_close(pipeline.maps(net, given_photo, [0, 2], boundaries=walls), wanted)
        label = pipeline.label(net, given_photo, [0, 2], None, boundaries=walls)
        evidence = pipeline.evidence(net, given_photo, [0, 2], None, boundaries=walls)
        assert torch.equal(label, pipeline.decide(evidence))
        assert not torch.equal(evidence.maps, pipeline.evidence(net, given_photo, [0, 2], None).maps)


def test_a_walk_along_boundaries_needs_no_attention_and_warns_of_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    walls = boundary_network()
    pipeline = parse_pipeline("layercam+walk-irn:threshold", scales=(32,))
    pipeline.check(saliency=False, net=walls)
    pipeline.check(saliency=False, net=walls.classifier, boundaries=walls)
    assert "walk-irn" not in caplog.text
    with pytest.raises(InputError, match="walk-irn needs attention, which this model has not"):
        pipeline.check(saliency=False, net=walls.classifier)
    with pytest.raises(InputError, match="walk-afa needs attention, which this model has not"):
        parse_pipeline("layercam+walk-irn+walk-afa", scales=(32,)).maps(
            walls.classifier, photo(32, 32), [0], boundaries=walls
        )
    with pytest.raises(CaptureError, match=r"Classifier has learned no class boundaries: .* --recipe irn"):
        learned_boundaries(walls.classifier, torch.zeros(1, 3, 32, 32))
