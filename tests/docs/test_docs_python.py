"""The blocks of Python in the pages, run in order, each page in a folder with a few photos; nothing is downloaded."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from shutil import copyfile
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

from getam.data.masks import write_classes, write_mask
from getam.labels.registry import LABELLERS
from getam.maps.registry import REGISTRY
from getam.recipes import RECIPES
from getam.refine.registry import REFINERS
from pages import DOCS, blocks

hugging: Any = pytest.importorskip("hugging", reason="transformers is not installed", exc_type=ImportError)
pytest.importorskip("supervision")
PAGES = [page for page in sorted(DOCS.glob("*.md")) if blocks(page, "python")]


@pytest.fixture
def workplace(tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """cat.jpg, street.jpg, photos/, tags.csv, labels/, a.onnx and weights; what a hub would give has random weights."""
    copyfile(tiny_onnx, tmp_path / "a.onnx")
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "street.jpg", "photos/a.jpg", "photos/b.jpg", "photos/c.jpg"):
        Image.fromarray(random.integers(0, 256, (48, 64, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,cat\nb.jpg,dog\nc.jpg,\n")
    write_classes(tmp_path / "labels", ["cat"])
    write_mask(tmp_path / "labels" / "a.png", np.eye(8, dtype=np.uint8))
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: create(*a, **{**k, "pretrained": False}))
    tiny = create("vit_tiny_patch16_224", pretrained=False, num_classes=0)
    save_file(tiny.state_dict(), tmp_path / "tiny.safetensors")
    vit = tmp_path / "google" / "vit-base-patch16-224"  # a folder of that name comes before the hub
    hugging.model("ViT").save_pretrained(vit)
    hugging.transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(vit)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_runs(page: Path, workplace: Path) -> None:
    names: dict[str, Any] = {"__name__": page.stem}
    with ExitStack() as registries:
        for registry in (REGISTRY, REFINERS, LABELLERS, RECIPES):
            registries.enter_context(patch.dict(registry))  # takes away what a page adds
        for block in blocks(page, "python"):
            code = compile("\n" * block.line + block.text, str(page), "exec")
            exec(code, names)
    assert not {"half", "last-attention"} & {*LABELLERS, *REGISTRY}


def test_an_extension_takes_less_than_60_lines() -> None:
    for block in blocks(DOCS / "extending.md", "python"):
        assert len(block.text.splitlines()) < 60, block.heading


def test_all_pages_with_code_are_here() -> None:
    assert {page.name for page in PAGES} >= {"start-python.md", "extending.md"}
