"""What changed between two readings of a data set is named, whatever it is."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam.data.collection import Collection, load_collection
from getam.data.fingerprint import Fingerprint, Row, changes, file_hash, read_fingerprint, take_fingerprint
from getam.errors import InputError


@pytest.fixture
def folder(scenes: Path, tmp_path: Path) -> Path:
    shutil.copytree(scenes, tmp_path / "scenes")
    (tmp_path / "scenes" / "saliency").mkdir()
    for photo in (tmp_path / "scenes" / "photos").iterdir():
        Image.fromarray(np.full((4, 5), 9, np.uint8)).save(tmp_path / "scenes" / "saliency" / photo.name)
    return tmp_path / "scenes"


def load(folder: Path) -> Collection:
    return load_collection(
        folder / "photos", folder / "tags.csv", masks=folder / "truth", saliency=folder / "saliency"
    )


def take(folder: Path) -> Fingerprint:
    return take_fingerprint(load(folder), masks=True, files={"weights": folder / "tags.csv"})


def swap_lines(folder: Path) -> None:
    head, first, second, *rest = (folder / "tags.csv").read_text().splitlines()
    (folder / "tags.csv").write_text("\n".join([head, second, first, *rest]))


def rename_tag(folder: Path) -> None:
    text = (folder / "tags.csv").read_text()
    (folder / "tags.csv").write_text(text.replace("scene0.png,blue", "scene0.png,red"))


def same_size(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)


def drop(folder: Path) -> None:
    text = (folder / "tags.csv").read_text().splitlines()
    (folder / "tags.csv").write_text("\n".join(text[:-2]))


CHANGES: list[tuple[Callable[[Path], object], str]] = [
    (swap_lines, "the order of the photos changed, number 1 was scene0 and is scene1"),
    (rename_tag, "the tags of 1 photo changed, the first is scene0 (blue, now red)"),
    (lambda f: same_size(f / "photos" / "scene3.png"), "the content of 1 photo changed, the first is scene3"),
    (lambda f: [same_size(f / "saliency" / f"scene{i}.png") for i in (4, 2)],
     "the saliency map of 2 photos changed, the first is scene2"),
    (lambda f: same_size(f / "truth" / "scene5.png"), "the mask of 1 photo changed, the first is scene5"),
    (lambda f: (f / "truth" / "scene1.png").unlink(), "the mask of 1 photo changed, the first is scene1"),
    (drop, "2 photos gone, the first is scene4"),
    (lambda f: (f / "truth" / "classes.txt").write_text("background\nred\nblue\n"),
     "the classes of the masks changed from background, blue, red to background, red, blue"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_every_change_is_named(folder: Path, change: Callable[[Path], object], message: str) -> None:
    before = take(folder)
    change(folder)
    found = changes(before, take(folder))
    assert message in found
    assert [line for line in found if line != message] in ([], ["the weights file changed"])


def test_nothing_changes_by_itself_or_by_moving(folder: Path, tmp_path: Path) -> None:
    before = take(folder)
    shutil.move(folder, tmp_path / "moved")
    assert changes(before, take(tmp_path / "moved")) == []
    assert take(tmp_path / "moved") == before


def test_new_photos_and_several_changes_are_all_named() -> None:
    a, b, c = Row("a", ("cat",), "1"), Row("b", (), "2"), Row("c", ("cat", "dog"), "3")
    found = changes(Fingerprint((a, b)), Fingerprint((replace(b, tags=("dog",)), c)))
    assert found == [
        "1 photo gone, the first is a",
        "1 photo new, the first is c",
        "the tags of 1 photo changed, the first is b (none, now dog)",
    ]
    assert changes(Fingerprint((c,)), Fingerprint((replace(c, tags=(), photo="4"),))) == [
        "the tags of 1 photo changed, the first is c (cat;dog, now none)",
        "the content of 1 photo changed, the first is c",
    ]


def test_facts_and_files_are_compared_where_both_are_known() -> None:
    before = Fingerprint((), {"classes": "cat", "old": "x"}, {"weights": "1", "gone": "2", "never": None})
    now = Fingerprint((), {"classes": "cat, dog", "new": "y"}, {"weights": "3", "gone": None, "never": "4"})
    assert changes(before, now) == [
        "the classes changed from cat to cat, dog",
        "the weights file changed",
    ]


def test_only_what_is_used_is_read(folder: Path) -> None:
    collection = load(folder)
    without = take_fingerprint(collection, masks=False)
    assert all(row.mask is None for row in without.rows)
    assert dict(without.facts) == {"classes": "blue, red"}
    some = replace(
        collection, samples=(replace(collection.samples[0], saliency=None), *collection.samples[1:])
    )
    assert all(row.saliency is None for row in take_fingerprint(some, masks=True).rows)
    marked = replace(collection, void=True, background=("red",))
    assert dict(take_fingerprint(marked, masks=True, facts={"saliency source": "a folder"}).facts) == {
        "classes": "blue, red",
        "classes of the masks": "void, blue, red",
        "classes that count as background": "red",
        "saliency source": "a folder",
    }
    assert dict(take_fingerprint(collection, masks=False, files={"a": None, "b": folder / "none"}).files) == {
        "a": None,
        "b": None,
    }


def test_hashes_are_those_of_the_files(folder: Path) -> None:
    row = take(folder).rows[2]
    assert row.name == "scene2"
    assert row.tags == ("blue", "red")
    for kind, name in (("photos", row.photo), ("saliency", row.saliency), ("truth", row.mask)):
        assert name == hashlib.sha256((folder / kind / "scene2.png").read_bytes()).hexdigest()
    assert take(folder).files["weights"] == file_hash(folder / "tags.csv")


def test_it_survives_the_file(folder: Path, tmp_path: Path) -> None:
    taken = take(folder)
    (tmp_path / "data.jsonl").write_bytes(taken.to_bytes())
    assert read_fingerprint(tmp_path / "data.jsonl") == taken
    assert len((tmp_path / "data.jsonl").read_text().splitlines()) == 7
    odd = Fingerprint((Row("caf\udce9 \u2028", ("ä\n",), "1"),))  # a name that is not UTF-8
    (tmp_path / "data.jsonl").write_bytes(odd.to_bytes())
    assert read_fingerprint(tmp_path / "data.jsonl") == odd


@pytest.mark.parametrize(
    "content", [b"", b"\0", b"[]\n", b"{}\n", b'{"facts":{},"files":{}}\n["a"]\n', b"\xff"]
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.jsonl").write_bytes(content)
    with pytest.raises(
        InputError, match=r"data\.jsonl is damaged, .*: delete it to continue without this check"
    ):
        read_fingerprint(tmp_path / "data.jsonl")


def test_digests_tell_the_kinds_apart() -> None:
    rows = (Row("a", ("cat",), "1", "2", "3"), Row("b", (), "4", "5", "6"))
    whole = Fingerprint(rows).digests()
    assert whole["photos"] == hashlib.sha256(b'["a", "1"]\n["b", "4"]\n').hexdigest()
    assert (
        whole["tags"]
        == hashlib.sha256(
            "".join(json.dumps([n, json.dumps(t)]) + "\n" for n, t in (("a", ["cat"]), ("b", []))).encode()
        ).hexdigest()
    )
    for kind, change in {
        "photos": {"photo": "9"}, "tags": {"tags": ("dog",)}, "saliency": {"saliency": "9"}, "masks": {"mask": "9"},
    }.items():  # fmt: skip
        other = Fingerprint((rows[0], replace(rows[1], **change))).digests()  # type: ignore[arg-type]
        assert [key for key in whole if whole[key] != other[key]] == [kind]
    assert Fingerprint(rows[::-1]).digests() != whole
    bare = Fingerprint((Row("a", (), "1"),)).digests()
    assert (bare["saliency"], bare["masks"]) == (None, None)
    partly = Fingerprint((Row("a", (), "1"), Row("b", (), "2", mask="3"))).digests()
    assert partly["masks"] is not None
