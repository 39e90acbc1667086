"""Large files over HTTP: continued where they broke off, checked, and never half there under their own name."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from getam.errors import InputError

PART = ".part"
WRONG = ".wrong-checksum"
CHUNK = 1 << 20
TRIES = 5  # in a row that bring nothing
TIMEOUT_SECONDS = 60.0


def download(
    url: str, place: Path, md5: str | None = None, advance: Callable[[int], None] = lambda done: None
) -> None:
    """Fetch `url` as the file `place`, going on with what an earlier call has left in `place`.part.

    Args:
        url: of the file.
        place: what it becomes; its folder is made when needed.
        md5: its checksum; not checked where None.
        advance: told how many bytes are there.

    Raises:
        InputError: nothing answers, or the checksum is wrong: then the file is set aside as `place`.wrong-checksum.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(place.name + PART)
    idle = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            if _fetch(url, part, before, advance):
                break
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            raise InputError(
                f"{url} answers {error.code} {error.reason}: fetch it by hand as {place}."
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        now = part.stat().st_size if part.is_file() else 0
        idle = 0 if now > before else idle + 1
        if idle >= TRIES:
            raise InputError(
                f"{url} cannot be fetched ({reason}): fetch it by hand as {place}, or run this again where there is a"
                f" network, which goes on after the {now} bytes that are there."
            )
    check(part, place, md5)
    os.replace(part, place)


def check(file: Path, place: Path, md5: str | None) -> None:
    """Raises `InputError`, after setting `file` aside as `place`.wrong-checksum, where its md5 is another one."""
    if md5 is None:
        return
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        aside = place.with_name(place.name + WRONG)
        os.replace(file, aside)
        raise InputError(
            f"{place.name} has md5 {found} instead of {md5} and was set aside as {aside}: fetch it again."
        )


def _fetch(url: str, part: Path, have: int, advance: Callable[[int], None]) -> bool:
    """One connection; whether the file is whole after it."""
    headers = {"User-Agent": "getam", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        # 416: nothing lies beyond what is there; where the server's length is another, it is no part of this file
        if error.code == 416 and have:
            if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
                return True
            part.unlink()
            return False
        raise
    with answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        if not goes_on:  # the server sends the whole
            have = 0
        length = answer.headers.get("Content-Length")
        whole = None if length is None else have + int(length)
        with part.open("ab" if goes_on else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                have += len(chunk)
                advance(have)
    return whole is None or have == whole
