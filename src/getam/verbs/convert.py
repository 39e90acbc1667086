"""`getam convert`: masks into another tool's import format, and back."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import tyro

from getam.data.mask_formats.base import PhotoMask, Reading, Source
from getam.data.mask_formats.photo_files import by_name, match, photo_files, with_photos
from getam.data.mask_formats.registry import PNG, find_format
from getam.data.photos import read_photo_near
from getam.errors import InputError
from getam.outputs.folder import identities, in_the_way, refuse_input
from getam.outputs.progress import progress
from getam.verbs.from_python import from_python

logger = logging.getLogger(__name__)


@from_python
def convert(
    masks: Path,
    /,
    *,
    out: Path,
    to: str = PNG,
    from_: Annotated[str, tyro.conf.arg(name="from")] = PNG,
    photos: Path | None = None,
    classes: tuple[str, ...] | None = None,
    prefix: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Bring masks into another tool's import format, or back into palette PNGs.

    Formats: png (as label and predict write it), voc, coco, cvat, label-studio, labelme, yolo. Pixels stay exactly as
    they are; what a format has no place for is counted.

    Args:
        masks: Folder of masks, or the file or folder that a tool has exported.
        out: Folder for the result.
        to: Format of the result.
        from_: Format of the masks.
        photos: Folder of the photos: for formats that name photo files (coco, cvat, label-studio, labelme), and to read
            one that does not say how large photos are (yolo).
        classes: Class names in the order of their labels; as the files say when left out.
        prefix: What comes before a photo's path in the result, such as a URL; for label-studio a folder of local files
            when left out.
        overwrite: Replace files that exist.

    Returns:
        `out`.

    Raises:
        InputError: No masks, damaged ones, classes that do not fit, photos that are missing, or files in the way.
    """
    reader, writer = find_format(from_), find_format(to)
    if from_ == to:
        raise InputError(f"masks would go from {from_} to {to}: name the other format with --to or --from")
    files = None if photos is None else photo_files(photos, leave_out=out)
    if files is None and (reader.needs_size or (writer.names_photos and not reader.names_photos)):
        lacks, what = (from_, "how large") if reader.needs_size else (from_, "what files")
        raise InputError(f"{lacks} does not say {what} the photos are: give their folder with --photos")

    index = by_name(files or {})

    def size(name: str) -> tuple[int, int]:
        return read_photo_near((files or {})[match(name, index)], 1)[1]

    source = reader.read(masks, Reading(tuple(classes) if classes else None, None if files is None else size))
    if files is not None:
        source = with_photos(source, files)
    lost = write_as(to, source, out, prefix=prefix, overwrite=overwrite)
    say_lost(lost, f"{to} has no place for")
    say_lost(source.lost, f"not read from {from_}, because they are no masks")
    return out


def write_as(
    to: str, source: Source, out: Path, *, prefix: str | None = None, overwrite: bool
) -> Counter[str]:
    """Write masks into a folder in one format.

    Returns what was lost → how often. Raises `InputError` as `refuse_export`, and for files that are read here.
    """
    refuse_export(to, source.classes, source.names, out, overwrite=overwrite)
    read = identities(source.files)
    for file in find_format(to).results(source.names):
        refuse_input(out / file, read)
    with progress(f"writing {to}", len(source.names)) as advance:

        def shown() -> Iterator[PhotoMask]:
            for number, mask in enumerate(source.masks, start=1):
                yield mask
                advance(number, mask.name)

        return find_format(to).write(out, source.classes, shown(), prefix)


def refuse_export(
    to: str, classes: Sequence[str], names: Sequence[str], out: Path, *, overwrite: bool
) -> None:
    """Raises `InputError`, before work begins, for more classes than a format has room for, or files in the way."""
    form = find_format(to)
    if len(classes) > form.most:
        raise InputError(
            f"{to} has room for {form.most} classes, and these are {len(classes)}: choose another format"
        )
    if out.is_file():
        raise InputError(f"{out} is a file: give a folder with --out")
    for file in form.results(names):
        if not overwrite and (out / file).exists():
            raise in_the_way(out / file)


def say_lost(lost: Mapping[str, int], where: str) -> None:
    """Say on stderr what stayed behind."""
    if lost:
        logger.warning("%s: %s", where, ", ".join(f"{count} {what}" for what, count in lost.items()))
