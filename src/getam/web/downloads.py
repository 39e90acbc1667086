"""What can be downloaded of a photo: its mask, what the numbers in it mean, and its maps."""

from __future__ import annotations

from collections.abc import Sequence

from getam.data.masks import CLASSES_FILE, LabelMap, encode_mask
from getam.data.tags import BACKGROUND
from getam.report.photo_maps import PhotoMaps


def files_of(name: str, label: LabelMap, classes: Sequence[str], maps: PhotoMaps | None) -> dict[str, bytes]:
    """File name → content: NAME.png, classes.txt and, where there are maps, NAME.npz.

    Args:
        name: of the photo, of which the last part is taken.
        label: (H,W) uint8 in numbers of `classes`.
        classes: without background.
        maps: of the source whose mask it is.
    """
    short = name.rsplit("/", 1)[-1]
    files = {
        f"{short}.png": encode_mask(label),
        CLASSES_FILE: "".join(f"{each}\n" for each in (BACKGROUND, *classes)).encode(),
    }
    if maps is not None:
        files[f"{short}.npz"] = maps.packed()
    return files
