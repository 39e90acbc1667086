"""`getam models` against timm, transformers and the tables of the tests: the libraries count and license."""

from __future__ import annotations

import re
from typing import Any

import pytest
import timm
import torch
from torch import nn

import families
import getam
from getam import cli
from getam.attention.hugging_face import READS
from getam.errors import InputError
from getam.nets.classifier import build_classifier
from getam.nets.encoder import build_encoder
from getam.nets.families import ELSEWHERE, GETAM, NO_ROW, TRANSFORMERS, WITHOUT_ATTENTION, Family
from getam.verbs.models import licence

TIMM = [*GETAM, *NO_ROW, *WITHOUT_ATTENTION]
BY_NAME = [f for f in TIMM if not f.options]
QUICK = [
    f for f in BY_NAME if f.model in ("vit_tiny_patch16_224", "cait_xxs24_224", "resnet50", "tiny_vit_5m_224")
]


def million(build: Any) -> float:
    """Counted without memory for weights."""
    with torch.device("meta"):
        model: nn.Module = build()
    return round(sum(p.numel() for p in model.parameters()) / 1e6, 1)


def test_a_line_per_family_in_three_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    text = capsys.readouterr().out
    assert text.rstrip() == getam.models()
    tables = [[re.split(r"  +", line) for line in part.splitlines()] for part in text.rstrip().split("\n\n")]
    said = ["model", "explain", "train", "licence", "million", "checked"]
    assert [table[0] for table in tables] == [
        ["GETAM map", *said, "rows"], ["no GETAM map", *said, "why"], ["no attention", *said],
    ]  # fmt: skip
    listed = ([*GETAM, *TRANSFORMERS, *ELSEWHERE], NO_ROW, WITHOUT_ATTENTION)
    for table, wanted in zip(tables, listed, strict=True):
        assert [line[0] for line in table[1:]] == [f.name for f in wanted]
    lines = {(line[0], line[1]): line[2:] for table in tables for line in table[1:]}
    assert lines["ViT", "vit_tiny_patch16_224"] == [
        "getam",
        "any recipe",
        "apache-2.0",
        "5.7",
        "matrices",
        "cls",
    ]
    assert lines["DINOv2", "vit_small_patch14_dinov2"][:2] == ["—", "any recipe"]  # weights without classes
    assert lines["CaiT", "cait_xxs24_224"][1] == "--recipe classifier"
    assert lines["ViT, parallel MLP", "vit_base_patch16_xp_224"][::2] == ["—", "no weights", "matrices"]
    assert lines["DINOv3, from its token", "vit_small_patch16_dinov3 (global_pool='token')"] == [
        "from Python", "—", "dinov3-license", "21.6", "matrices", "cls",
    ]  # fmt: skip
    assert lines["DINOv2", "hf:FOLDER (Dinov2ForImageClassification)"] == [
        "getam", "—", "see its model card", "87.3", "matrices", "cls+patches",
    ]  # fmt: skip
    assert lines["OpenCLIP visual towers", "open_clip:ViT-B-32"][:2] == ["getam", "—"]
    assert lines["torchvision ViT", "vit_b_16 (torchvision)"][::4] == ["from Python", "timm's"]
    swin = lines["Swin", "swin_tiny_patch4_window7_224"]
    assert swin[:5] == ["last-stage", "--recipe classifier", "mit", "28.3", "its error"]
    assert swin[5].startswith("attention inside windows")
    assert lines["resnet", "resnet50"] == ["gradcam", "any recipe", "apache-2.0", "25.6", "a run"]
    assert lines["res2net", "res2net50d"][2] == "see its model card"  # timm says "unknown"


def test_what_is_listed_is_what_the_tests_hold_to_account() -> None:
    assert [(f.name, f.model, f.rows) for f in families.WORKS] == [(f.name, f.model, f.rows) for f in GETAM]
    assert [f.name for f in families.EXCLUDED] == [f.name for f in NO_ROW]
    assert set(families.SMALL) <= {f.name for f in GETAM}
    page = families.table()
    for family in (*GETAM, *TRANSFORMERS, *ELSEWHERE, *NO_ROW, *WITHOUT_ATTENTION):
        assert f"`{family.model}`" in page


def test_transformers_are_those_of_their_own_tests() -> None:
    hugging: Any = pytest.importorskip(
        "hugging", reason="transformers is not installed", exc_type=ImportError
    )
    assert [f.name for f in TRANSFORMERS] == list(hugging.FAMILIES)
    for family in TRANSFORMERS:
        assert type(hugging.FAMILIES[family.name]()).__name__ == family.model
    assert {f.model for f in TRANSFORMERS} == set(READS)
    for family in TRANSFORMERS:
        assert READS[family.model] in (family.rows, "")


@pytest.mark.parametrize("family", TRANSFORMERS, ids=lambda family: family.name)
def test_parameters_of_transformers(family: Family) -> None:
    hugging: Any = pytest.importorskip(
        "hugging", reason="transformers is not installed", exc_type=ImportError
    )
    kind = getattr(hugging.transformers, family.model)
    assert million(lambda: kind(kind.config_class(num_labels=1000))) == family.parameters


def test_licences_are_timms_and_what_is_unknown_is_said_so() -> None:
    found = {f.model: licence(f) for f in TIMM}
    assert found["aimv2_large_patch14_224"] == "apple-ascl"
    assert found["csatv2"] == "see its model card"
    assert found["nest_tiny"] == "no weights"
    assert all(found.values())


def check(family: Family) -> None:
    assert million(lambda: timm.create_model(family.model)) == family.parameters
    with torch.device("meta"):
        if family.encoder:
            assert build_encoder(family.model).dims
        else:
            with pytest.raises(InputError):
                build_encoder(family.model)
            assert build_classifier(family.model, ("a", "b"), weights="")


@pytest.mark.parametrize("family", QUICK, ids=lambda family: family.model)
def test_size_and_recipes_of_some(family: Family) -> None:
    check(family)


@pytest.mark.slow
@pytest.mark.parametrize("family", BY_NAME, ids=lambda family: family.model)
def test_size_and_recipes_of_all(family: Family) -> None:
    check(family)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", [f for f in BY_NAME if f.method != "getam"], ids=lambda family: family.model
)
def test_the_method_named_makes_a_map(family: Family) -> None:
    net = timm.create_model(family.model).eval()
    side = (
        net.pretrained_cfg["input_size"][-1]
        if family in NO_ROW or net.pretrained_cfg.get("fixed_input_size")
        else 96
    )
    maps = getam.explain(net, torch.rand(1, 3, side, side), [[0]], method=family.method)
    assert maps.values.isfinite().all()
    assert min(maps.grid) > 1
