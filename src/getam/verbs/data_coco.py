"""`getam data coco`: COCO 2014 or 2017 as one folder that every verb reads, with semantic masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from getam.data.new_folder import new_folder
from getam.data.official import coco
from getam.data.official.prepared import opened
from getam.outputs.progress import say
from getam.verbs.fetching import fetch_missing
from getam.verbs.from_python import from_python


@from_python
def data_coco(
    *,
    out: Path,
    year: Literal["2014", "2017"] = "2014",
    from_: Annotated[Path, tyro.conf.arg(name="from")] = Path(),
    download: bool = False,
) -> Path:
    """Prepare COCO: photos, tags and semantic masks painted by a fixed rule, with their hash.

    Label k is the k-th category by id; larger instances are painted first, crowds are 255 where nothing else lies.
    `getam train --data OUT --split train` reads the result. The hash in OUT/masks.sha256 tells whether two people
    have the same masks. Needs `pip install 'getam[coco]'`.

    Args:
        out: a new folder.
        year: 2014, on which weakly supervised segmentation is compared, or 2017: the same photos, divided otherwise.
        from_: folder with annotations_trainval{year}.zip, train{year}.zip and val{year}.zip, or what they hold,
            unpacked.
        download: fetch the archives that are not there, about 20 GB, into that folder.

    Returns:
        `out`.

    Raises:
        InputError: archives are missing, which says what to fetch; they are damaged; `out` exists; or pycocotools is
            not installed.
    """
    wanted = coco.archives(year)
    with new_folder(out) as made:
        if download:
            fetch_missing(wanted, from_)
        with opened(from_, wanted, made.parent) as places:
            splits, hashes = coco.prepare(places, year, made, _said)
    for split, each in hashes.items():
        say(f"{split}: {len(splits[split])} photos, masks sha256 {each}")
    return out


def _said(done: int, name: str) -> None:
    if done % 5000 == 0:
        say(f"preparing COCO: {done} photos, the last is {name}")
