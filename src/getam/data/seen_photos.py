"""Photos that were read once, and what is worth saying of their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from getam.data.collection import Sample
from getam.data.duplicates import Glance, glance
from getam.data.photos import pages, read_photo

LARGE = 4_000_000
"""Pixels from which it is said that a training reads them all: 10 million as PNG take 0.23 s of a core, as JPEG, shrunk
while it is read, 0.02 s, and learning from them 0.2 s."""
JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
"""What decoders can shrink while they read it."""


@dataclass(frozen=True)
class Seen:
    """A photo that can be read.

    Attributes:
        sample: it is of.
        glance: as small as it can be told by.
        size: (height, width).
        pages: pictures in the file, of which the first is read.
    """

    sample: Sample
    glance: Glance
    size: tuple[int, int]
    pages: int


def see(sample: Sample) -> Seen:
    """Read a photo. Raises `InputError` where that fails."""
    photo = read_photo(sample.photo)
    return Seen(sample, glance(photo), (photo.height, photo.width), pages(sample.photo))


def remarks(seen: Sequence[Seen]) -> list[str]:
    """What is no mistake, but may not be what was meant: stacks, and files that take long in a training."""
    said = []
    stacks = [each.sample.photo for each in seen if each.pages > 1]
    if stacks:
        said.append(
            f"TIFF files with several pictures, of which the first is read: {len(stacks)} ({stacks[0]}); "
            "save the others as files of their own"
        )
    slow = [
        each
        for each in seen
        if each.size[0] * each.size[1] > LARGE and each.sample.photo.suffix.lower() not in JPEG
    ]
    if slow:
        height, width = slow[0].size
        said.append(
            f"large photos that are no JPEGs: {len(slow)} ({slow[0].sample.photo}, {width}×{height}); "
            "every pass of a training reads all their pixels again: copies with a long side of 1000 train in less time"
        )
    return said
