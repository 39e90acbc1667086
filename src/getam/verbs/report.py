"""`getam report`: a page to look through masks with, thousands of them, that opens from disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from getam.data.confidences import read_confidences
from getam.data.masks import LabelMap, read_mask
from getam.data.new_folder import new_folder
from getam.data.overlap import read_ahead
from getam.data.photo_folder import PROTOCOL
from getam.data.photos import read_photo_near
from getam.errors import InputError
from getam.outputs.folder import in_the_way
from getam.outputs.progress import progress
from getam.report.browse.measures import Layer, measured, order_to_look
from getam.report.browse.page import MARK, Entry, page
from getam.report.browse.pictures import PICTURES, THUMBS, VIEW_SIDE, write_pictures
from getam.report.browse.summary import class_plots, sentences
from getam.report.learning import training_plots
from getam.verbs.from_python import from_python
from getam.verbs.report_masks import (
    TRUE,
    MaskFolder,
    is_run,
    masks_beside,
    masks_of_run,
    photos_by_mask,
    photos_of,
    run_of,
)

PAGE = "index.html"


@from_python
def gallery(
    source: Path,
    /,
    *,
    photos: Path | None = None,
    tags: Path | None = None,
    truth: Path | None = None,
    against: Path | None = None,
    out: Path = Path("report"),
    overwrite: bool = False,
) -> Path:
    """Make a page of photos and their masks, to sort, filter and compare, and of what a training has learned.

    It opens from disk and loads nothing from elsewhere: index.html with its pictures beside it, to be zipped and sent.

    Args:
        source: folder of masks, as label and predict write them, or a run folder, whose masks of `photos` are made: by
            its segmenter and, where there are tags, from its maps, so that the two can be compared.
        photos: folder of the photos; where the masks' protocol.jsonl says when left out. A run without photos has a
            page of its curves.
        tags: of the photos, for a run: as in label; what lies in `photos` when left out.
        truth: folder of true masks with their classes.txt; photos that have none are shown all the same.
        against: another folder of masks, or a run whose masks are made: the page sorts by where the two disagree.
        out: folder of the page. Masks of runs are kept beside it, in OUT-masks, OUT-labels and OUT-against.
        overwrite: replace a page that `getam report` has made, and masks of runs.

    Returns:
        Path of the page.

    Raises:
        InputError: no masks or photos, some that do not fit each other, or files in the way.
    """
    _refuse_others(out, overwrite=overwrite)
    run = run_of(source)
    if run == source and photos is None:
        return _write(out, "/".join(source.resolve().parts[-2:]), ["Give --photos to see what it makes of them."],
                      training_plots(run), overwrite=overwrite)  # fmt: skip
    if run == source:
        where = Path(photos or "")
        masks, *others = masks_of_run(
            source,
            where,
            tags,
            masks=_beside(out, "masks"),
            labels=_beside(out, "labels"),
            overwrite=overwrite,
        )
    elif tags is not None:
        raise InputError(f"{source} holds masks already: --tags belongs to a run folder")
    else:
        masks, others = MaskFolder.of(source, source.resolve().name), []
        where = photos if photos is not None else photos_of(source)
    if against is not None:
        others = [_against(against, where, out, masks.layer.name, overwrite=overwrite)]
    if truth is not None:
        others.append(MaskFolder.of(truth, TRUE))
    return _write_gallery(out, where, [masks, *others], run, overwrite=overwrite)


def _against(path: Path, photos: Path, out: Path, taken: str, *, overwrite: bool) -> MaskFolder:
    """The masks to compare with, called otherwise than those that are looked at."""
    if is_run(path):
        path = masks_of_run(
            path, photos, None, masks=_beside(out, "against"), labels=None, overwrite=overwrite
        )[0].path
    name = path.resolve().name
    return MaskFolder.of(path, name if name not in (taken, TRUE) else str(path))


def _write_gallery(
    out: Path, photos: Path, folders: Sequence[MaskFolder], run: Path | None, *, overwrite: bool
) -> Path:
    """The page of the masks in the first folder, beside those in the others."""
    pairs = photos_by_mask(photos, folders[0].path)
    beside = [
        masks_beside(folder, {name: photo for name, (photo, _) in pairs.items()}) for folder in folders[1:]
    ]
    layers = [folder.layer for folder in folders]
    classes = tuple(dict.fromkeys(name for layer in layers for name in layer.names))
    rival = next((layer.name for layer in layers[1:] if layer.name != TRUE), None)
    with new_folder(out, replace=overwrite) as making:
        (making / THUMBS).mkdir()
        (making / PICTURES).mkdir()

        def draw(numbered: tuple[int, str]) -> Entry:
            place, name = numbered
            photo, mask = pairs[name]
            files = [mask, *(its.get(name) for its in beside)]
            return _draw(making, place, name, photo, list(zip(layers, files)), classes)

        entries: dict[str, Entry] = {}
        with progress("drawing", len(pairs)) as advance:
            for (place, name), entry in read_ahead(enumerate(sorted(pairs)), draw):
                entries[name] = entry
                advance(place + 1, name)
        measures = {name: entry.measures for name, entry in entries.items()}
        text = page(
            title="/".join(folders[0].path.resolve().parts[-2:]),
            said=sentences(list(measures.values()), rival),
            plots=[
                *class_plots(list(measures.values()), classes, rival),
                *(training_plots(run) if run is not None else []),
            ],
            classes=classes,
            layers=[layer.name for layer in layers],
            entries=[entries[name] for name in order_to_look(measures)],
        )
        (making / PAGE).write_bytes(text.encode(errors="surrogateescape"))
        _note(making, {"photos": len(entries), "masks": [layer.name for layer in layers]})
    return out / PAGE


def _draw(
    folder: Path,
    place: int,
    name: str,
    photo: Path,
    masks: Sequence[tuple[Layer, Path | None]],
    classes: Sequence[str],
) -> Entry:
    """Write the pictures of one photo, and measure its masks."""
    picture, size = read_photo_near(photo, VIEW_SIDE)
    labels: dict[int, LabelMap] = {
        number: read_mask(file, size) for number, (_, file) in enumerate(masks) if file is not None
    }
    layers = [layer for layer, _ in masks]
    others = {layers[number].name == TRUE: (labels[number], layers[number]) for number in labels if number}
    own = masks[0][1]
    assert own is not None
    try:
        found = measured(
            labels[0], layers[0], classes, confidences=read_confidences(own), other=others.get(False),
            truth=others.get(True),
        )  # fmt: skip
        shown = {number: layers[number].into(label, classes) for number, label in labels.items()}
    except InputError as error:
        raise InputError(f"masks of {name}: {error}") from None
    write_pictures(folder, place, picture, size, shown, len(classes))
    return Entry(name, place, size, tuple(number in labels for number in range(len(masks))), found)


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.name}-{what}")


def _refuse_others(out: Path, *, overwrite: bool) -> None:
    """Raises `InputError` where the page would take the place of anything but a page of ours."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    page = out / PAGE
    if not page.is_file() or MARK.encode() not in page.read_bytes()[:2000]:
        raise InputError(f"{out} exists and is no page of `getam report`: choose another --out")
    if not overwrite:
        raise in_the_way(out)


def _write(out: Path, title: str, said: list[str], plots: Sequence[str], *, overwrite: bool) -> Path:
    """A page without photos."""
    if not plots:
        raise InputError("the run has logged nothing yet: train on, or give --photos")
    with new_folder(out, replace=overwrite) as making:
        (making / PAGE).write_text(page(title=title, said=said, plots=plots), encoding="utf-8")
        _note(making, {"photos": 0})
    return out / PAGE


def _note(folder: Path, facts: Mapping[str, Any]) -> None:
    """A protocol says that the pictures in here are results: no verb takes them for photos."""
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    (folder / PROTOCOL).write_text(json.dumps({"verb": "report", "finished": finished, **facts}) + "\n")
