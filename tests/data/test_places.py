"""Places: paths and URLs, in a store in memory and on disk, each against what was written there by hand."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from getam.data import places
from getam.data.places import (
    exists,
    inside,
    is_remote,
    list_photos,
    listing,
    place_of,
    read_bytes,
    stamp_of,
    write_bytes,
)
from getam.errors import InputError


@pytest.fixture(params=["memory", "disk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "disk":
        yield str(tmp_path)
        return
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield "memory://bucket/a"
    store.store.clear()


def test_written_is_read_and_listed_once(folder: str) -> None:
    for name, content in (
        ("b.JPG", b"1"),
        ("c/d.png", b"22"),
        ("c/e.txt", b""),
        (".h/f.png", b"3"),
        ("c/.g.png", b""),
    ):
        write_bytes(inside(folder, name), content)
    found = listing(folder)
    assert {name: (entry.place, entry.size) for name, entry in found.items()} == {
        "b.JPG": (f"{folder}/b.JPG", 1), "c/d.png": (f"{folder}/c/d.png", 2), "c/e.txt": (f"{folder}/c/e.txt", 0),
    }  # fmt: skip
    assert list(list_photos(folder)) == ["b.JPG", "c/d.png"]
    assert read_bytes(found["c/d.png"].place) == b"22"
    assert exists(found["c/d.png"].place)
    assert not exists(inside(folder, "c"))
    with pytest.raises(FileNotFoundError):
        read_bytes(inside(folder, "none"))
    assert listing(inside(folder, "none")) == {}
    with pytest.raises(InputError, match="none holds no photo"):
        list_photos(inside(folder, "none"))


def test_a_stamp_changes_with_the_file(folder: str) -> None:
    place = inside(folder, "a")
    write_bytes(place, b"1")
    first = listing(folder)["a"].stamp
    assert listing(folder)["a"].stamp == first
    write_bytes(place, b"2")
    second = listing(folder)["a"].stamp
    write_bytes(place, b"22")
    assert len({first, second, listing(folder)["a"].stamp}) == 3
    if not is_remote(place):
        assert stamp_of(Path(place)) == listing(folder)["a"].stamp


def test_a_store_that_says_what_a_file_holds_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Store:
        @staticmethod
        def _strip_protocol(path: str) -> str:
            return path.removeprefix("s3://")

        @staticmethod
        def find(path: str, detail: bool) -> dict[str, Any]:
            return {"b/p/x.png": {"size": 3, "ETag": "5f", "LastModified": "monday"}}

    monkeypatch.setattr(places, "_opened", lambda place: (Store(), place))
    assert listing("s3://b/p")["x.png"] == places.Entry("s3://b/p/x.png", 3, "3 5f")


def test_paths_and_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place_of("a/b") == str(tmp_path / "a" / "b")
    assert place_of(Path("S3://Bucket/A b")) == "s3://Bucket/A b"  # as the command line gives it
    assert place_of(Path("file:///x/y")) == "/x/y"
    assert place_of("C:/photos") == str(tmp_path / "C:" / "photos")
    (tmp_path / "s3:" / "b").mkdir(parents=True)
    assert place_of("s3:/b") == str(tmp_path / "s3:" / "b")  # what is there comes first
    assert not is_remote(str(tmp_path))
    assert is_remote("memory://a")


def test_a_driver_that_is_missing_and_one_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str, *rest: Any) -> Any:
        if name.split(".")[0] in ("gcsfs", "s3fs"):
            raise ImportError(name)
        return real(name, *rest)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"gs://b/x needs gcsfs, which is not installed: pip install gcsfs"):
        listing("gs://b/x")
    with pytest.raises(InputError, match=r"odd://b: nothing is known of addresses that begin with odd"):
        listing("odd://b")


def test_where_writing_is_not_at_once_a_reader_never_sees_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is none of `WHOLE`, which dies while it writes."""
    disk = LocalFileSystem()
    monkeypatch.setattr(places, "_opened", lambda place: (disk, place.removeprefix("slow:/")))
    place = f"slow:/{tmp_path}/a/b.png"
    write_bytes(place, b"old")
    assert (tmp_path / "a" / "b.png").read_bytes() == b"old"

    def half(path: str, content: bytes) -> None:
        Path(path).write_bytes(content[:1])
        raise OSError("gone")

    monkeypatch.setattr(disk, "pipe_file", half)
    with pytest.raises(OSError, match="gone"):
        write_bytes(place, b"new")
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "a").iterdir()] == [("b.png", b"old")]


def test_a_store_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    class Store(LocalFileSystem):
        def find(self, *args: Any, **options: Any) -> Any:
            raise PermissionError("no access\nmore")

    monkeypatch.setattr(places, "_opened", lambda place: (Store(), place))
    with pytest.raises(InputError, match=r"s3://b/x cannot be listed \(no access\): check the address"):
        listing("s3://b/x")
