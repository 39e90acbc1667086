"""As many classes as COCO has: 81 labels train, label, predict and evaluate as any other number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

import getam
from getam.data.masks import read_mask, write_classes, write_mask

CLASSES = tuple(f"class {number:02}" for number in range(80))
EACH = 10  # classes on a photo, one stripe each


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos of ten classes, their tags, their masks in `truth`, and weights of a tiny CNN."""
    folder = tmp_path_factory.mktemp("eighty")
    random = np.random.default_rng(0)
    (folder / "photos").mkdir()
    write_classes(folder / "truth", CLASSES)
    lines = ["image,tags"]
    for index in range(len(CLASSES) // EACH):
        shown = range(index * EACH, (index + 1) * EACH)
        label = np.repeat(np.array(shown, np.uint8) + 1, 4)[None].repeat(32, 0)
        label[:4] = 0
        pixels = random.integers(0, 256, (81, 3), dtype=np.uint8)[label]
        Image.fromarray(pixels).save(folder / "photos" / f"p{index}.png")
        write_mask(folder / "truth" / f"p{index}.png", label)
        lines.append(f"p{index}.png,{';'.join(CLASSES[number] for number in shown)}")
    (folder / "tags.csv").write_text("\n".join(lines) + "\n")
    save_file(timm.create_model("test_resnet").state_dict(), folder / "w.safetensors")
    return folder


def asked(stripes: Path, recipe: str) -> dict[str, Any]:
    joint: dict[str, Any] = {"options": ("channels=[8,8,8,8]", "width=8")}
    its: dict[str, dict[str, Any]] = {
        "getam": {"backbone": "small-hybrid", **joint},
        "classifier": {},
        "irn": {"options": ("label_scales=[32]", *joint["options"])},
    }
    cnn = {"backbone": "test_resnet", "weights": stripes / "w.safetensors"}
    return {
        "data": stripes / "photos", "tags": stripes / "tags.csv", "recipe": recipe, "size": 32, "batch_size": 2,
        "steps": 2, "saliency": "none", **({} if recipe == "getam" else cnn), **its[recipe],
    }  # fmt: skip


@pytest.mark.parametrize("recipe", ["getam", "classifier", "irn"])
def test_eighty_one_labels_need_no_change(recipe: str, stripes: Path, tmp_path: Path) -> None:
    net = getam.train(out=tmp_path / "run", **asked(stripes, recipe))
    assert net.classes == CLASSES
    masks = tmp_path / "masks"
    if recipe == "irn":
        masks = tmp_path / "run" / "4-labels"
        getam.predict(stripes / "photos", model=tmp_path / "run", out=tmp_path / "predicted", scales=(32,))
        assert getam.evaluate(tmp_path / "predicted", stripes / "truth").protocol.classes == CLASSES
    else:
        getam.label(
            data=stripes / "photos", tags=stripes / "tags.csv", model=tmp_path / "run", out=masks,
            labels="threshold[high=0.01,low=0.01]", refine=("none",), scales=(32,), saliency="none",
        )  # fmt: skip
    found = np.concatenate([np.unique(read_mask(file)) for file in sorted(masks.glob("*.png"))])
    assert found.max() > 70  # classes of the last photo stand under their own numbers
    scored = getam.evaluate(masks, stripes / "truth")
    assert len(scored.iou) == 81
    assert scored.protocol.classes == CLASSES
    assert 0 <= scored.miou <= 1
