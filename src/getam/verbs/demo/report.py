"""What the demo shows: the table of its results, some held-out scenes, and a real photo through the embedded model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from getam.errors import InputError
from getam.maps.methods.getam import getam
from getam.nets.masks import segment
from getam.nets.segmenter import Segmenter
from getam.photo_size import SINGLE_SCALE, fit_patches
from getam.recipes.getam import GetamConfig
from getam.refine.scaled import refine_maps
from getam.report.gallery import ReportRow
from getam.verbs.demo.digits import DIGIT_CLASSES
from getam.verbs.demo.score import DemoScores, complete, scene_batches, scene_maps, segment_scenes

METHOD_NAMES = {"getam": "GETAM", "gradcam": "Grad-CAM", "rollout": "attention rollout"}


def results_table(scores: DemoScores) -> list[dict[str, object]]:
    """One mapping per map method; columns by name, mIoU everywhere, None where there is nothing to measure."""
    return [
        {
            "held-out mIoU": METHOD_NAMES[name],
            "maps": found.raw_miou,
            "maps after PAMR": found.refined_miou,
            "pseudo labels": found.label_miou,
            "segmentation": scores.segmentation_miou if name == "getam" else None,
            "segmentation, CRF": scores.crf_miou if name == "getam" else None,
        }
        for name, found in scores.methods.items()
    ]


def rich_table(lines: Sequence[dict[str, object]], caption: str) -> Table:
    """The same for the terminal."""
    table = Table(caption=caption, caption_justify="left")
    for number, column in enumerate(lines[0]):
        table.add_column(column, justify="right" if number else "left")
    for line in lines:
        table.add_row(*(_text(value) for value in line.values()))
    return table


def scene_rows(net: Segmenter, config: GetamConfig, *, seed: int, count: int) -> list[ReportRow]:
    """The first held-out scenes: heat maps of their tags, pseudo label, prediction (without tags), truth."""
    rows: list[ReportRow] = []
    for found in scene_maps(net, config, scene_batches("test", config, seed, count)):
        images = found.batch["image"]
        labels = complete(found, "getam", (config.background, config.foreground), config).cpu().numpy()
        masks = segment_scenes(net, images)[2].cpu().numpy()
        truths = found.batch["mask"].cpu().numpy().astype(np.uint8)
        for place in range(len(images)):
            maps = found.refined["getam"][place].cpu().numpy()
            tags = {
                DIGIT_CLASSES[digit]: maps[slot]
                for slot, digit in enumerate(found.slots[place].tolist())
                if digit >= 0
            }
            rows.append(
                ReportRow(
                    photo=_pixels(images[place]),
                    heat_maps=tags,
                    pseudo_label=labels[place],
                    prediction=masks[place],
                    truth=truths[place],
                    caption=f"Held-out scene {len(rows) + 1}: {_listed(list(tags))}",
                )
            )
    return rows


def cat_row(net: Segmenter, first_label: int) -> ReportRow:
    """scikit-image's cat, explained and segmented by the embedded model; nobody tells it what is there.

    Args:
        net: the embedded model.
        first_label: what its label 1 is called in the report, whose classes begin with those of the scenes.
    """
    photo = cat()
    maps, names = explain_photo(net, photo)
    mask = segment(net, photo)
    return ReportRow(
        photo=photo.permute(1, 2, 0).numpy(),
        heat_maps=dict(zip(names, maps.numpy())),
        prediction=np.where(mask > 0, mask + (first_label - 1), 0).astype(np.uint8),
        caption=f"A real photo through the embedded model, which finds: {_listed(names)}",
    )


def explain_photo(net: Segmenter, photo: Tensor) -> tuple[Tensor, list[str]]:
    """Refined maps (K,H,W) in [0,1] of the classes a network finds in a photo (3,H,W), and their names.

    Found are the classes with a positive score, or the best one if there is none.
    """
    height, width = photo.shape[-2:]
    size = fit_patches(height, width, max(SINGLE_SCALE), net.patch)
    image = photo.float()[None]
    resized = torch.nn.functional.interpolate(image, size=size, mode="bilinear", antialias=True).clamp(0, 255)
    with torch.no_grad():
        scores = net(resized, masks=False).scores[0]
    found = (scores > 0).nonzero().flatten().tolist() or [int(scores.argmax())]
    maps = refine_maps(image, getam(net, resized, [found]).values)[0]
    return maps, [net.classes[index] for index in found]


def cat() -> Tensor:
    """The photo of a cat that comes with scikit-image: (3,300,451) uint8.

    Raises:
        InputError: scikit-image is not installed.
    """
    try:
        import skimage.data
    except ImportError as missing:
        raise InputError("the demo needs scikit-image: pip install 'getam[demo]'") from missing
    return torch.from_numpy(np.array(skimage.data.cat())).permute(2, 0, 1)


def _pixels(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).cpu().numpy().astype(np.uint8)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else ", ".join(names[:-1]) + " and " + names[-1]


def _text(value: object) -> str:
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
