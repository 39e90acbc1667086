"""`--to` of `label` and `predict`: the masks they have just made, in another tool's format too."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from getam.data.mask_formats import png
from getam.data.mask_formats.base import Source
from getam.data.mask_formats.photo_files import with_photos
from getam.data.mask_formats.registry import PNG
from getam.errors import InputError
from getam.outputs.folder import OutputFolder
from getam.verbs.convert import refuse_export, say_lost, write_as


def export_folder(out: Path, to: str) -> Path:
    """Beside the masks, so that nobody takes its files for masks of photos.

    >>> export_folder(Path("runs/masks"), "coco").as_posix()
    'runs/masks-coco'
    """
    return out.with_name(f"{out.absolute().name}-{to}")


def check_export(folder: OutputFolder, classes: Sequence[str], to: str | None, *, overwrite: bool) -> None:
    """Before the work: raises `InputError` for an unknown format, too many classes, and files in the way.

    An interrupted call that goes on may replace what it has begun to write.
    """
    if to == PNG:
        raise InputError(f"masks are {PNG} already: name another format with --to, or leave it out")
    if to is not None:
        again = overwrite or folder.begun
        names = [job.name for job in folder.jobs]
        refuse_export(to, classes, names, export_folder(folder.path, to), overwrite=again)


def export(folder: OutputFolder, classes: Sequence[str], to: str | None, *, skipped: Collection[str]) -> None:
    """Write the masks of all jobs but those that were skipped; says on stderr what the format has no place for."""
    if to is None:
        return
    jobs = [job for job in folder.jobs if job.name not in skipped]
    names = tuple(job.name for job in jobs)
    files = tuple(folder.path / job.results[0] for job in jobs)
    source = Source(tuple(classes), names, files, png.masks_of(names, files, classes))
    photos = {f"{job.name}{PurePosixPath(job.sources[0]).suffix}": job.sources[0] for job in jobs}
    lost = write_as(to, with_photos(source, photos), export_folder(folder.path, to), overwrite=True)
    say_lost(lost, f"{to} has no place for")
