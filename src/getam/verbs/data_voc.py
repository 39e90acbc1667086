"""`getam data voc`: PASCAL VOC 2012 and SBD as one folder that every verb reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from getam.data.new_folder import new_folder
from getam.data.official import voc
from getam.data.official.prepared import opened
from getam.outputs.progress import progress, say
from getam.verbs.fetching import fetch_missing
from getam.verbs.from_python import from_python


@from_python
def data_voc(
    *,
    out: Path,
    from_: Annotated[Path, tyro.conf.arg(name="from")] = Path(),
    download: bool = False,
) -> Path:
    """Prepare PASCAL VOC 2012 with SBD's masks: photos, tags, SegmentationClassAug and the split train_aug.

    Tags are the objects in VOC's XML, difficult ones too. `getam train --data OUT --split train_aug` reads the result;
    the masks are OUT/SegmentationClassAug, and their hash is in OUT/masks.sha256.

    Args:
        out: a new folder.
        from_: folder with VOCtrainval_11-May-2012.tar and benchmark.tgz, or what they hold, unpacked: VOCdevkit and
            benchmark_RELEASE.
        download: fetch the archives that are not there, about 3 GB, into that folder.

    Returns:
        `out`.

    Raises:
        InputError: archives are missing, which says what to fetch; they are damaged; or `out` exists.
    """
    with new_folder(out) as made:
        if download:
            fetch_missing(voc.ARCHIVES, from_)
        with (
            opened(from_, voc.ARCHIVES, made.parent) as (first, second),
            progress("preparing VOC", voc.TRAIN_AUG + 1449) as advance,
        ):
            done = voc.prepare(first, second, made, advance)
    photos = len(done.splits["train_aug"])
    if photos != voc.TRAIN_AUG:
        say(f"train_aug has {photos} photos, not the {voc.TRAIN_AUG} of the complete archives")
    for split, each in done.hashes.items():
        say(f"{split}: {len(done.splits[split])} photos, masks sha256 {each}")
    return out
