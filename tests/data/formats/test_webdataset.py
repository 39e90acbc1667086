"""Tags beside photos in tars, as webdataset's own writer leaves them: what is read of each kind of file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from webdataset import ShardWriter, TarWriter

from getam.data.collection import load_collection
from getam.data.formats.registry import read_tags
from getam.errors import InputError


def photo(red: int = 100) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 12), (red, 100, 50)).save(file, "JPEG")
    return file.getvalue()


def tar_of(folder: Path, *samples: dict[str, Any]) -> Path:
    path = folder / "photos.tar"
    with TarWriter(str(path)) as writer:
        for number, sample in enumerate(samples):
            writer.write({"__key__": f"k{number}", "jpg": photo(), **sample})
    return path


def tags(path: Path, **options: Any) -> list[tuple[str, ...]]:
    return [row.tags for row in read_tags(path, **options).rows]


def test_each_kind_of_file(tmp_path: Path) -> None:
    path = tar_of(
        tmp_path, {"json": {"tags": ["cat", "dog"]}}, {"json": ["cow"]}, {"json": {"label": "dog", "id": 3}},
        {"json": {"tags": []}}, {"cls": b"cat\n"}, {"txt": "cat;dog"}, {"txt": "cat\n dog \n"}, {"txt": ""},
        {"txt": b"\xef\xbb\xbfcow"}, {"cls": 7}, {"json": b""},
    )  # fmt: skip
    assert tags(path) == [
        ("cat", "dog"), ("cow",), ("dog",), (), ("cat",), ("cat", "dog"), ("cat", "dog"), (), ("cow",), ("7",), (),
    ]  # fmt: skip
    table = read_tags(path)
    assert table.rows[1].image == "photos.tar/k1.jpg"
    assert table.rows[1].where == f"{path}, k1"
    assert table.notes == ("photos.tar: webdataset, 11 photos, 4 classes",)


def test_which_file_has_the_tags(tmp_path: Path) -> None:
    path = tar_of(
        tmp_path, {"json": {"width": 3}, "cls": b"cat", "txt": "a photo of it", "seen.json": ["dog"]}
    )
    assert tags(path) == [("cat",)]
    assert tags(path, format="webdataset") == [("cat",)]
    assert tags(path, format="webdataset:txt") == [("a photo of it",)]
    assert tags(path, format="webdataset:.seen.JSON") == [("dog",)]
    with pytest.raises(InputError, match=r"photos\.tar, k0: no \.json file beside it has tags"):
        tags(path, format="webdataset:json")


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ({}, r"photos\.tar, k0: no \.json or \.cls or \.txt file beside it has tags: add one, empty for"),
        ({"json": {"caption": "a cat"}}, "beside it has tags"),
        ({"json": b"{"}, r"photos\.tar, k0, k0\.json: not UTF-8 text, or not valid JSON"),
        ({"json": b"[" * 100_000}, "not valid JSON"),
        ({"txt": b"\xff"}, r"k0, k0\.txt: not UTF-8 text"),
        ({"json": {"tags": 3}}, "k0.json: '3' is no list of tags"),
        ({"json": {"tags": [None]}}, "k0: None is no tag"),
        ({"txt": "background"}, "reserved for label 0"),
    ],
)
def test_what_says_nothing_is_refused(tmp_path: Path, sample: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_tags(tar_of(tmp_path, sample))


def test_only_tars_are(tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,cat\n")
    with pytest.raises(InputError, match=r"tags\.csv is no tar"):
        read_tags(tmp_path / "tags.csv", format="webdataset")


def test_a_collection_of_several_tars(tmp_path: Path) -> None:
    with ShardWriter(str(tmp_path / "p-%06d.tar"), maxcount=2, verbose=0) as writer:
        for number, name in enumerate(("cat", "dog", "Cat", "cat", "cow")):
            writer.write({"__key__": f"farm/{number}", "jpg": photo(50 * number), "cls": name.encode()})
    pattern = tmp_path / "p-{000000..000002}.tar"
    found = load_collection(pattern, classes=("cat", "dog"))
    assert [(sample.name, sample.tags, sample.others) for sample in found.samples] == [
        ("p-000000/farm/0", ("cat",), ()), ("p-000000/farm/1", ("dog",), ()), ("p-000001/farm/2", ("cat",), ()),
        ("p-000001/farm/3", ("cat",), ()), ("p-000002/farm/4", (), ("cow",)),
    ]  # fmt: skip
    assert found.samples[2].photo == tmp_path / "p-000001.tar" / "farm" / "2.jpg"
    assert load_collection(tmp_path / "p-*.tar", classes=("cat", "dog")).samples == found.samples

    (tmp_path / "maps" / "p-000002" / "farm").mkdir(parents=True)
    Image.new("L", (16, 12)).save(tmp_path / "maps" / "p-000002" / "farm" / "4.png")
    last = load_collection(tmp_path / "p-000002.tar", saliency=tmp_path / "maps")
    assert last.samples[0].saliency == tmp_path / "maps" / "p-000002" / "farm" / "4.png"


def test_a_table_may_name_photos_inside(tmp_path: Path) -> None:
    tar_of(tmp_path, {}, {})
    (tmp_path / "tags.csv").write_text("image,tags\nphotos.tar/k1.jpg,cat\n")
    for data in (tmp_path, tmp_path / "photos.tar"):
        (sample,) = load_collection(data, tmp_path / "tags.csv").samples
        assert (sample.name, sample.photo) == ("photos/k1", tmp_path / "photos.tar" / "k1.jpg")
    (tmp_path / "tags.csv").write_text("image,tags\nphotos.tar/k2.jpg,cat\n")
    with pytest.raises(InputError, match=r"line 2: photo photos\.tar/k2\.jpg is not in"):
        load_collection(tmp_path, tmp_path / "tags.csv")


def test_no_tar_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist or is no folder"):
        load_collection(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"p-0\.tar does not exist"):
        load_collection(tmp_path / "p-{0..1}.tar")
