"""The files that the pages on formats show: tags are read as the page says, masks are written as it shows."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import getam
from getam.data.formats.registry import FORMATS as TAG_FORMATS
from getam.data.formats.registry import read_tags
from getam.data.mask_formats.registry import FORMATS as MASK_FORMATS
from getam.data.masks import write_classes, write_mask
from pages import DOCS, Block, blocks, commands

TAGS, MASKS = DOCS / "tags-in.md", DOCS / "masks-out.md"
CONTENT = ("csv", "json", "xml", "text")
EXAMPLES = [block for block in blocks(TAGS) if block.language in CONTENT]
RESULTS = [block for block in blocks(MASKS) if block.language in CONTENT]


def format_of(block: Block) -> str:
    """The word its section begins with."""
    return block.heading.partition(":")[0].partition(",")[0]


def write(block: Block, folder: Path) -> Path:
    """The file, or the tree of empty photos, that a block shows."""
    if block.named.endswith(".tar"):
        with tarfile.open(folder / block.named, "w") as tar:
            for line in block.text.splitlines():
                name, _, content = line.partition(" ")
                member = tarfile.TarInfo(name.removeprefix(f"{block.named}/"))
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content.encode()))
    elif block.language == "text" and "/" in block.text.split()[0]:
        for name in block.text.split():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(folder / name)
    else:
        (folder / block.named).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.named).write_text(block.text)
    return folder / block.named


def test_every_format_of_tags_has_an_example() -> None:
    assert {format_of(block) for block in EXAMPLES} == set(TAG_FORMATS)


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: f"{format_of(block)}:{block.line}")
def test_tags_are_read(block: Block, tmp_path: Path) -> None:
    file = write(block, tmp_path)
    name = format_of(block)
    of_page = [words for _, words in commands(TAGS) if "--tags" in words and name in " ".join(words)]
    pattern = next((words[words.index("--format") + 1] for words in of_page if "--format" in words), None)
    whole = tmp_path / block.named.split("/")[0]  # of a tree, what the page gives to --tags
    table = read_tags(whole, format=pattern if name == "names" else None)
    photos = {row.image.rpartition("/")[2].partition(".")[0]: row for row in table.rows}
    if name == "names":
        assert {photo: row.tags for photo, row in photos.items()} == {
            "cat+dog_017": ("cat", "dog"), "person_018": ("person",),
        }  # fmt: skip
        return
    first = "2008_000001" if name == "voc-imagesets" else "IMG_0001"
    assert photos[first].tags[0] == "cat"
    assert file.exists()
    if name != "names":  # recognised without being named, as what it is
        named = read_tags(whole, format=name)
        assert [row.tags for row in named.rows] == [row.tags for row in table.rows]


def test_what_nobody_looked_for_is_unknown(tmp_path: Path) -> None:
    for block in EXAMPLES:
        if block.named in ("one-hot.csv", "tags.json"):
            rows = {
                row.image: (row.tags, row.unknown) for row in read_tags(write(block, tmp_path), ["cat"]).rows
            }
            assert rows
    (one_hot,) = (block for block in EXAMPLES if block.named == "one-hot.csv")
    text = one_hot.text + "IMG_0004.jpg;1;0;1\n"  # a class needs a photo that has it
    (tmp_path / "more.csv").write_text(text)
    rows = {row.image: row for row in read_tags(tmp_path / "more.csv").rows}
    assert rows["IMG_0001.jpg"].unknown == ("person",)
    assert rows["IMG_0002.jpg"].unknown == ()


def test_every_format_of_masks_has_an_example_and_a_command() -> None:
    assert {format_of(block) for block in RESULTS} == set(MASK_FORMATS)
    written = {words[words.index("--to") + 1] for _, words in commands(MASKS) if "--to" in words}
    read = {words[words.index("--from") + 1] for _, words in commands(MASKS) if "--from" in words}
    assert written == read == set(MASK_FORMATS) - {"png"}


@pytest.mark.parametrize("block", RESULTS, ids=lambda block: block.named)
def test_masks_are_written_as_shown(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Image.new("RGB", (6, 4)).save("photos/a.jpg")
    label = np.zeros((4, 6), np.uint8)
    label[0:3, 0:3] = 1
    label[1, 1] = 0
    label[3, 4:] = 2, 255
    write_classes(Path("labels"), ["cat", "dog"])
    write_mask(Path("labels/a.png"), label)
    name = format_of(block)
    if name != "png":
        getam.convert(Path("labels"), to=name, photos=Path("photos"), out=Path(f"for-{name}"))
    made = Path(block.named).read_text()
    if block.language == "json":
        assert json.loads(block.text) == json.loads(made)
    else:
        assert "".join(block.text.split()) == "".join(made.split())
