"""What a visitor does, step by step, without a page."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam.data.masks import read_classes, read_mask
from getam.errors import InputError
from getam.pipeline import Pipeline
from getam.web import visit as module
from getam.web.folder import open_folder
from getam.web.kept import KeptSet
from getam.web.limits import Limits
from getam.web.look import LABEL, PREDICT, TOLD, Found, open_photo
from getam.web.models import EMBEDDED, Models, Opened
from getam.web.pictures import brushes
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


@pytest.fixture
def app(scenes: Path, tmp_path: Path) -> App:
    folder = open_folder(scenes / "photos", scenes / "tags.csv")
    return App(Models(), Limits(), folder, KeptSet(tmp_path / "kept", folder.table, folder.names_of_rows()))


def strokes(
    size: tuple[int, int], name: str, place: tuple[slice, slice], classes: tuple[str, ...]
) -> np.ndarray:
    layer = np.zeros((*size, 4), np.uint8)
    layer[place] = (*brushes(classes)[name][1], 255)
    return layer


def found_of(rows: list[list[int]], classes: tuple[str, ...]) -> Found:
    return Found(LABEL, classes, label=np.array(rows, np.uint8))


def test_dropped_photos_come_first_and_same_names_are_numbered(app: App, tmp_path: Path) -> None:
    files = [tmp_path / "1" / "a.png", tmp_path / "2" / "a.png", tmp_path / "3" / "b.png"]
    now, first = drop(Visit(), files[:2])
    assert first == "dropped: a.png"
    again, nothing = drop(now, files[:2])
    assert (again, nothing) == (now, None)
    now, first = drop(now, files)
    assert first == "dropped: b.png"
    assert titles(app, now)[:4] == ["dropped: a.png", "dropped: a.png (2)", "dropped: b.png", "scene0.png"]
    assert list(now.dropped.values()) == files
    assert titles(App(app.models), Visit()) == []
    drop(Visit(), [Path(f"{i}.png") for i in range(200)])
    with pytest.raises(InputError, match="201 photos were dropped and 200 are taken"):
        drop(Visit(), [Path(f"{i}.png") for i in range(201)])


def test_a_photo_of_the_folder_opens_with_its_tags(app: App) -> None:
    now = open_title(app, Visit(), "scene2.png", EMBEDDED)
    assert now.open.tags == ("blue", "red")
    assert now.open.photo.name == "scene2"
    assert now.title == "scene2.png"
    with Image.open(app.folder.path / "scene2.png") as image:
        assert (now.open.photo.shown(1000) == np.asarray(image.convert("RGB"))).all()


def test_a_photo_without_tags_opens_with_those_that_are_found(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "found_tags", lambda opened, pixels: (opened.name, str(tuple(pixels.shape))))
    file = tmp_path / "../x" / "a b.png"
    file.parent.mkdir(exist_ok=True)
    Image.new("RGB", (6, 5)).save(file)
    now, title = drop(Visit(), [file])
    assert title is not None
    now = open_title(app, now, title, EMBEDDED)
    assert now.open.tags == (EMBEDDED, "(3, 5, 6)")
    assert now.open.photo.name == "a b"


def test_what_is_no_photo_of_the_list_or_too_large_is_refused(app: App) -> None:
    with pytest.raises(InputError, match="the folder has no photo"):
        open_title(app, Visit(), "../tags.csv", EMBEDDED)
    with pytest.raises(InputError, match="there is no photo"):
        open_title(App(app.models), Visit(), "scene0.png", EMBEDDED)
    with pytest.raises(InputError, match=r"scene0\.png has 48×40 pixels"):
        open_title(App(app.models, Limits(1, 0.0019), app.folder), Visit(), "scene0.png", EMBEDDED)
    with pytest.raises(InputError, match="no photo is open"):
        _ = Visit().open


def test_the_list_is_a_circle(app: App) -> None:
    now = Visit({"dropped: a.png": Path("a.png")}, "dropped: a.png")
    assert beside(app, now, 1) == "scene0.png"
    assert beside(app, now, -1) == "scene5.png"
    assert beside(app, Visit(title="scene5.png"), 1) == "scene0.png"
    assert beside(app, Visit(), 1) == "scene0.png"
    assert beside(App(app.models), Visit(), 1) is None


def test_sources_are_what_the_network_can_do(app: App) -> None:
    embedded = sources(app.models.open(EMBEDDED))
    assert embedded[0] == "getam"
    assert embedded[-3:] == (LABEL, TOLD, PREDICT)
    other = sources(Opened("x", object(), Pipeline()))
    assert LABEL not in other
    assert {TOLD, PREDICT}.isdisjoint(other)


ROWS = [[0, 1, 1, 2]] * 2
CLASSES = ("cat", "dog")


@pytest.fixture
def look() -> object:
    return open_photo("a", Path("a.png"), Image.new("RGB", (4, 2))).with_tags(["cat", "cow"])


def test_strokes_go_onto_the_mask_of_the_source(look) -> None:
    begun = begin_fixing(look, found_of(ROWS, CLASSES), 0.5)
    assert begun.fixed_classes == ("cat", "dog", "cow")  # every tag can be painted
    layer = strokes((2, 4), "cow", np.s_[0, :2], begun.fixed_classes)
    other = strokes((2, 4), "undecided", np.s_[1, 3:], begun.fixed_classes)
    rubbed = strokes((2, 4), "background", np.s_[1, 1:2], begun.fixed_classes)
    done = with_strokes(begun, [layer, other, rubbed])
    assert done.fixed.tolist() == [[3, 3, 1, 2], [0, 0, 1, 255]]
    assert mask_of(done, found_of([[0] * 4] * 2, CLASSES), 0.5) == (done.fixed, ("cat", "dog", "cow"))
    label, classes = mask_of(look, found_of(ROWS, CLASSES), 0.5)
    assert (label.tolist(), classes) == (ROWS, CLASSES)
    with pytest.raises(InputError, match="no mask is being fixed"):
        with_strokes(look, [layer])
    assert with_strokes(look, [None, layer * 0]) is look


def test_a_painted_mask_stays_and_an_unpainted_one_follows_the_source(look) -> None:
    begun = begin_fixing(look, found_of(ROWS, CLASSES), 0.5)
    assert end_fixing(begun, []).fixed is None
    layer = strokes((2, 4), "dog", np.s_[:, :1], begun.fixed_classes)
    painted = end_fixing(begun, [layer])
    assert painted.fixed.tolist() == [[2, 1, 1, 2]] * 2
    assert end_fixing(painted, []) is painted
    again = begin_fixing(painted.with_tags(["cat", "cow", "ant"]), found_of([[0] * 4] * 2, ("cat",)), 0.5)
    assert again.fixed.tolist() == [[2, 1, 1, 2]] * 2
    assert again.fixed_classes == ("cat", "dog", "cow", "ant")
    assert end_fixing(again, []).fixed is not None


def test_what_is_kept_is_what_was_painted_and_opens_again(app: App) -> None:
    now = open_title(app, Visit(), "scene0.png", EMBEDDED)
    size = now.open.photo.size
    source = Found(LABEL, ("red",), label=np.ones(size, np.uint8))
    begun = begin_fixing(now.open.with_tags(["red", "green"]), source, 0.5)
    layer = strokes(size, "green", np.s_[:10], begun.fixed_classes)
    assert keep(app, with_strokes(begun, [layer]), source, 0.5) == "scene0"
    place = app.kept.path / "masks"
    assert read_classes(place) == ("blue", "red", "green")
    assert (read_mask(place / "scene0.png")[:10] == 3).all()
    assert (read_mask(place / "scene0.png")[10:] == 2).all()
    again = open_title(app, Visit(), "scene0.png", EMBEDDED)
    assert again.open.tags == ("green", "red")  # as the table has them
    assert again.open.touched
    assert (again.open.fixed == np.where(np.arange(size[0])[:, None] < 10, 1, 2)).all()
    assert again.open.fixed_classes == ("green", "red")
    other = open_title(app, Visit(), "scene1.png", EMBEDDED)
    assert other.open.fixed is None


def test_without_a_place_nothing_is_kept(app: App) -> None:
    now = open_title(app, Visit(), "scene0.png", EMBEDDED)
    with pytest.raises(InputError, match="start the app with --keep DIR"):
        keep(App(app.models, folder=app.folder), now.open, found_of(ROWS, CLASSES), 0.5)
