"""Do tiles show? `getam predict --tile` against the same photo looked at whole: docs/reliability.md, "Numbers".

    python benchmarks/seams.py PHOTOS --count 4

Photos are pasted into a mosaic, which is looked at whole at a long side of 1,600, and in tiles of 320
with several overlaps. For each: how often the two disagree within 8 pixels of the edge of a tile, and elsewhere; how
much probabilities jump between the two sides of an edge, and between other neighbouring columns and rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from getam.data.photo_folder import find_photos
from getam.data.photos import read_photo
from getam.label_numbers import Among
from getam.nets.inference import photo_logits
from getam.photo_size import REFINED_SIDE
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import DEEPLAB
from getam.tiles import Side, tiles_along
from getam.verbs.predict_tiles import TiledPredictor
from getam.verbs.predict_torch import TorchPredictor

WHOLE, TILE, CELL = (1600, 1200), 320, (400, 300)  # width, height
NEAR = 8
OVERLAPS = (0.0, 0.125, 0.25, 0.375, 0.5)


def mosaic(photos: list[Path]) -> Image.Image:
    """Photos at 400×300 each, side by side."""
    whole = Image.new("RGB", WHOLE)
    across, down = WHOLE[0] // CELL[0], WHOLE[1] // CELL[1]
    for number, photo in enumerate(photos[: across * down]):
        place = (number % across * CELL[0], number // across * CELL[1])
        whole.paste(read_photo(photo).resize(CELL, Image.Resampling.BILINEAR), place)
    return whole


def edges(side: Side) -> np.ndarray:
    """First pixels behind an edge of a tile, inside the photo."""
    found = set(side.starts) | {start + side.tile for start in side.starts}
    return np.array(sorted(found - {0, side.length}), int)


def near(side: Side) -> np.ndarray:
    """(length,) whether a pixel is within 8 of an edge."""
    places = np.arange(side.length)[:, None]
    return (np.abs(places + 0.5 - edges(side)) <= NEAR).any(1)


def steps(values: np.ndarray, down: Side, across: Side) -> tuple[float, float]:
    """Mean step of probabilities between the two sides of an edge, and between other neighbouring rows or columns."""
    step, at = [], []
    for axis, side in ((1, down), (2, across)):
        step.append(np.abs(np.diff(values, axis=axis)).sum(0).mean(2 - axis))
        seam = np.zeros(len(step[-1]), bool)
        seam[edges(side) - 1] = True
        at.append(seam)
    every, seams = np.concatenate(step), np.concatenate(at)
    return every[seams].mean(), every[~seams].mean()


def compared(values: np.ndarray, whole: np.ndarray, down: Side, across: Side) -> dict[str, float]:
    """Rates of other labels, and mean steps of probabilities, near edges and elsewhere, with their ratios."""
    band = near(down)[:, None] | near(across)
    other = values.argmax(0) != whole.argmax(0)
    found = {"other labels near": other[band].mean(), "elsewhere": other[~band].mean()}
    found["ratio"] = found["other labels near"] / found["elsewhere"]
    for name, seen in (("", values), (" whole", whole)):  # the photo itself may have an edge there
        over, others = steps(seen, down, across)
        found |= {
            f"step over edges{name}": over,
            f"other steps{name}": others,
            f"ratio of steps{name}": over / others,
        }
    return {name: float(value) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=4, help="mosaics")
    parser.add_argument("--overlaps", type=float, nargs="+", default=OVERLAPS)
    parser.add_argument(
        "--crf", action="store_true", help="compare CRFs, in tiles and whole, of the same probabilities"
    )
    arguments = parser.parse_args()
    size = WHOLE[0] // CELL[0] * (WHOLE[1] // CELL[1])
    files = find_photos(arguments.photos)
    network = TorchPredictor(None, scales=(TILE,), flip=False, crf=arguments.crf, device="cpu")
    any_class = Among(network.classes)
    found: dict[float, list[dict[str, float]]] = {overlap: [] for overlap in arguments.overlaps}
    for number in range(arguments.count):
        photo = mosaic(files[number * size :])
        image = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
        own = photo_logits(network._net, image, (WHOLE[0],)).softmax(0).numpy()
        for overlap in arguments.overlaps:
            tiled = TiledPredictor(network, TILE, scales=(TILE,), crf=False, overlap=overlap)
            beliefs = np.concatenate([belief for belief, _ in tiled._bands(photo, any_class)], axis=1)
            side, patch = TILE, network.patch
            if arguments.crf:
                crf = TiledPredictor(network, TILE, scales=(TILE,), crf=True, overlap=overlap)
                own = dense_crf(image[None].float(), torch.from_numpy(beliefs)[None], parameters=DEEPLAB)[
                    0
                ].numpy()
                beliefs = np.concatenate([values for _, values in crf._bands(photo, any_class)], axis=1)
                side, patch = REFINED_SIDE, 1
            down, across = (tiles_along(n, side, overlap=overlap, unit=patch) for n in WHOLE[::-1])
            found[overlap].append(compared(beliefs, own, down, across))
    names = list(next(iter(found.values()))[0])
    print("| overlap |", " | ".join(names), "|")
    for overlap, rows in found.items():
        print(
            f"| {overlap:g} |",
            " | ".join(f"{np.mean([row[name] for row in rows]):.4g}" for name in names),
            "|",
        )


if __name__ == "__main__":
    main()
