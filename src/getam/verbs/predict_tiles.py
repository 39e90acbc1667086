"""`getam predict --tile`: large photos in overlapping tiles, whatever network looks at them.

Each tile is seen as a photo is that is no larger: at the scales, and by a dense CRF of its own size. Logits are blended
first, and what the CRFs make of the blended probabilities then, row of tiles by row of tiles (`getam.tiles`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

from getam.data.confidences import MeanConfidences
from getam.data.masks import LabelMap
from getam.errors import InputError
from getam.exported.arrays import Floats, labels_of_bands, softmax
from getam.label_numbers import Among
from getam.photo_size import REFINED_SIDE, fit_patches
from getam.tiles import OVERLAP, Box, Rows, blended, tiles_along
from getam.verbs.predictor import Looking


class TiledPredictor:
    """A predictor for photos of any size; see `getam.verbs.predictor.Predictor`.

    Photos of a long side up to `tile` are left to the other one.

    Args:
        network: what looks at the tiles.
        tile: side of a tile in pixels of the photo.
        scales, crf: as the network's; a tile is seen at the largest scale.
        overlap: see `getam.tiles`.

    Raises:
        InputError: tiles smaller than what the network sees of them.
    """

    def __init__(
        self, network: Looking, tile: int, *, scales: Sequence[int], crf: bool, overlap: float = OVERLAP
    ) -> None:
        if tile < max(scales):
            raise InputError(
                f"--tile {tile} is smaller than the {max(scales)} pixels at which a tile is looked at: give at least "
                f"--tile {max(scales)}, or a smaller --scales"
            )
        self.classes, self.weights_sha256 = network.classes, network.weights_sha256
        self.scales = tuple(scales)
        self._network, self._tile, self._scale, self._crf = network, tile, max(scales), crf
        self._overlap = overlap

    def seen_side(self, long_side: int) -> int:
        """Long side at which a photo of this long side is seen; one that needs no tiles, as the network likes it."""
        if long_side <= self._tile:
            return self._network.seen_side(long_side)
        return max(1, round(long_side * self._scale / self._tile))

    def prepare(self, photo: Image.Image, size: tuple[int, int]) -> Any:
        """RGB at the size that is seen, or what the network makes of a photo that needs no tiles."""
        if max(size) <= self._tile:
            return self._network.prepare(photo, size)
        height, width = fit_patches(*size, self.seen_side(max(size)), self._network.patch)
        return photo.resize((width, height), Image.Resampling.BILINEAR)

    def masks(
        self, photo: Any, size: tuple[int, int], present: Sequence[int] | None = None
    ) -> tuple[LabelMap, dict[str, float]]:
        """Confidences are of the network's probabilities before the CRF, shared among what may win."""
        if max(size) <= self._tile:
            return self._network.masks(photo, size, present)
        among = Among(self.classes, present)
        mean = MeanConfidences(among.names)

        def counted() -> Iterator[Floats]:
            for beliefs, values in self._bands(photo, among):
                mean.add(beliefs, values.argmax(0))
                yield values

        winner = labels_of_bands(counted(), photo.height, size)
        return among.labels(winner), mean.named()

    def _bands(self, photo: Image.Image, among: Among) -> Iterator[tuple[Floats, Floats]]:
        """Probabilities of what may win, and the values of which the largest wins, (K,rows,W) each, from the top."""
        patch = self._network.patch
        side = max(patch, round(self._scale / patch) * patch)
        down, across = (
            tiles_along(length, side, overlap=self._overlap, unit=patch)
            for length in (photo.height, photo.width)
        )

        def looked_at(boxes: Sequence[Box]) -> Iterator[Floats]:
            return map(among.of, self._network.logits([photo.crop(box) for box in boxes]))

        logits = blended(down, across, looked_at)
        if not self._crf:
            yield from ((softmax(band), band) for band in logits)
            return
        beliefs = Rows(softmax(band) for band in logits)

        def sharpened(boxes: Sequence[Box]) -> Iterator[Floats]:
            for left, top, right, bottom in boxes:
                belief = beliefs.between(top, bottom)[:, :, left:right]
                yield self._network.sharpened(photo.crop((left, top, right, bottom)), belief)

        down, across = (
            tiles_along(length, REFINED_SIDE, overlap=self._overlap) for length in (photo.height, photo.width)
        )
        top = 0
        for band in blended(down, across, sharpened):
            end = top + band.shape[1]
            yield beliefs.between(top, end), band
            beliefs.forget(end)
            top = end
