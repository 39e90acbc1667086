"""What the page shows after each thing a visitor does: what `visit` and `look` give, as values of Gradio's parts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from getam.errors import GetamError
from getam.web.downloads import files_of
from getam.web.look import Found, Look, agreement, in_numbers_of, shown_size
from getam.web.pictures import (
    EDITED,
    SHOWN,
    brushes,
    css,
    label_over,
    legend,
    map_picture,
    mask_picture,
    shares,
)
from getam.web.visit import (
    App,
    Visit,
    begin_fixing,
    beside,
    drop,
    end_fixing,
    keep,
    mask_of,
    open_title,
    sources,
    titles,
    with_strokes,
)
from getam.whole_files import write_atomically

NOTHING = "nothing"
LOOK, FIX = "look", "fix"
STAY = 12  # seconds a message stays


def said(function: Callable[..., Any]) -> Callable[..., Any]:
    """Errors meant for people become a message on the page."""

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except GetamError as error:
            raise gr.Error(str(error), duration=STAY, print_exception=False) from None

    return call


class Answers:
    """Of one app; each method gives new values for the parts its event names as outputs.

    Args:
        app: what it works with.
        place: where files to download are put.
    """

    def __init__(self, app: App, place: Path) -> None:
        self.app = app
        self.place = place

    @said
    def take(self, now: Visit, paths: Sequence[str] | None) -> list[Any]:
        """Photos were dropped. → visit, list of photos."""
        now, first = drop(now, [Path(path) for path in paths or ()])
        return [now, gr.Dropdown(titles(self.app, now), value=first or now.title)]

    def previous(self, now: Visit) -> str | None:
        """→ photo."""
        return beside(self.app, now, -1)

    def following(self, now: Visit) -> str | None:
        """→ photo."""
        return beside(self.app, now, 1)

    @said
    def show(self, now: Visit, title: str | None, model: str) -> list[Any]:
        """A photo was chosen. → visit, tags."""
        if not title or title == now.title:
            return [now, gr.skip()]
        now = open_title(self.app, now, title, model)
        return [now, list(now.open.tags)]

    @said
    def use(self, now: Visit, model: str, source: str | None, other: str) -> list[Any]:
        """A network was chosen. → tags and what they are chosen from, method, the one beside it."""
        opened = self.app.models.open(model)
        its = list(sources(opened))
        return [
            gr.Dropdown(list(opened.class_names()), value=list(now.look.tags) if now.look else []),
            gr.Dropdown(its, value=source if source in its else its[0]),
            gr.Dropdown([NOTHING, *its], value=other if other in its else NOTHING),
        ]

    @said
    def tag(self, now: Visit, tags: Sequence[str]) -> Visit:
        """Tags were chosen. → visit."""
        return now if now.look is None else replace(now, look=now.look.with_tags(tags))

    @said
    def look(
        self, now: Visit, model: str, source: str, other: str, threshold: float, shown: str | None
    ) -> list[Any]:
        """Ask the sources; what was asked before is at hand. → visit, which map is shown, as `_drawn`."""
        if now.look is None:
            return [gr.skip()] * 9
        now, one, two = self._both(now, model, source, other)
        mapped = [found.classes[place] for found in (one, two) if found for place in found.mapped]
        names = list(dict.fromkeys(mapped))
        chosen = shown if shown in names else next(iter(names), None)
        radio = gr.Radio(names, value=chosen, visible=len(names) > 1)
        return [now, radio, *_drawn(now.open, one, two, threshold, chosen)]

    @said
    def draw(
        self, now: Visit, model: str, source: str, other: str, threshold: float, shown: str | None
    ) -> list[Any]:
        """A threshold or the map that is shown was moved: masks alone are made anew. → as `_drawn`."""
        one = two = None
        if now.look is not None:
            one, two = (now.look.known(model.strip(), name) for name in (source, other))
        if now.look is None or one is None or (two is None and other != NOTHING):
            return [gr.skip()] * 7  # what is being found out draws itself when it is there
        return _drawn(now.look, one, two, threshold, shown)

    @said
    def fix(self, now: Visit, model: str, source: str, threshold: float) -> list[Any]:
        """Begin to paint; strokes that are in the editor stay there. → visit, what is painted with, editor."""
        if now.look is None:
            return [gr.skip()] * 3
        now, one, _ = self._both(now, model, source, NOTHING)
        begun = begin_fixing(now.open, one, threshold)
        assert begun.fixed is not None
        picture = label_over(begun, begun.fixed, EDITED) if now.open.fixed is None else None
        return [replace(now, look=begun), *_editor(begun, picture)]

    @said
    def refix(self, now: Visit, tab: str, model: str, source: str, threshold: float) -> list[Any]:
        """Another photo was opened: nothing of the one before stays. → as `fix`, files."""
        no_files = gr.File(value=None, visible=False)
        if tab == FIX:
            return [*self.fix(now, model, source, threshold), no_files]
        return [gr.skip(), gr.skip(), gr.ImageEditor(value=None), no_files]

    @said
    def restart(self, now: Visit, model: str, source: str, threshold: float) -> list[Any]:
        """From the method's mask again. → as `fix`."""
        return self.fix(replace(now, look=now.open.with_fixed(None)), model, source, threshold)

    @said
    def put(self, now: Visit, value: Any) -> list[Any]:
        """Put the strokes on the mask. → as `fix`."""
        look = with_strokes(now.open, _layers(value))
        picture = None if look.fixed is None else label_over(look, look.fixed, EDITED)
        return [replace(now, look=look), *_editor(look, picture)]

    @said
    def look_at(self, now: Visit, value: Any) -> Visit:
        """Back from painting. → visit."""
        return now if now.look is None else replace(now, look=end_fixing(now.look, _layers(value)))

    def choose(self, now: Visit, name: str) -> Any:
        """A colour was chosen. → editor."""
        return gr.ImageEditor(brush=brush(now.open.fixed_classes, name))

    @said
    def store(self, now: Visit, model: str, source: str, threshold: float, value: Any) -> list[Any]:
        """Keep the mask. → visit, note."""
        now, one, _ = self._both(now, model, source, NOTHING)
        name = keep(self.app, _with_pending(now.open, value), one, threshold)
        assert self.app.kept is not None
        return [now, f"Kept as **{name}**: {len(self.app.kept.names())} in {self.app.kept.path}."]

    @said
    def hand_out(self, now: Visit, model: str, source: str, threshold: float, value: Any) -> Any:
        """→ files."""
        now, one, _ = self._both(now, model, source, NOTHING)
        label, classes = mask_of(_with_pending(now.open, value), one, threshold)
        folder = Path(tempfile.mkdtemp(dir=self.place))  # of its own: photos of one name are different
        made = files_of(now.open.photo.name, label, classes, one.maps)
        for name, content in made.items():
            write_atomically(folder / name, content)
        return gr.File(value=[str(folder / name) for name in made], visible=True)

    def _both(self, now: Visit, model: str, source: str, other: str) -> tuple[Visit, Found, Found | None]:
        opened = self.app.models.open(model)
        look, one = now.open.ask(opened, source)
        two = None
        if other != NOTHING:
            look, two = look.ask(opened, other)
        return replace(now, look=look), one, two


def brush(classes: Sequence[str], name: str | None) -> Any:
    """A brush with the colours of the classes, the named one's in it."""
    named = {each: css(colour) for each, (_, colour) in brushes(classes).items()}
    chosen = named.get(name or "", next(iter(named.values())))
    return gr.Brush(
        default_size="auto", colors=list(named.values()), default_color=chosen, color_mode="fixed"
    )


def _drawn(look: Look, one: Found, two: Found | None, threshold: float, shown: str | None) -> list[Any]:
    """Row of the second, map, mask, second map, second mask, legend, note."""
    label, classes = mask_of(look, one, threshold)
    text = "The mask is the one that was painted or kept before. " if look.fixed is not None else ""
    if two is not None:
        size = shown_size(look.photo.size, SHOWN)
        all_classes = tuple(dict.fromkeys((*one.classes, *two.classes)))
        masks = [in_numbers_of(f.mask(threshold, size), f.classes, all_classes) for f in (one, two)]
        text += f"The two masks agree on {agreement(*masks):.0%} of the photo."
    pictures = []
    for found in (one, two):
        if found is None:
            pictures += [gr.Image(value=None), gr.Image(value=None)]
            continue
        heat = map_picture(look, found, shown)
        pictures += [
            gr.Image(value=heat, label=f"{found.source}: map of {shown}", visible=heat is not None),
            gr.Image(value=mask_picture(look, found, threshold), label=f"{found.source}: mask"),
        ]
    if look.fixed is not None:
        pictures[1] = gr.Image(value=label_over(look, look.fixed, SHOWN), label="mask: painted or kept")
    return [
        gr.Row(visible=two is not None),
        *pictures,
        legend(classes, shares(label, classes), one.unknown),
        text,
    ]


def _editor(look: Look, picture: Any) -> list[Any]:
    """What is painted with, and the editor: with another picture and no strokes, or where it is None as it is."""
    names = list(brushes(look.fixed_classes))
    value = {} if picture is None else {"value": {"background": picture, "layers": [], "composite": picture}}
    return [
        gr.Radio(names, value=names[0]),
        gr.ImageEditor(brush=brush(look.fixed_classes, names[0]), **value),
    ]


def _with_pending(look: Look, value: Any) -> Look:
    """With the strokes that are in the editor, where a mask is worked on."""
    return look if look.fixed is None else with_strokes(look, _layers(value))


def _layers(value: Any) -> list[Any]:
    return list((value or {}).get("layers") or [])
