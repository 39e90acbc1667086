"""Maps and masks drawn over photos: own colour tables, no plotting library.

Arrays in, arrays out: photos (H, W, 3) uint8 RGB, heat maps (h, w) ≥ 0, labels (H, W) uint8: 0 background,
1..C classes, 255 ignore; uint16 and 65535 beyond 254 classes.
"""

import base64
import io
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from getam.data.masks import LabelMap
from getam.errors import InputError
from getam.report.palette import colour_rows, colour_table

Photo = NDArray[np.uint8]
Labels = LabelMap

HEAT_STOPS = (
    # position, lightness, chroma, hue in degrees; all of OKLCH (Ottosson 2020), where lightness is perceptual
    (0.00, 0.16, 0.06, 295.0),
    (0.25, 0.35, 0.16, 315.0),
    (0.50, 0.56, 0.20, 375.0),
    (0.75, 0.76, 0.16, 415.0),
    (1.00, 0.97, 0.10, 465.0),
)
"""Night blue, purple, red, orange, pale yellow. Lightness rises evenly: it reads in grey and colour-blind."""

HEAT_OPACITY = 0.85
"""Of the hottest pixel; it falls with the square root of the heat, so cold parts show the photo."""
PHOTO_UNDER_HEAT = 0.55
"""Brightness left to the photo below a heat map."""

LABEL_OPACITY = 0.75
OUTLINE_OPACITY = 0.8
STRIP = 128  # rows that are blended at once: colours in floating point take 24 times the memory of the photo

HATCH_PERIOD = 8
HATCH_GREYS = (96, 176)
"""Ignored pixels: diagonal stripes of two greys, half a period each."""


def heat_colours(values: NDArray[Any]) -> Photo:
    """Colours of heat values.

    Args:
        values: any shape, floats; clipped to [0, 1].

    Returns:
        (…, 3) uint8.
    """
    return heat_table()[np.rint(np.clip(values, 0, 1) * 255).astype(np.intp)]


@lru_cache(maxsize=1)
def heat_table() -> NDArray[np.uint8]:
    """(256, 3) uint8 sRGB of heat 0 to 1, interpolated between `HEAT_STOPS` in OKLCH."""
    where = np.linspace(0, 1, 256)
    stops = np.array(HEAT_STOPS).T
    lightness, chroma, hue = (np.interp(where, stops[0], channel) for channel in stops[1:])
    a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
    # OKLab → cone responses → linear sRGB → sRGB; matrices of bottosson.github.io/posts/oklab, public domain
    cones = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_linear @ cones**3, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(encoded.T * 255).astype(np.uint8)


def heat_overlay(photo: Photo, heat: NDArray[Any]) -> Photo:
    """A heat map over its photo, hottest pixel = hottest colour.

    Args:
        photo: (H, W, 3) uint8 RGB.
        heat: (h, w) ≥ 0, any size and scale; resized bilinearly (pixel centres aligned), over its maximum.

    Returns:
        (H, W, 3) uint8. An all-zero map leaves only the dimmed photo.

    Raises:
        InputError: wrong shape, or a negative or non-finite value.
    """
    check_photo(photo)
    heat = np.asarray(heat, dtype=np.float32)
    if heat.ndim != 2 or 0 in heat.shape:
        raise InputError(f"a heat map has shape {heat.shape}: give one (h, w) array per class")
    if not np.isfinite(heat).all() or heat.min() < 0:
        raise InputError(f"heat map values go from {heat.min()} to {heat.max()}: make them finite and ≥ 0")
    height, width = photo.shape[:2]
    resized = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR))
    peak = resized.max()
    strength = resized / peak if peak > 0 else resized
    drawn = np.empty_like(photo)
    for top in range(0, height, STRIP):
        rows = slice(top, top + STRIP)
        opacity = HEAT_OPACITY * np.sqrt(strength[rows])[:, :, None]
        drawn[rows] = _blend(photo[rows] * PHOTO_UNDER_HEAT, heat_colours(strength[rows]), opacity)
    return drawn


def label_overlay(photo: Photo, labels: Labels) -> Photo:
    """A mask over its photo: colours of classes with an outline, background untouched, ignored pixels hatched grey.

    Args:
        photo: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8 or uint16.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: shapes or types do not fit.
    """
    check_photo(photo)
    check_labels(photo, labels)
    ignore = np.iinfo(labels.dtype).max
    drawn, undecided = photo.copy(), labels == ignore
    classes = (labels > 0) & ~undecided
    drawn[classes] = _blend(photo[classes], colour_table()[colour_rows(labels[classes])], LABEL_OPACITY)
    if undecided.any():
        grey = np.where(stripes(labels.shape)[undecided], *HATCH_GREYS)[:, None]
        drawn[undecided] = _blend(photo[undecided], grey, LABEL_OPACITY)
    border = outline(labels) & classes
    drawn[border] = _blend(drawn[border], 255, OUTLINE_OPACITY)
    return drawn


def stripes(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(H, W) bool: diagonal stripes, for pixels that are ignored."""
    diagonal = np.add.outer(*(np.arange(side) % HATCH_PERIOD for side in shape))
    return diagonal % HATCH_PERIOD < HATCH_PERIOD // 2


def outline(labels: Labels) -> NDArray[np.bool_]:
    """(H, W) bool: pixels with a pixel of another label above, below, left or right, inside the photo."""
    edge = np.zeros(labels.shape, bool)
    vertical, horizontal = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edge[1:] = vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    return edge


def data_uri(image: Photo, kind: Literal["png", "jpeg"] = "png") -> str:
    """`data:image/…;base64,…` of a (H, W, 3) uint8 image: PNG is exact, JPEG (quality 88) is small."""
    packed = io.BytesIO()
    if kind == "png":
        Image.fromarray(image).save(packed, "PNG", optimize=True)
    else:
        Image.fromarray(image).save(packed, "JPEG", quality=88, subsampling=0)
    return f"data:image/{kind};base64,{base64.b64encode(packed.getvalue()).decode('ascii')}"


def check_photo(photo: Photo) -> None:
    """Raises InputError unless the photo is (H, W, 3) uint8."""
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8 or 0 in photo.shape:
        raise InputError(f"a photo is {photo.shape} {photo.dtype}: give (H, W, 3) uint8 RGB")


def check_labels(photo: Photo, labels: Labels) -> None:
    """Raises InputError unless the labels are uint8, or uint16, and as large as the photo."""
    if labels.dtype not in (np.uint8, np.uint16) or labels.shape != photo.shape[:2]:
        raise InputError(
            f"a mask is {labels.shape} {labels.dtype} and its photo {photo.shape[:2]}: give uint8 labels, or uint16"
        )


def _blend(below: NDArray[Any], above: NDArray[Any] | int, opacity: NDArray[Any] | float) -> Photo:
    return np.rint(below * (1 - opacity) + above * opacity).astype(np.uint8)
