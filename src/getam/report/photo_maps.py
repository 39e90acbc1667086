"""Maps that draw themselves: in a notebook, as pictures, as files, as masks of the photo's size."""

from __future__ import annotations

import html
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from getam.data.photos import as_tensor, upright
from getam.errors import InputError
from getam.maps.base import Maps
from getam.nets.class_names import ClassNames
from getam.nets.inference import shrunk_photo
from getam.photo_size import REFINED_SIDE
from getam.refine.pamr import ITERATIONS
from getam.refine.scaled import refine_maps, scale_to_peak
from getam.report.overlay import Photo, data_uri, heat_colours, heat_overlay
from getam.whole_files import write_atomically

SHOWN = 320  # long side of the pictures in a notebook


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class PhotoMaps(Maps):
    """Maps of one photo, or of a batch of tensors, whose photos are not known; `maps[b]` are those of photo b.

    Attributes:
        names: what the classes are called.
        photo: (3,H,W) uint8, of any size; B is 1 then.
        title: what files of it are called.
    """

    names: ClassNames
    photo: Tensor | None = None
    title: str = "photo"

    @classmethod
    def of(cls, maps: Maps, names: ClassNames, photo: Tensor | None = None, title: str = "photo") -> Self:
        """`maps`, with what they need to be drawn."""
        own: dict[str, Any] = {each.name: getattr(maps, each.name) for each in fields(Maps)}
        return cls(**own, names=names, photo=photo, title=title)

    def __repr__(self) -> str:
        photos = (
            f"{one.title}: {', '.join(f'{name} {score:.2f}' for name, score in one.found())}" for one in self
        )
        return f"<maps of {'; '.join(photos)}>"

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Self:
        b = range(len(self))[index]
        tensors = {name: getattr(self, name)[b : b + 1] for name in ("values", "valid", "classes", "scores")}
        return replace(self, **tensors, title=self.title if len(self) == 1 else f"{self.title}{b}")

    def __iter__(self) -> Iterator[Self]:
        return (self[b] for b in range(len(self)))

    def found(self, index: int = 0) -> list[tuple[str, float]]:
        """Name and score of each class of a photo, slot by slot."""
        slots = zip(self.classes[index].tolist(), self.scores[index].tolist())
        return [(self.names.shown(c), score) for c, score in slots if c >= 0]

    def heat(self, *, refine: bool = True) -> Tensor:
        """The maps as they are drawn over the photo.

        Args:
            refine: spread along the photo's edges with PAMR; else only enlarged.

        Returns:
            (K,h,w) float32 in [0,1] on the CPU, each over its own peak; at the photo's size, or a long side of 500.

        Raises:
            InputError: there is no photo.
        """
        if self.photo is None:
            raise InputError("these maps are of a batch of tensors and know no photo: give one to overlay()")
        if refine not in self._heat:
            small = shrunk_photo(self.photo.to(self.values.device), REFINED_SIDE).float()[None]
            heat = refine_maps(small, self.values, iterations=ITERATIONS if refine else 0)
            self._heat[refine] = heat[0].cpu()
        return self._heat[refine]

    def overlay(
        self, photo: Image.Image | Photo | None = None, which: int | str = 0, *, index: int = 0, refine: bool = True
    ) -> Image.Image:  # fmt: skip
        """The map of one class over the photo, at the photo's size; the hottest pixel has the hottest colour.

        Args:
            photo: another picture of the same view to draw on; for maps of a batch of tensors, the photo.
            which: the slot, or the name of its class.
            index: of the photo, where maps are of a batch.
            refine: spread along the photo's edges, as in `heat`.

        Raises:
            InputError: no such slot or class, or no photo.
        """
        one = self[index]
        if photo is not None:
            one = replace(one, photo=photo_tensor(photo, "given"))
        heat = one.heat(refine=refine)[one._slot(which)]
        assert one.photo is not None
        return Image.fromarray(heat_overlay(one.photo.permute(1, 2, 0).numpy(), heat.numpy()))

    def to_masks(
        self, threshold: float, *, size: tuple[int, int] | None = None, refine: bool = True
    ) -> Tensor:
        """Where each map is above `threshold` times its own peak: (B,K,H,W) bool, at the size of the photo.

        Args:
            threshold: in [0,1).
            size: another (H, W). Without a photo maps are enlarged to it, or stay as they are; nothing is refined.
            refine: spread along the photo's edges, as in `heat`.

        Raises:
            InputError: a threshold outside [0,1).
        """
        if self.photo is None:
            return super().to_masks(threshold, size=size)
        height, width = self.photo.shape[-2:]
        drawn = replace(self, values=self.heat(refine=refine)[None], photo=None)
        return drawn.to_masks(threshold, size=size or (height, width))

    def files(self, *, refine: bool = True) -> dict[str, bytes]:
        """What `save` writes, by the names of the files."""
        written: dict[str, bytes] = {}
        for one in self:
            classes = one.classes[0][one.valid[0]].tolist()
            for slot, c in enumerate(classes):
                written[f"{one.title}.{self.names.file_name(c)}.png"] = _png(one._drawn(slot, refine))
            written[f"{one.title}.npz"] = one.packed()
        return written

    def packed(self) -> bytes:
        """The raw maps of one photo as an .npz: `values` (K,h,w), `scores` and `classes` (K,), `method` and `rows`."""
        [one] = self
        kept, buffer = one.valid[0], BytesIO()
        np.savez_compressed(
            buffer,
            values=one.values[0][kept].cpu().numpy(),
            scores=one.scores[0][kept].cpu().numpy(),
            classes=np.array([self.names.full(c) for c in one.classes[0][kept].tolist()]),
            method=self.method,
            rows=self.rows,
        )
        return buffer.getvalue()

    def save(self, folder: Path | str, *, refine: bool = True, overwrite: bool = False) -> Path:
        """Write NAME.CLASS.png, the pictures, and NAME.npz, the raw maps; returns the folder.

        Raises:
            InputError: a file is in the way and not to be replaced; nothing is written.
        """
        return PhotoMapsList([self]).save(folder, refine=refine, overwrite=overwrite)

    def show(self) -> None:
        """Draw in the notebook; outside of one, in the system's picture viewer."""
        PhotoMapsList([self]).show()

    def _repr_html_(self) -> str:
        """What a notebook shows: a row per photo, in it a picture per class with its name and score."""
        return "".join(f"<div>{''.join(one._figures())}</div>" for one in self)

    def _figures(self) -> Iterator[str]:
        for picture, (name, score) in zip(self.thumbnails(), self.found()):
            yield (
                '<figure style="display:inline-block;margin:4px">'
                f'<img src="{data_uri(np.asarray(picture))}" alt="{html.escape(name)}">'
                f"<figcaption>{html.escape(name)} ({score:.2f})</figcaption></figure>"
            )

    def thumbnails(self) -> list[Image.Image]:
        """All maps, photo by photo, with a long side of at most 320."""
        drawn = [one._drawn(slot) for one in self for slot in range(len(one.found()))]
        for picture in drawn:
            picture.thumbnail((SHOWN, SHOWN))
        return drawn

    @cached_property
    def _heat(self) -> dict[bool, Tensor]:
        """By `refine`: it takes longest, and is asked for class by class."""
        return {}

    def _drawn(self, slot: int, refine: bool = True) -> Image.Image:
        """Over the photo, or the heat alone where there is none; B = 1."""
        if self.photo is not None:
            return self.overlay(which=slot, refine=refine)
        heat = scale_to_peak(self.values[:, slot : slot + 1].cpu())
        scale = SHOWN / max(heat.shape[-2:])
        size = [max(1, round(side * scale)) for side in heat.shape[-2:]]
        return Image.fromarray(heat_colours(F.interpolate(heat, size=size, mode="bilinear")[0, 0].numpy()))

    def _slot(self, which: int | str) -> int:
        known = [name for name, _ in self.found()]
        if isinstance(which, str) and which in known:
            return known.index(which)
        if isinstance(which, str) or not 0 <= which < len(known):
            choice = (
                f"choose a slot of 0..{len(known) - 1}, or {', '.join(known)}" if known else "it has none"
            )
            raise InputError(f"the photo has no map {which!r}: {choice}")
        return which


class PhotoMapsList(Sequence[PhotoMaps]):
    """The maps of several photos, each of its own size."""

    def __init__(self, maps: Sequence[PhotoMaps]) -> None:
        self._maps = tuple(maps)

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, index: Any) -> Any:
        """One photo's, or of a slice a list again."""
        return PhotoMapsList(self._maps[index]) if isinstance(index, slice) else self._maps[index]

    def __repr__(self) -> str:
        return f"<maps of {len(self)} photos: {', '.join(maps.title for maps in self)}>"

    def top(self, k: int) -> PhotoMapsList:
        """`Maps.top` of each."""
        return PhotoMapsList([maps.top(k) for maps in self])

    def to_masks(self, threshold: float, *, refine: bool = True) -> list[Tensor]:
        """`PhotoMaps.to_masks` of each: (1,K,H,W) bool, at the size of the photo."""
        return [maps.to_masks(threshold, refine=refine) for maps in self]

    def save(self, folder: Path | str, *, refine: bool = True, overwrite: bool = False) -> Path:
        """Write NAME.CLASS.png, the pictures, and NAME.npz, the raw maps; returns the folder.

        Raises:
            InputError: a file is in the way and not to be replaced; nothing is written.
        """
        folder = Path(folder)
        files: Mapping[str, bytes] = {
            name: data for maps in self for name, data in maps.files(refine=refine).items()
        }
        if not overwrite and (there := [name for name in files if (folder / name).exists()]):
            raise InputError(
                f"{folder / there[0]} exists: choose another folder, or replace it with overwrite=True"
            )
        for name, data in files.items():
            write_atomically(folder / name, data)
        return folder

    def show(self) -> None:
        """Draw in the notebook; outside of one, all maps in a row in the system's picture viewer."""
        python = sys.modules.get("IPython")
        if python is not None and python.get_ipython() is not None:
            python.display.display(self)
            return
        tiles = [picture for maps in self for picture in maps.thumbnails()]
        sheet = Image.new("RGB", (sum(tile.width for tile in tiles) or 1, SHOWN), "white")
        for number, tile in enumerate(tiles):
            sheet.paste(tile, (sum(before.width for before in tiles[:number]), 0))
        sheet.show()

    def _repr_html_(self) -> str:
        return "".join(maps._repr_html_() for maps in self)


def photo_tensor(photo: object, name: str) -> Tensor:
    """A PIL photo or an array (H,W,3) uint8, upright and in RGB: (3,H,W) uint8.

    Raises:
        InputError: anything else; it calls the photo `name`.
    """
    if isinstance(photo, Image.Image):
        return as_tensor(upright(photo, name))
    if isinstance(photo, np.ndarray):
        if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or 0 in photo.shape:
            raise InputError(
                f"photo {name} is an array {photo.shape} {photo.dtype}: give (H, W, 3) uint8 RGB"
            )
        return as_tensor(Image.fromarray(photo))
    raise InputError(
        f"photo {name} is a {type(photo).__name__}: give a PIL photo, a path, an array (H, W, 3) uint8, or for a batch "
        "a tensor (B, 3, H, W) normalised as the model expects"
    )


def _png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
