"""`getam data split`: every photo in one file, each with its share of every class, read back as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam import cli
from getam.data.collection import load_collection
from getam.errors import InputError
from getam.verbs.data_split import data_split


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty photos; 20 cats, 10 dogs, 5 of them with both."""
    rows = ["image,tags"]
    for n in range(40):
        Image.fromarray(np.full((2, 3, 3), n, np.uint8)).save(tmp_path / f"{n:02}.png")
        tags = [*(["cat"] if n < 20 else []), *(["dog"] if 15 <= n < 25 else [])]
        rows.append(f"{n:02}.png,{';'.join(tags)}")
    (tmp_path / "tags.csv").write_text("\n".join(rows))
    return tmp_path


def split_tags(data: Path, out: Path, *names: str) -> dict[str, dict[str, tuple[str, ...]]]:
    return {
        name: {sample.name: sample.tags for sample in load_collection(data, out / f"{name}.csv").samples}
        for name in names
    }


def test_shares_of_photos_and_classes(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = data / "splits"
    assert cli.main(["data", "split", "--data", str(data), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    whole = {sample.name: sample.tags for sample in load_collection(data).samples}
    found = split_tags(data, out, "train", "val")
    assert found["train"] | found["val"] == whole
    assert [len(its) for its in found.values()] == [32, 8]
    for tag, photos in (("cat", 20), ("dog", 10)):
        assert sum(tag in tags for tags in found["val"].values()) == photos / 5


def test_any_shares_and_the_seed(data: Path) -> None:
    options = {"data": data, "shares": ("a=2", "b=1", "c=1")}
    data_split(out=data / "x", **options)  # type: ignore[arg-type]
    found = split_tags(data, data / "x", "a", "b", "c")
    assert [len(its) for its in found.values()] == [20, 10, 10]
    lines = (data / "tags.csv").read_text().splitlines()
    (data / "tags.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    data_split(out=data / "y", **options)  # type: ignore[arg-type]
    assert split_tags(data, data / "y", "a", "b", "c") == found
    data_split(out=data / "z", seed=1, **options)  # type: ignore[arg-type]
    assert split_tags(data, data / "z", "a", "b", "c") != found


def test_what_is_unknown_stays_so(data: Path) -> None:
    states = ["1,0", "?,1", "0,?", "1,1", "0,1", "1,0", "0,0", "?,1"]
    rows = [f"{n:02}.png,{state}" for n, state in enumerate(states)]
    (data / "tags.csv").write_text("\n".join(["image,cat,dog", *rows]))
    before = {s.name: (s.tags, s.unknown) for s in load_collection(data).samples}
    data_split(data=data, out=data / "s", shares=("train=1", "val=1"))
    after = {
        s.name: (s.tags, s.unknown)
        for name in ("train", "val")
        for s in load_collection(data, data / "s" / f"{name}.csv").samples
    }
    assert after == before


def test_photos_elsewhere_and_a_subset(data: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    away = tmp_path_factory.mktemp("away")
    for n in range(4):
        Image.new("RGB", (3, 2)).save(away / f"f{n}.png")
    (away / "t.csv").write_text("image,tags\n" + "".join(f"f{n}.png,cat;x;y\n" for n in range(4)))
    data_split(data=data, tags=away / "t.csv", out=data / "s", classes=("x",))
    loaded = [load_collection(data, data / "s" / f"{name}.csv") for name in ("train", "val")]
    assert {sample.photo for each in loaded for sample in each.samples} == {
        away / f"f{n}.png" for n in range(4)
    }
    assert all(sample.tags == ("x",) for each in loaded for sample in each.samples)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": ("train=0.8",)}, "two shares or more"),
        ({"shares": ("train=0.8", "val=-1")}, r"share val=-1 is no positive number"),
        ({"shares": ("train=0.8", "val=much")}, r"share val=much is no positive number"),
        ({"shares": ("train=0.8", "a/b=1")}, r"'a/b' is no name of a split"),
        ({"shares": ("train=99999", "val=1")}, "the split val has no photo of 40"),
        ({"shares": tuple(f"s{n}=1" for n in range(41))}, "40 photos cannot make 41 splits"),
    ],
)
def test_refusals(data: Path, options: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        data_split(data=data, out=data / "s", **options)
    assert not (data / "s").exists()


def test_files_in_the_way(data: Path) -> None:
    data_split(data=data, out=data / "s")
    with pytest.raises(InputError, match=r"train\.csv exists: give another --out, or --overwrite"):
        data_split(data=data, out=data / "s", seed=3)
    assert data_split(data=data, out=data / "s", overwrite=True) == data / "s"


@pytest.mark.parametrize("given", [None, "tags.csv"])
def test_a_split_is_not_written_over_the_tags_it_is_made_of(data: Path, given: str | None) -> None:
    before = (data / "tags.csv").read_bytes()
    tags = None if given is None else data / given
    with pytest.raises(InputError, match=r"tags\.csv is read here and would be written over"):
        data_split(data=data, tags=tags, out=data, shares=("val=1", "tags=4"), overwrite=True)
    assert (data / "tags.csv").read_bytes() == before
    assert not (data / "val.csv").exists()
