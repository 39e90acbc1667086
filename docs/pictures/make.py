"""The pictures of docs/gallery.md, made of scikit-image's photos by the model that comes with the package.

python docs/pictures/make.py [FOLDER]    (this folder when left out; about a minute)
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

import getam
from getam.data.masks import read_mask
from getam.report.overlay import label_overlay

SIDE, HEIGHT, GAP = 320, 220, 8
METHODS = ("getam", "gradcam", "layercam", "rollout")
PHOTOS = {"cat": "chelsea", "person": "astronaut", "cup": "coffee", "rocket": "rocket"}


def strip(pictures: list[Image.Image], file: Path) -> None:
    """Pictures side by side, of one height, as a JPEG."""
    fitted = [each.resize((round(each.width * HEIGHT / each.height), HEIGHT)) for each in pictures]
    width = sum(each.width + GAP for each in fitted) - GAP
    sheet = Image.new("RGB", (width, HEIGHT), "white")
    left = 0
    for each in fitted:
        sheet.paste(each, (left, 0))
        left += each.width + GAP
    sheet.save(file, quality=82, optimize=True)


def main(out: Path) -> None:
    """Write every picture."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        photos = {name: Image.fromarray(getattr(skimage.data, source)()) for name, source in PHOTOS.items()}
        for photo in photos.values():
            photo.thumbnail((SIDE, SIDE))
        (folder / "photos").mkdir()
        for name, photo in photos.items():
            photo.save(folder / "photos" / f"{name}.png")
        masks = getam.predict(folder / "photos", out=folder / "masks")
        saliency = getam.saliency(folder / "photos", provider="embedded", out=folder / "saliency")

        def masked(name: str) -> Image.Image:
            return Image.fromarray(label_overlay(np.asarray(photos[name]), read_mask(masks / f"{name}.png")))

        for name in ("cat", "person"):
            heat = getam.explain(None, photos[name], name).overlay()
            strip([photos[name], heat, masked(name)], out / f"gallery-{name}.jpg")
        strip(
            [getam.explain(None, photos["cat"], "cat", method=each).overlay() for each in METHODS],
            out / "gallery-methods.jpg",
        )
        raw = getam.explain(None, photos["cat"], "cat")
        cut = [
            Image.fromarray(255 * raw.to_masks(level)[0, 0].numpy().astype(np.uint8))
            for level in (0.2, 0.4, 0.6)
        ]
        strip([raw.overlay(refine=False), raw.overlay(), *cut], out / "gallery-steps.jpg")
        for name in ("cup", "rocket"):
            with Image.open(saliency / f"{name}.png") as grey:
                strip([photos[name], grey.convert("RGB"), masked(name)], out / f"gallery-{name}.jpg")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
