"""Pipelines: any method, refiners and labels give a valid label or one clear refusal; the default is what it was."""

from __future__ import annotations

import json
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
from getam.maps.affinity import model_affinity
from getam.maps.getam import getam as getam_maps
from getam.maps.gradcam import gradcam
from getam.maps.multiscale import multiscale
from getam.maps.registry import REGISTRY
from getam.refine.pamr import normalise_maps, pamr
from getam.refine.par import par
from getam.refine.random_walk import ACR, random_walk
from getam.refine.registry import REFINERS
from getam.refine.scaled import scale_to_peak
from getam.verbs.pipeline import Pipeline, parse_pipeline

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
    "text", ["", "+par", "getam+", "getam:", "getam:irn:irn", "getam:irn+par", "getam++par"]
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"is not METHOD\[\+REFINER…\]\[:LABELLER\], such as"):
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
        ("--labels single-tag", "the labels 'single-tag' need saliency maps: give them with --saliency"),
        ("--method rollout", "rollout gives all tags of a photo the same map"),
        ("--method cam", "use gradcam"),
        ("--method acr --layers encoder", "--layers is an option of cam, gradcam"),
    ):
        assert cli.main(["label", *given_data, *nonsense.split(), "--out", nowhere]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert sentence in line
    assert not Path(nowhere).exists()


def test_the_protocol_says_what_was_used(scenes: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("image,tags\nscene0.png,red\n")
    options = {"data": scenes / "photos", "tags": tmp_path / "tags.csv", "model": trained, "scales": (32,)}
    saliency = tmp_path / "saliency"
    saliency.mkdir()
    Image.fromarray(np.full((20, 24), 200, np.uint8)).save(saliency / "scene0.png")
    found = []
    for number, more in enumerate(({}, {"saliency": saliency}, {"refine": ("none",), "coupling": "grad"})):
        out = getam.label(**options, **more, out=tmp_path / str(number), flip=False)
        record = json.loads((out / "protocol.jsonl").read_text())["options"]
        found.append((record["refine"], record["labels"], record["coupling"]))
    assert found == [
        (["pamr"], "free", "attn_grad"), (["pamr"], "completion", "attn_grad"), ([], "free", "grad"),
    ]  # fmt: skip
