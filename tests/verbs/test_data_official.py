"""`getam data voc` and `data coco` on miniature archives in the exact official layout."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import scipy.io
import timm
import torchvision
from PIL import Image

from getam import cli
from getam.data.collection import load_collection
from getam.data.mask_folder import VOC_CLASSES
from getam.data.masks import encode_mask, read_mask
from getam.data.official import coco, voc
from getam.data.official.archives import unpack
from getam.errors import InputError
from getam.verbs.data_coco import data_coco
from getam.verbs.data_voc import data_voc

H, W = 24, 32
SEGMENTED = {"train": ["2007_1", "2007_2"], "val": ["2007_3"]}
BOUNDARIES = {"train": ["2007_2", "2008_4"], "val": ["2008_5", "2007_3"]}


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (H, W, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def half(label: int, other: int = 0) -> np.ndarray[Any, Any]:
    mask = np.full((H, W), other, np.uint8)
    mask[:, : W // 2] = label
    return mask


def tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """VOC's tar and SBD's tgz: five photos of use, one that no list has."""
    folder = tmp_path / "archives"
    folder.mkdir()
    files: dict[str, bytes] = {}
    names = ["2007_1", "2007_2", "2007_3", "2008_4", "2008_5", "2009_9"]
    for number, name in enumerate(names):
        files[f"{voc.VOC}/JPEGImages/{name}.jpg"] = jpeg(number)
        objects = "".join(
            f"<object><name>{each}</name><difficult>{hard}</difficult><part><name>head</name></part></object>"
            for each, hard in (("dog", 0), ("cat", number % 2))
        )
        files[f"{voc.VOC}/Annotations/{name}.xml"] = f"<annotation>{objects}</annotation>".encode()
    for split, its in SEGMENTED.items():
        files[f"{voc.VOC}/ImageSets/Segmentation/{split}.txt"] = "".join(f"{n}\n" for n in its).encode()
        for name in its:
            files[f"{voc.VOC}/SegmentationClass/{name}.png"] = encode_mask(half(8, 255))
    tar(folder / "VOCtrainval_11-May-2012.tar", files)
    files = {f"{voc.SBD}/img/2008_4.jpg": b"not needed"}
    for split, its in BOUNDARIES.items():
        files[f"{voc.SBD}/{split}.txt"] = "".join(f"{n}\n" for n in its).encode()
        for name in its:
            mat = io.BytesIO()
            content = {
                "Segmentation": half(12),
                "Boundaries": np.zeros((20, 1), object),
                "CategoriesPresent": [12],
            }
            scipy.io.savemat(mat, {"GTcls": content}, do_compression=True)
            files[f"{voc.SBD}/cls/{name}.mat"] = mat.getvalue()
    tar(folder / "benchmark.tgz", files)
    return folder


def expected_hash(out: Path, folder: str, names: list[str]) -> str:
    whole = b"".join(
        f"{n} {H} {W}\n".encode() + np.array(Image.open(out / folder / f"{n}.png")).tobytes()
        for n in sorted(names)
    )
    return hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize("unpacked", [False, True])
def test_voc(archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], unpacked: bool) -> None:
    if unpacked:
        for each in list(archives.iterdir()):
            subprocess.run(["tar", "-xf", str(each), "-C", str(archives)], check=True)
            each.unlink()
    out = tmp_path / "voc"
    assert cli.main(["data", "voc", "--from", str(archives), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(out)
    assert "train_aug has 4 photos, not the 10582" in printed.err
    augmented = ["2007_1", "2007_2", "2008_4", "2008_5"]
    assert (out / "ImageSets/Segmentation/train_aug.txt").read_text().split() == augmented
    hashed = expected_hash(out, voc.AUGMENTED, augmented)
    assert f"{hashed}  train_aug" in (out / "masks.sha256").read_text()
    assert hashed in printed.err
    collection = load_collection(out, split="train_aug", masks=out / voc.AUGMENTED)
    assert {s.name: s.tags for s in collection.samples} == dict.fromkeys(augmented, ("cat", "dog"))
    assert collection.has_masks
    assert collection.mask_classes == VOC_CLASSES
    assert (read_mask(out / voc.AUGMENTED / "2007_2.png") == half(8, 255)).all()  # VOC's, not SBD's
    assert (read_mask(out / voc.AUGMENTED / "2008_5.png") == half(12)).all()
    assert sorted(each.stem for each in (out / "JPEGImages").iterdir()) == sorted([*augmented, "2007_3"])
    assert sorted(each.name for each in tmp_path.iterdir()) == ["archives", "voc"]


def test_train_reads_voc(archives: Path, tmp_path: Path) -> None:
    out = data_voc(out=tmp_path / "voc", from_=archives)
    weights = tmp_path / "w.safetensors"
    safetensors.torch.save_file(timm.create_model("test_vit", num_classes=0).state_dict(), weights)
    line = ["train", "--data", out, "--split", "train_aug", "--out", tmp_path / "run", "--weights", weights]
    options = "--recipe classifier --backbone test_vit --steps 2 --size 32 --batch-size 2"
    assert cli.main([*map(str, line), *options.split(), "--saliency", "none"]) == 0
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_what_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"lacks VOC.*11-May-2012.tar, benchmark.tgz: fetch http.*md5 6cd6.*into"
    ):
        data_voc(out=tmp_path / "x", from_=tmp_path)
    with pytest.raises(InputError, match=r"lacks annotations_trainval2017.zip, .*checksum unverified"):
        data_coco(out=tmp_path / "x", from_=tmp_path, year="2017")
    assert list(tmp_path.iterdir()) == []


def test_checksums_are_torchvision_s() -> None:
    assert voc.ARCHIVES[0].md5 == torchvision.datasets.voc.DATASET_YEAR_DICT["2012"]["md5"]
    assert voc.ARCHIVES[1].md5 == torchvision.datasets.SBDataset.md5


def test_nothing_is_overwritten_and_nothing_half_there(archives: Path, tmp_path: Path) -> None:
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc" / "mine").touch()
    with pytest.raises(InputError, match="exists already"):
        data_voc(out=tmp_path / "voc", from_=archives)
    whole = (archives / "benchmark.tgz").read_bytes()
    (archives / "benchmark.tgz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be unpacked"):
        data_voc(out=tmp_path / "new", from_=archives)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["archives", "voc"]


@pytest.mark.parametrize("name", ["/a/x", "../x", "a/../../x", "link"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_archives_that_reach_out(tmp_path: Path, name: str, kind: str) -> None:
    file = tmp_path / f"bad.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as packed:
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if name == "link" else 0o100644) << 16
            packed.writestr(info, "/etc")
    elif name == "link":
        with tarfile.open(file, "w") as opened:
            info_ = tarfile.TarInfo(name)
            info_.type, info_.linkname = tarfile.SYMTYPE, "/etc"
            opened.addfile(info_)
    else:
        tar(file, {name: b"x"})
    (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="is a link" if name == "link" else "outside of the folder"):
        unpack(file, tmp_path / "in", ("", "."))
    assert sorted(each.name for each in tmp_path.rglob("*")) == [file.name, "in"]


SQUARE = [[2, 2, 12, 2, 12, 12, 2, 12]]
SMALL = [[4, 4, 8, 4, 8, 8, 4, 8]]


def test_coco(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pycocotools")
    categories = [
        {"id": 7, "name": "train"},
        {"id": 1, "name": "person"},
        {"id": 90, "name": "traffic light"},
    ]
    crowd = {"size": [H, W], "counts": [0, H * 10, H * (W - 10)]}  # the first ten columns
    annotations = [
        {"id": 5, "image_id": 1, "category_id": 7, "segmentation": SMALL, "iscrowd": 0},
        {"id": 3, "image_id": 1, "category_id": 1, "segmentation": SQUARE, "iscrowd": 0},
        {"id": 9, "image_id": 1, "category_id": 90, "segmentation": crowd, "iscrowd": 1},
    ]
    names = {"train": ["a1", "a2"], "val": ["b1"]}
    with zipfile.ZipFile(tmp_path / "annotations_trainval2017.zip", "w") as packed:
        for split, its in names.items():
            images = [
                {"id": n, "file_name": f"{i}.jpg", "height": H, "width": W} for n, i in enumerate(its, 1)
            ]
            content = {"images": images, "annotations": annotations, "categories": categories}
            packed.writestr(f"annotations/instances_{split}2017.json", json.dumps(content))
    for split, its in names.items():
        with zipfile.ZipFile(tmp_path / f"{split}2017.zip", "w") as packed:
            for name in its:
                packed.writestr(f"{split}2017/{name}.jpg", jpeg(1))
    out = tmp_path / "out"
    assert cli.main(["data-coco", "--from", str(tmp_path), "--out", str(out), "--year", "2017"]) == 0
    expected = np.zeros((H, W), np.uint8)
    expected[:, :10] = 255
    expected[2:12, 2:12] = 1
    expected[4:8, 4:8] = 2
    assert (read_mask(out / "SegmentationClass" / "a1.png") == expected).all()
    assert not read_mask(out / "SegmentationClass" / "a2.png").any()
    hashed = expected_hash(out, "SegmentationClass", names["train"])
    assert hashed in capsys.readouterr().err
    assert f"{hashed}  train\n" in (out / "masks.sha256").read_text()
    collection = load_collection(out, split="train")
    assert {s.name: s.tags for s in collection.samples} == {
        "a1": ("person", "traffic light", "train"),
        "a2": (),
    }
    assert collection.mask_classes == ("person", "train", "traffic light")


def test_coco_s_rule_leaves_nothing_open() -> None:
    pytest.importorskip("pycocotools")
    same = [{"id": n, "category_id": n, "segmentation": SQUARE} for n in (2, 1)]
    for order in (same, same[::-1]):
        assert set(np.unique(coco.semantic(order, {1: 1, 2: 2}, (H, W)))) == {0, 2}  # the higher id on top
