"""What is kept, read back by those who train and score, and by Pillow."""

import csv
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import getam
from getam.data import masks
from getam.data.collection import load_collection, load_sample_mask
from getam.errors import InputError
from getam.web.folder import open_folder
from getam.web.kept import Finished, KeptSet, safe_name


def photo(path: Path, colour: int = 10, size: tuple[int, int] = (4, 5)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (colour, 20, 30)).save(path)
    return path


def label_of(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, np.uint8)


FIRST = label_of([[0, 1, 2, 255, 0]] * 4)


@pytest.fixture
def kept(tmp_path: Path) -> KeptSet:
    return KeptSet(tmp_path / "kept")


@pytest.fixture
def done(tmp_path: Path) -> Finished:
    return Finished("farm/a", photo(tmp_path / "in" / "a.png"), ("cat", "dog"), FIRST, ("cat", "dog"))


def numbers(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def test_photo_mask_classes_and_tags_are_where_training_looks(kept: KeptSet, done: Finished) -> None:
    assert kept.keep(done) == "farm/a"
    assert (kept.path / "photos/farm/a.png").read_bytes() == done.photo.read_bytes()
    assert (numbers(kept.path / "masks/farm/a.png") == FIRST).all()
    assert (kept.path / "masks/classes.txt").read_text() == "background\ncat\ndog\n"
    assert list(csv.reader((kept.path / "tags.csv").open())) == [
        ["image", "tags"],
        ["farm/a.png", "cat;dog"],
    ]
    assert kept.names() == ("farm/a",)
    assert kept.tags() == {"farm/a": ("cat", "dog")}
    assert not (kept.path / "corrected-tags.csv").exists()
    collection = load_collection(kept.path / "photos", kept.path / "tags.csv", masks=kept.path / "masks")
    (sample,) = collection.samples
    assert (sample.tags, collection.classes) == (("cat", "dog"), ("cat", "dog"))
    assert (load_sample_mask(sample, collection, (4, 5)) == FIRST).all()


def test_classes_are_added_at_the_end_and_masks_keep_their_meaning(
    kept: KeptSet, done: Finished, tmp_path: Path
) -> None:
    kept.keep(done)
    other = Finished("b", photo(tmp_path / "in" / "b.png", 99), ("ant", "dog"), FIRST, ("dog", "ant"))
    kept.keep(other)
    assert (kept.path / "masks/classes.txt").read_text() == "background\ncat\ndog\nant\n"
    assert (numbers(kept.path / "masks/b.png") == label_of([[0, 2, 3, 255, 0]] * 4)).all()
    assert (numbers(kept.path / "masks/farm/a.png") == FIRST).all()
    assert kept.names() == ("farm/a", "b")


def test_a_class_that_the_mask_shows_is_a_tag(kept: KeptSet, done: Finished) -> None:
    """And one that is tagged stays one, though no pixel shows it."""
    kept.keep(replace(done, tags=("ant",), classes=("cat", "dog", "bee")))
    assert kept.tags() == {"farm/a": ("ant", "cat", "dog")}
    assert (kept.path / "masks/classes.txt").read_text() == "background\nant\ncat\ndog\n"
    assert (numbers(kept.path / "masks/farm/a.png") == label_of([[0, 2, 3, 255, 0]] * 4)).all()


def test_the_same_photo_again_replaces_what_was_kept(kept: KeptSet, done: Finished) -> None:
    kept.keep(done)
    kept.keep(replace(done, label=FIRST * 0, tags=("cat",)))
    assert kept.tags() == {"farm/a": ("cat",)}
    assert (numbers(kept.path / "masks/farm/a.png") == 0).all()
    assert (kept.path / "masks/classes.txt").read_text() == "background\ncat\ndog\n"


def test_another_photo_of_the_same_name_is_kept_beside_it(
    kept: KeptSet, done: Finished, tmp_path: Path
) -> None:
    kept.keep(done)
    other = replace(done, photo=photo(tmp_path / "elsewhere" / "a.jpg", 200))
    name = kept.keep(other)
    assert name.startswith("farm/a-")
    assert len(name) == len("farm/a-") + 8
    assert kept.keep(other) == name
    assert kept.names() == ("farm/a", name)
    assert (kept.path / "photos/farm/a.png").read_bytes() == done.photo.read_bytes()
    assert (kept.path / f"photos/{name}.jpg").read_bytes() == other.photo.read_bytes()


def test_a_photo_of_nothing_is_kept_where_there_are_classes(
    kept: KeptSet, done: Finished, tmp_path: Path
) -> None:
    nothing = Finished("n", photo(tmp_path / "in" / "n.png", 77), (), FIRST * 0, ())
    with pytest.raises(InputError, match="a data set needs a class"):
        kept.keep(nothing)
    assert not (kept.path / "tags.csv").exists()
    kept.keep(done)
    kept.keep(nothing)
    assert kept.tags()["n"] == ()
    assert (numbers(kept.path / "masks/n.png") == 0).all()


def test_a_photo_whose_file_is_gone_is_one_sentence(kept: KeptSet, done: Finished) -> None:
    done.photo.unlink()
    with pytest.raises(InputError, match=r"the file of farm/a is gone: drop the photo again"):
        kept.keep(done)


def test_more_classes_than_fit_are_refused_before_anything_is_written(kept: KeptSet, done: Finished) -> None:
    kept.keep(done)
    many = tuple(f"c{number}" for number in range(253))
    with pytest.raises(InputError, match="would have 255 classes and 254 are possible"):
        kept.keep(replace(done, tags=many))
    assert kept.tags() == {"farm/a": ("cat", "dog")}
    kept.keep(replace(done, tags=many[:252]))


def test_tags_of_the_folder_are_corrected_beside(tmp_path: Path, done: Finished) -> None:
    folder = tmp_path / "in"
    photo(folder / "b.png", 88)
    photo(folder / "c.png", 89)
    (folder / "tags.csv").write_text("image,cow,dog\nb.png,1,?\na.png,1,0\nc.png,0,1\n")
    opened = open_folder(folder)
    kept = KeptSet(tmp_path / "kept", opened.table, opened.names_of_rows())
    kept.keep(replace(done, name="a"))
    rows = list(csv.reader((kept.path / "corrected-tags.csv").open()))
    assert rows == [
        ["image", "cow", "dog", "cat"],
        ["b.png", "1", "?", "?"],
        ["a.png", "0", "1", "1"],
        ["c.png", "0", "1", "?"],
    ]
    assert (kept.path / "masks/classes.txt").read_text() == "background\ncow\ndog\ncat\n"
    collection = load_collection(folder, kept.path / "corrected-tags.csv", masks=kept.path / "masks")
    assert {sample.name: sample.mask for sample in collection.samples} == {
        "a": kept.path / "masks/a.png",
        "b": None,
        "c": None,
    }
    assert (folder / "tags.csv").read_text() == "image,cow,dog\nb.png,1,?\na.png,1,0\nc.png,0,1\n"


def test_it_is_evaluated_as_it_is(kept: KeptSet, done: Finished) -> None:
    kept.keep(done)
    scores = getam.evaluate(kept.path / "masks", kept.path / "masks")
    assert scores.miou == 1


@pytest.mark.parametrize("writes", range(4))
def test_whatever_stops_it_what_the_table_lists_is_whole(
    kept: KeptSet, done: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    kept.keep(done)
    left = [writes]
    real = masks.write_atomically

    def stop(path: Path, content: bytes) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(path, content)

    monkeypatch.setattr("getam.web.kept.write_atomically", stop)
    monkeypatch.setattr(masks, "write_atomically", stop)
    other = Finished("b", photo(tmp_path / "in" / "b.png", 99), ("ant",), FIRST, ("cat", "ant"))
    with pytest.raises(KeyboardInterrupt):
        kept.keep(other)
    collection = load_collection(kept.path / "photos", kept.path / "tags.csv", masks=kept.path / "masks")
    assert [sample.name for sample in collection.samples] == ["farm/a"]
    assert (load_sample_mask(collection.samples[0], collection, (4, 5)) == FIRST).all()


def test_several_visitors_keep_at_once(kept: KeptSet, done: Finished, tmp_path: Path) -> None:
    all_done = [
        replace(
            done,
            name=f"p{i}",
            photo=photo(tmp_path / "in" / f"p{i}.png", i),
            tags=(f"c{i}",),
            classes=("x", "y"),
        )
        for i in range(8)
    ]
    threads = [threading.Thread(target=kept.keep, args=(each,)) for each in all_done]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept.names()) == [f"p{i}" for i in range(8)]
    assert sorted(masks.read_classes(kept.path / "masks")) == [*(f"c{i}" for i in range(8)), "x", "y"]


def test_only_a_folder_of_its_own_is_written_into(kept: KeptSet, done: Finished, tmp_path: Path) -> None:
    kept.check()
    assert not kept.path.exists()
    kept.keep(done)
    kept.check()
    (tmp_path / "mine").mkdir()
    KeptSet(tmp_path / "mine").check()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(InputError, match="mine holds other things than masks that were kept"):
        KeptSet(tmp_path / "mine").check()
    with pytest.raises(InputError, match=r"thesis\.txt is a file"):
        KeptSet(tmp_path / "mine" / "thesis.txt").check()
    (kept.path / "masks/classes.txt").write_text("cat\n")
    with pytest.raises(InputError, match="'cat' where 'background' is expected"):
        kept.check()


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("a.jpg", "a"), ("../../etc/passwd", "passwd"), ("C:\\photos\\my cat.JPG", "my cat"), (".hidden.png", "hidden"),
        ("..", "photo"), ("", "photo"), ("a:b*c?.png", "abc"), ("x" * 300 + ".png", "x" * 100), ("a\nb.png", "ab"),
        ("été.jpeg", "été"),
    ],
)  # fmt: skip
def test_names_of_dropped_files_are_names_of_nothing_else(given: str, safe: str) -> None:
    assert safe_name(given) == safe
