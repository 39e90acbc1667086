"""A mask that draws itself: in a notebook, over its photo, as the file that `getam predict` writes."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from getam.data.confidences import with_confidences
from getam.data.masks import CLASSES_FILE, LabelMap, encode_mask, read_classes, write_classes
from getam.data.tags import suggest
from getam.errors import InputError
from getam.report.overlay import data_uri, label_overlay
from getam.report.palette import css_colour
from getam.whole_files import write_atomically

SHOWN = 480  # long side of the picture in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation:
    """Which pixels of a photo are whose.

    Attributes:
        label: (H,W) uint8: 0 background, class index + 1; uint16 or int32 beyond 254 classes.
        classes: names of all classes that the network knows, without background.
        confidences: name of each class that was found → mean probability of its pixels, in [0,1].
        photo: (3,H,W) uint8.
        title: what a file of it is called.
    """

    label: LabelMap
    classes: tuple[str, ...]
    confidences: Mapping[str, float]
    photo: Tensor
    title: str = "photo"

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.shares().items())
        return f"<mask of {self.title}: {shares or 'background alone'}>"

    def shares(self) -> dict[str, float]:
        """Name of each class that was found → its share of the pixels, largest first; background is left out."""
        numbers, counts = np.unique(self.label[self.label > 0], return_counts=True)
        pixels = dict(zip(numbers.tolist(), counts.tolist()))
        return {
            self.classes[number - 1]: pixels[number] / self.label.size
            for number in sorted(pixels, key=lambda number: -pixels[number])
        }

    def mask(self, name: str) -> npt.NDArray[np.bool_]:
        """Where one class is: (H,W) bool.

        Raises:
            InputError: the network knows no such class.
        """
        if name not in self.classes:
            raise InputError(f"there is no class {name!r}: {suggest(name, self.classes)}")
        return self.label == self.classes.index(name) + 1

    def overlay(self) -> Image.Image:
        """The mask over the photo, at its size."""
        return Image.fromarray(label_overlay(self.photo.permute(1, 2, 0).numpy(), self.drawn))

    @property
    def drawn(self) -> LabelMap:
        """The label as pictures and files have it: uint8, or uint16."""
        return self.label if self.label.dtype == np.uint8 else self.label.astype(np.uint16)

    def save(self, folder: Path | str, *, overwrite: bool = False) -> Path:
        """Write NAME.png, a palette PNG as `getam predict` writes, with classes.txt beside it; returns its path.

        Raises:
            InputError: the file is in the way and not to be replaced, or classes.txt there has other classes.
        """
        folder = Path(folder)
        path = folder / f"{self.title}.png"
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists: choose another folder, or replace it with overwrite=True")
        if (folder / CLASSES_FILE).is_file() and read_classes(folder) != self.classes:
            raise InputError(f"{folder} holds masks of other classes: choose another folder")
        write_classes(folder, self.classes)
        write_atomically(path, with_confidences(encode_mask(self.label), self.confidences))
        return path

    def show(self) -> None:
        """The mask over the photo, in the system's picture viewer."""
        self.overlay().show()

    def _repr_html_(self) -> str:
        """What a notebook shows: the mask over the photo, and the name and share of each class in its colour."""
        picture = self.overlay()
        picture.thumbnail((SHOWN, SHOWN))
        legend = " ".join(
            f'<span style="color:{css_colour(self.classes.index(name) + 1)}">■</span> {html.escape(name)} {share:.0%}'
            for name, share in self.shares().items()
        )
        return (
            f'<figure style="display:inline-block;margin:4px"><img src="{data_uri(np.asarray(picture))}" '
            f'alt="{html.escape(self.title)}"><figcaption>{legend or "background alone"}</figcaption></figure>'
        )
