"""Which masks `getam report` shows: folders that are there, or those that a run's network makes of photos."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from getam.data.collection import match_files
from getam.data.formats.registry import find_tags
from getam.data.mask_folder import classes_of, masks_in
from getam.data.mask_formats.photo_files import by_name, match, photo_files
from getam.data.masks import CLASSES_FILE
from getam.data.photo_files import is_voc_layout
from getam.data.photo_folder import PROTOCOL
from getam.engine.model_file import MODEL, SEGMENTER, read_metadata
from getam.engine.runfolder import METRICS, RunFolder
from getam.errors import InputError
from getam.outputs.progress import say
from getam.report.browse.measures import Layer
from getam.verbs.label import label
from getam.verbs.predict import predict

FROM_SEGMENTER, FROM_MAPS, TRUE = "segmenter", "maps", "truth"


@dataclass(frozen=True)
class MaskFolder:
    """Masks of one kind.

    Attributes:
        layer: what the page calls them, and their classes.
        path: where they are.
    """

    layer: Layer
    path: Path

    @classmethod
    def of(cls, path: Path, name: str) -> MaskFolder:
        """Raises `InputError` where there is no folder, or no class list."""
        found = classes_of(path)
        return cls(Layer(name, found.names, found.void), path)


def is_run(path: Path) -> bool:
    """Whether a folder is a training's and not one of masks; a stage of labels is both, and its masks are looked at."""
    return not (path / CLASSES_FILE).is_file() and RunFolder(path).recorded() is not None


def run_of(source: Path) -> Path | None:
    """The run behind a source: itself, or what its masks' protocol calls their model; None where there is none now."""
    if is_run(source):
        return source
    model = _options(source).get("model")
    run = Path(model) if model else None
    has_log = run is not None and (any(run.glob(METRICS)) or any(run.glob(f"*/{METRICS}")))
    return run if has_log else None


def photos_of(masks: Path) -> Path:
    """Where the photos of masks are, as their protocol says.

    Raises:
        InputError: there is no protocol, or nothing where it says.
    """
    options = _options(masks)
    said = options.get("photos") or options.get("data")
    if not said:
        raise InputError(
            f"{masks} does not say where its photos are ({PROTOCOL}): give their folder with --photos"
        )
    if not Path(said).exists():
        raise InputError(
            f"{masks / PROTOCOL} says the photos are in {said}, which is not there: give their folder with --photos"
        )
    return Path(said)


def masks_of_run(
    run: Path, photos: Path, tags: Path | None, *, masks: Path, labels: Path | None, overwrite: bool
) -> list[MaskFolder]:
    """Masks that a run's network makes: by its segmenter, if it has one, and from its maps, if photos have tags.

    Args:
        run: a run folder with a model.
        photos: the folder.
        tags: as `label` takes them.
        masks: where those of the segmenter are kept.
        labels: where those from the maps are kept; None: none are made of a network with a segmenter.
        overwrite: replace masks that are there.

    Raises:
        InputError: the run has no model yet, a network without a segmenter has photos without tags, or as `label` and
            `predict`.
    """
    if not (run / MODEL).is_file():
        raise InputError(
            f"{run} has saved no model yet: train on, or leave --photos out for the curves alone"
        )
    segments = read_metadata(run / MODEL)[0] == SEGMENTER
    made = []
    if segments:
        made.append(MaskFolder.of(predict(photos, model=run, out=masks, overwrite=overwrite), FROM_SEGMENTER))
    if labels is None and segments:
        return made
    has_tags = tags is not None or (photos.is_dir() and find_tags(photos).exists())
    if has_tags:
        into = labels or masks
        made.append(
            MaskFolder.of(label(data=photos, tags=tags, model=run, out=into, overwrite=overwrite), FROM_MAPS)
        )
    elif segments:
        say(
            f"{photos} has no tags: the segmenter's masks are shown, none from maps; --tags takes a file of them"
        )
    else:
        raise InputError(
            f"{run} gives maps and no masks of its own, and {photos} has no tags: give them with --tags"
        )
    return made


def photos_by_mask(photos: Path, masks: Path) -> dict[str, tuple[Path, Path]]:
    """Name of each mask → (its photo, the mask).

    Raises:
        InputError: there is no mask, or one has no photo, or several.
    """
    files = masks_in(masks)
    if not files:
        raise InputError(f"{masks} holds no PNG: give a folder of masks, or a run folder")
    there = photo_files(photos / "JPEGImages" if is_voc_layout(photos) else photos, leave_out=masks)
    index = by_name(there)
    return {name: (there[match(name, index)], file) for name, file in files.items()}


def masks_beside(folder: MaskFolder, photos: Mapping[str, Path]) -> dict[str, Path]:
    """Name of a photo → its mask in another folder, of those that have one there.

    Raises:
        InputError: none has.
    """
    return match_files(folder.path, dict(photos), f"mask ({folder.layer.name})", required=False)


def _options(masks: Path) -> dict[str, Any]:
    """What the last call that wrote into a folder was asked; nothing where nobody noted it."""
    file = masks / PROTOCOL
    lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if file.is_file() else []
    for line in reversed(lines):
        try:
            return dict(json.loads(line)["options"])
        except (ValueError, KeyError, TypeError):
            continue
    return {}
