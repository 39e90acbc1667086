"""One visitor's photos, the one that is open, and what is done with it; nothing here knows Gradio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from getam.data.masks import LabelMap
from getam.errors import InputError
from getam.web.folder import PhotoFolder
from getam.web.kept import Finished, KeptSet, safe_name
from getam.web.limits import Limits
from getam.web.look import LABEL, MOST, PREDICT, TOLD, Found, Look, found_tags, in_numbers_of, open_photo
from getam.web.models import Models, Opened, methods_of
from getam.web.pictures import brushes
from getam.web.strokes import painted, together

MOST_DROPPED = 200  # photos one visitor may have dropped at once


@dataclass(frozen=True)
class App:
    """What one started app works with, the same for every visitor.

    Attributes:
        models: networks that may be opened.
        limits: of photos.
        folder: whose photos are shown; None: only dropped ones.
        kept: where accepted masks go; None: nowhere.
    """

    models: Models
    limits: Limits = field(default_factory=Limits)
    folder: PhotoFolder | None = None
    kept: KeptSet | None = None


@dataclass(frozen=True)
class Visit:
    """One visitor.

    Attributes:
        dropped: name on the page → file.
        title: of the open photo on the page.
        look: the open photo.
    """

    dropped: Mapping[str, Path] = field(default_factory=dict)
    title: str | None = None
    look: Look | None = None

    @property
    def open(self) -> Look:
        """The open photo. Raises `InputError` where there is none."""
        if self.look is None:
            raise InputError("no photo is open: drop one, or choose one of the list")
        return self.look


def titles(app: App, visit: Visit) -> list[str]:
    """Names of all photos on the page: dropped ones first."""
    return [*visit.dropped, *(app.folder.names if app.folder else ())]


def drop(visit: Visit, files: Sequence[Path]) -> tuple[Visit, str | None]:
    """Photos that were dropped, by the names they had, numbered where two are the same; and the title of the first.

    Raises:
        InputError: there are too many.
    """
    dropped = dict(visit.dropped)
    new = [file for file in files if file not in dropped.values()]
    if len(dropped) + len(new) > MOST_DROPPED:
        raise InputError(
            f"{len(dropped) + len(new)} photos were dropped and {MOST_DROPPED} are taken at once: start the app with"
            " --folder for more"
        )
    first = None
    for file in new:
        title, number = f"dropped: {file.name}", 2
        while title in dropped:
            title, number = f"dropped: {file.name} ({number})", number + 1
        dropped[title] = file
        first = first or title
    return replace(visit, dropped=dropped), first


def open_title(app: App, visit: Visit, title: str, model: str) -> Visit:
    """Open a photo, with its tags: those it was kept with, else the folder's, else those the network finds.

    Its mask is the one that was kept of it, where one was.

    Raises:
        InputError: there is no such photo, it is too large, or cannot be read.
    """
    if title in visit.dropped:
        file = visit.dropped[title]
        name, tags = safe_name(file.name), None
    elif app.folder is not None:
        file = app.folder.file(title)
        name, tags = str(Path(title).with_suffix("").as_posix()), app.folder.tags(title)
    else:
        raise InputError(f"there is no photo {title!r}: drop one, or choose one of the list")
    look = open_photo(name, file, app.limits.read(file, Path(title).name.removeprefix("dropped: ")))
    before = None if app.kept is None else app.kept.mask(name, file)
    if app.kept is not None and before is not None:
        tags = app.kept.tags()[name]
    if tags is None:
        tags = found_tags(app.models.open(model), look.photo.pixels)
    look = look.with_tags(tags[:MOST])
    if before is not None:
        classes = tuple(dict.fromkeys((*look.tags, *_shown(*before))))
        look = look.with_fixed(in_numbers_of(*before, classes), classes, touched=True)
    return replace(visit, title=title, look=look)


def _shown(label: LabelMap, classes: Sequence[str]) -> list[str]:
    """The classes that a mask has pixels of."""
    return [name for number, name in enumerate(classes, start=1) if (label == number).any()]


def beside(app: App, visit: Visit, step: int) -> str | None:
    """The title `step` places after the open one, in a circle; None where there are no photos."""
    all_titles = titles(app, visit)
    if not all_titles:
        return None
    if visit.title not in all_titles:
        return all_titles[0]
    return all_titles[(all_titles.index(visit.title) + step) % len(all_titles)]


def sources(opened: Opened) -> tuple[str, ...]:
    """What can say which pixels are whose with a network: its map methods, and where it can labels and its decoder."""
    return (
        *methods_of(opened),
        *((LABEL,) if opened.labels else ()),
        *((TOLD, PREDICT) if opened.predicts else ()),
    )


def mask_of(look: Look, found: Found, threshold: float) -> tuple[LabelMap, tuple[str, ...]]:
    """The mask at the photo's size and its classes: the one a person has worked on, else the source's."""
    if look.fixed is not None:
        return look.fixed, look.fixed_classes
    return found.mask(threshold, look.photo.size), found.classes


def begin_fixing(look: Look, found: Found, threshold: float) -> Look:
    """The source's mask as the one that is worked on, all tags paintable; one that is worked on already stays.

    Tags that came since are added to its classes.

    Raises:
        InputError: there are too many classes.
    """
    label, classes = mask_of(look, found, threshold)
    more = (*classes, *(tag for tag in look.tags if tag not in classes))
    if len(more) > MOST:
        raise InputError(
            f"{len(more)} classes are too many to paint: {MOST} have colours that can be told apart"
        )
    return look.with_fixed(in_numbers_of(label, classes, more), more, touched=look.touched)


def end_fixing(look: Look, layers: Sequence[NDArray[Any] | None]) -> Look:
    """The strokes put on the mask; one that nobody has painted on is the source's again, and follows its threshold."""
    done = with_strokes(look, layers)
    return done if done.touched else done.with_fixed(None)


def with_strokes(look: Look, layers: Sequence[NDArray[Any] | None]) -> Look:
    """The mask that is worked on with strokes on it; without strokes as it is.

    Raises:
        InputError: no mask is worked on, or the strokes do not fit it.
    """
    layer = together(layers)
    if layer is None:
        return look
    if look.fixed is None:
        raise InputError("no mask is being fixed: open the page's part Fix first")
    table = brushes(look.fixed_classes).values()
    colours = np.array([colour for _, colour in table], np.uint8)
    label = painted(look.fixed, layer, colours, [number for number, _ in table])
    return look.with_fixed(label, look.fixed_classes, touched=True)


def keep(app: App, look: Look, found: Found, threshold: float) -> str:
    """Write the mask into the data set of kept masks; returns the name it has there.

    Raises:
        InputError: the app keeps nothing, or as `KeptSet.keep`.
    """
    if app.kept is None:
        raise InputError("masks are kept nowhere: start the app with --keep DIR")
    label, classes = mask_of(look, found, threshold)
    return app.kept.keep(Finished(look.photo.name, look.photo.file, look.tags, label, classes))
