"""One photo after the other: read ahead, made by the model, written behind; bad photos end the work or are left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

from getam.data.overlap import AHEAD, read_ahead, write_behind
from getam.errors import InputError
from getam.outputs.folder import Job, OutputFolder
from getam.outputs.progress import progress

R = TypeVar("R")
OnBadImage = Literal["fail", "skip"]
Encode = Callable[[], Mapping[str, bytes]]
GOES_ON = "what is done is kept: mend the file and repeat the command, or leave such files out with --on-bad-image skip"


def photo_by_photo(
    folder: OutputFolder,
    read: Callable[[Job], R],
    make: Callable[[Job, R], Encode],
    *,
    what: str,
    on_bad_image: OnBadImage = "fail",
    ahead: int = AHEAD,
) -> dict[str, InputError]:
    """Do all that is to do in a folder.

    Args:
        folder: whose `todo` is done.
        read: in threads beside; raises `InputError` for what cannot be read.
        make: from what was read; what it returns is called in another thread and gives the files' contents.
        what: shown with the progress.
        on_bad_image: "fail" ends the work with the error of the first photo that cannot be read, "skip" goes on
            without it.
        ahead: photos in memory before their turn, and results waiting to be written.

    Returns:
        Name of a photo that was skipped → why.

    Raises:
        InputError: a photo that cannot be read, unless such are skipped; all results before it are there.
    """
    check_on_bad_image(on_bad_image)
    skipped: dict[str, InputError] = {}

    def skip(job: Job, error: InputError) -> None:
        if on_bad_image == "fail":
            raise InputError(f"{str(error).rstrip('.')}; {GOES_ON}") from error
        skipped[job.name] = error

    done = len(folder.mine) - len(folder.todo)
    with progress(what, len(folder.mine)) as advance, write_behind(ahead=ahead) as write:
        for number, (job, found) in enumerate(
            read_ahead(folder.todo, read, skip=skip, ahead=ahead), start=done + 1
        ):
            write(_write, folder, job, make(job, found))
            advance(number + len(skipped), job.name)
    return skipped


def check_on_bad_image(choice: str) -> None:
    """Raises `InputError` for another word than "fail" or "skip"."""
    if choice not in ("fail", "skip"):
        raise InputError(f"--on-bad-image {choice}: choose fail or skip")


def _write(folder: OutputFolder, job: Job, encode: Encode) -> None:
    folder.write(job, encode())
