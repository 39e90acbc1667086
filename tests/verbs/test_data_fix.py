"""`getam data check --fix`: everything that can be mended, mended; the rest as it was, or on the list."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam import cli
from getam.data import checks
from getam.data.collection import load_collection
from getam.data.formats.registry import read_tags
from getam.data.masks import read_mask, write_classes, write_mask
from getam.data.photos import read_photo, suffix_of, turned_file
from getam.errors import InputError
from getam.verbs.data_check import data_check

TURN = 6


def scene(seed: int) -> Image.Image:
    blobs = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(blobs).resize((80, 60), Image.Resampling.BICUBIC)


def turned(photo: Image.Image, path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = TURN
    photo.save(path, exif=exif)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve photos 0.jpg … with masks: ten horses, two cows; nothing wrong."""
    (tmp_path / "photos").mkdir()
    rows = ["image,tags"]
    for n in range(12):
        scene(n).save(tmp_path / "photos" / f"{n}.jpg")
        label = np.zeros((60, 80), np.uint8)
        label[5:20] = 1 if n < 10 else 2
        write_mask(tmp_path / "masks" / f"{n}.png", label)
        rows.append(f"{n}.jpg,{'sea horse' if n < 10 else 'cow'}")
    write_classes(tmp_path / "masks", ("sea horse", "cow"))
    (tmp_path / "tags.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def spoil(data: Path) -> None:
    """One or more of each."""
    photos, masks = data / "photos", data / "masks"
    for n in (0, 1):
        Image.open(masks / f"{n}.png").convert("RGB").save(masks / f"{n}.png")
    Image.fromarray(np.full((60, 80, 3), 7, np.uint8)).save(masks / "2.png")  # no colour of VOC's
    write_mask(masks / "3.png", np.zeros((30, 40), np.uint8))
    (photos / "4.jpg").write_bytes(b"no photo")
    turned(scene(5), photos / "5.jpg")
    write_mask(
        masks / "5.png", np.pad(np.ones((80, 30), np.uint8), ((0, 0), (0, 30)))
    )  # of the upright photo
    shutil.copy(photos / "6.jpg", photos / "spare.jpg")
    text = (data / "tags.csv").read_text()
    text = text.replace("7.jpg,sea horse", "7,Sea_Horse").replace("8.jpg,sea", "8.jpg,Sea")
    text += "nowhere.jpg,cow\n./9.png,cow\n"
    scene(30).save(photos / "9.png")
    (data / "tags.csv").write_text(text)
    (photos / "train.txt").write_text("0\n1\n4\nnine\n")
    (photos / "val.txt").write_text("1\n2\n")


def fixed(data: Path) -> checks.Check:
    return data_check(data / "photos", tags=(data / "tags.csv",), masks=data / "masks", fix=data / "new")


def again(data: Path) -> checks.Check:
    return data_check(data / "new" / "photos", masks=data / "new" / "masks")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def left_out(data: Path) -> list[list[str]]:
    with (data / "new" / "left-out.csv").open() as file:
        return list(csv.reader(file))


def test_everything_at_once(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    spoil(data)
    before = snapshot(data)
    kinds = {each.kind for each in fixed(data).problems}
    assert {name: content for name, content in snapshot(data).items() if "/new/" not in name} == before
    table = [
        [cell.strip() for cell in line.split("│")[1:4]]
        for line in capsys.readouterr().out.partition("how, or why not")[2].splitlines()
        if line.startswith("│")
    ]
    assert {row[0]: (int(row[1]), int(row[2])) for row in table} == {
        checks.UNREADABLE: (1, 0), checks.MISSING: (1, 0), checks.ONE_NAME: (1, 0), checks.SPELLINGS: (2, 0),
        checks.UNLISTED: (1, 0), checks.TWO_LISTS: (0, 1), checks.BAD_MASK: (2, 2),
        checks.AT_ODDS: (1, 0), checks.NO_MASKS: (1, 0),
        "photo that EXIF turns": (1, 0), "row without the suffix of its photo, or in another case": (1, 0),
    }  # fmt: skip
    mended = {checks.UNREADABLE, checks.MISSING, checks.ONE_NAME, checks.SPELLINGS, checks.UNLISTED}
    assert mended <= kinds
    found = again(data)
    assert [(Path(each.where).name, each.kind) for each in found.problems] == [
        ("val.txt", checks.TWO_LISTS), ("2.png", checks.BAD_MASK), ("3.png", checks.BAD_MASK),
    ]  # fmt: skip
    assert "mended" not in capsys.readouterr().out


def test_nothing_is_lost(data: Path) -> None:
    spoil(data)
    fixed(data)
    new = data / "new"
    head, *rows = left_out(data)
    assert head == ["what", "name", "tags", "why"]
    assert [row[:3] for row in rows] == [
        ["row", "4.jpg", "sea horse"], ["row", "nowhere.jpg", "cow"], ["row", "9.png", "cow"],
        ["name in a list", "4", ""], ["name in a list", "nine", ""],
        ["image file", str(data / "photos" / "9.png"), ""], ["image file", str(data / "photos" / "spare.jpg"), ""],
    ]  # fmt: skip
    assert "line 6: cannot be read" in rows[0][3]
    assert "is not in" in rows[1][3]
    assert "is called '9'" in rows[2][3]
    collection = load_collection(new / "photos", masks=new / "masks")
    assert {s.name: s.tags for s in collection.samples} == {
        str(n): ("sea horse",) if n < 10 else ("cow",) for n in range(12) if n != 4
    }
    np.testing.assert_array_equal(read_mask(new / "masks" / "0.png")[:, 0], [0] * 5 + [1] * 15 + [0] * 40)
    for name in ("photos/6.jpg", "masks/6.png", "masks/2.png", "masks/3.png", "masks/classes.txt"):
        assert (new / name).read_bytes() == (data / name).read_bytes()
    assert (new / "photos" / "train.txt").read_text().split() == ["0", "1"]
    assert (new / "photos" / "val.txt").read_text().split() == ["1", "2"]
    upright = Image.open(new / "photos" / "5.jpg")
    assert upright.getexif().get(0x0112, 1) == 1
    assert upright.size == (60, 80)
    wanted = np.asarray(read_photo(data / "photos" / "5.jpg")).astype(int)
    assert np.abs(np.asarray(upright).astype(int) - wanted).mean() < 2
    assert not list(data.rglob("*.partial"))


def test_unknown_tags_stay_unknown(data: Path) -> None:
    rows = [f"{n},{int(n < 10)},{'?' if n == 3 else int(n >= 10)}" for n in range(12)]
    (data / "tags.csv").write_text("\n".join(["image,sea horse,cow", *rows]))
    assert fixed(data).problems == ()
    assert left_out(data)[1:] == []
    [three] = [row for row in read_tags(data / "new/photos/tags.csv").rows if row.image == "3.jpg"]
    assert (three.tags, three.unknown) == (("sea horse",), ("cow",))


def test_files_of_tags_stay_apart(data: Path) -> None:
    (data / "train.csv").write_text("image,tags\n0.jpg,sea horse\n1.jpg,sea horse\n")
    (data / "val.csv").write_text("image,tags\n10.jpg,cow\n1.jpg,cow\n")
    (data / "bad.csv").write_text("")
    files = tuple(data / f"{name}.csv" for name in ("train", "val", "bad"))
    data_check(data / "photos", tags=files, fix=data / "new")
    assert (data / "new/photos/train.csv").read_text() == "image,tags\n0.jpg,sea horse\n1.jpg,sea horse\n"
    assert (data / "new/photos/val.csv").read_text() == "image,tags\n10.jpg,cow\n"
    assert [row[:3] for row in left_out(data)[1:3]] == [["row", "1.jpg", "cow"], ["file", str(files[2]), ""]]
    assert not (data / "new" / "masks").exists()


def test_voc_stays_voc(data: Path) -> None:
    voc = data / "voc"
    shutil.copytree(data / "photos", voc / "JPEGImages")
    shutil.copytree(data / "masks", voc / "SegmentationClass")
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    (voc / "ImageSets/Segmentation/train.txt").write_text("0\n1\nnine\n")
    shutil.copy(data / "tags.csv", voc)
    data_check(voc, fix=data / "new")
    assert data_check(data / "new").problems == ()
    collection = load_collection(data / "new", split="train")
    assert [sample.mask is not None for sample in collection.samples] == [True, True]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fix", "{data}"], "is not empty"),
        (["--fix", "{data}/photos/new"], "lies in"),
        (["--fix", "{data}/new", "--classes", "cow"], "leave --classes and --map out"),
    ],
)
def test_refused(data: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str) -> None:
    line = ["data", "check", str(data / "photos"), "--tags", str(data / "tags.csv")]
    assert cli.main([*line, *(option.format(data=data) for option in options)]) == 2
    assert words in capsys.readouterr().err
    assert not (data / "new").exists()


def test_no_photo_is_left(data: Path) -> None:
    (data / "tags.csv").write_text("image,tags\n0.jpg,cow\n")
    (data / "photos" / "0.jpg").write_bytes(b"no photo")
    with pytest.raises(InputError, match="nothing would be left"):
        data_check(data / "photos", tags=(data / "tags.csv",), fix=data / "new")
    assert not (data / "new").exists()


def test_a_rare_spelling_that_masks_have_is_left(data: Path) -> None:
    write_classes(data / "masks", ("sea horse", "cow", "sea_horse"))
    text = (data / "tags.csv").read_text().replace("9.jpg,sea horse", "9.jpg,sea_horse")
    (data / "tags.csv").write_text(text)
    fixed(data)
    assert "9.jpg,sea_horse" in (data / "new/photos/tags.csv").read_text()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_turned_photos_of_all_kinds(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    turned(scene(1), path)
    content, its = turned_file(path) or (b"", "")
    assert its == suffix
    (tmp_path / f"b{its}").write_bytes(content)
    difference = np.abs(
        np.asarray(Image.open(tmp_path / f"b{its}").convert("RGB")).astype(int) - np.asarray(read_photo(path))
    )
    assert difference.max() == 0 if suffix != ".jpg" else difference.mean() < 2
    assert turned_file(tmp_path / f"b{its}") is None


def test_suffixes(tmp_path: Path) -> None:
    for form, suffix in {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}.items():
        scene(1).save(tmp_path / "a", form)
        assert suffix_of(tmp_path / "a") == suffix
    assert suffix_of(tmp_path / "never opened.JPG") == ".JPG"
    (tmp_path / "a").write_bytes(b"text")
    with pytest.raises(InputError, match="is no photo"):
        suffix_of(tmp_path / "a")
