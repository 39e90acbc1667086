"""`--map` reaches every verb that reads tags or class lists."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import getam
from getam.data.masks import read_mask, write_classes, write_mask
from getam.errors import InputError
from getam.verbs.data_check import data_check


def write_map(folder: Path, lines: str) -> Path:
    (folder / "map.csv").write_text(lines)
    return folder / "map.csv"


def test_train_learns_the_new_names(scenes: Path, tmp_path: Path) -> None:
    net = getam.train(
        data=scenes / "photos", tags=scenes / "tags.csv", out=tmp_path / "run", saliency=None, size=32, steps=1,
        backbone="small-hybrid", options=("joint_from=1",), map=write_map(tmp_path, "red,any\nblue,any\n"),
    )  # fmt: skip
    assert net.classes == ("any",)


def test_label_takes_the_names_the_model_knows(scenes: Path, trained: Path, tmp_path: Path) -> None:
    tags = scenes / "tags.csv"
    (tmp_path / "tags.csv").write_text(tags.read_text().replace("red", "crimson"))
    given = {"data": scenes / "photos", "model": trained, "saliency": None, "refine": ("none",), "scales": (32,),
             "flip": False}  # fmt: skip
    plain = getam.label(tags=tags, out=tmp_path / "plain", **given)
    named = write_map(tmp_path, "crimson,red\n")
    renamed = getam.label(tags=tmp_path / "tags.csv", out=tmp_path / "renamed", map=named, **given)
    for number in range(6):
        np.testing.assert_array_equal(
            read_mask(plain / f"scene{number}.png"), read_mask(renamed / f"scene{number}.png")
        )
    with pytest.raises(InputError, match="the model does not know the tag 'crimson'"):
        getam.label(tags=tmp_path / "tags.csv", out=tmp_path / "no", **given)
    with pytest.raises(InputError, match=r"map\.csv, line 1: nothing is called 'crimson'"):
        getam.label(tags=tags, out=tmp_path / "no", map=named, **given)


def test_words_have_no_map(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--map renames tags, and --words has none"):
        getam.label(
            data=scenes / "photos", words=scenes / "tags.csv", model=Path("open_clip:none"), out=tmp_path / "no",
            map=write_map(tmp_path, "a,b\n"), saliency=None,
        )  # fmt: skip


def test_data_check_looks_at_the_new_names(scenes: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "truth", ("azure", "red"))
    for mask in (scenes / "truth").glob("*.png"):
        write_mask(tmp_path / "truth" / mask.name, read_mask(mask))
    given = {"tags": (scenes / "tags.csv",), "masks": tmp_path / "truth"}
    wrong = data_check(scenes / "photos", **given)
    assert any("have no class 'blue'" in problem.what for problem in wrong.problems)
    right = data_check(scenes / "photos", **given, map=write_map(tmp_path, "azure,blue\n"))
    assert right.collection.mask_classes == ("blue", "red")
    assert not [problem for problem in right.problems if "blue" in problem.what or "azure" in problem.what]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Predicted cat 1, dog 2; true hen 1, cat 2, dog 3."""
    masks, truth = tmp_path / "masks", tmp_path / "truth"
    write_classes(masks, ("cat", "dog"))
    write_classes(truth, ("hen", "cat", "dog"))
    write_mask(masks / "a.png", np.array([[1, 2, 1, 0, 2, 255]], np.uint8))
    write_mask(truth / "a.png", np.array([[2, 2, 3, 0, 1, 3]], np.uint8))
    return masks, truth


@pytest.mark.parametrize(
    ("lines", "iou"),
    [
        ("hen,dog\n", {"background": 1, "cat": 1 / 3, "dog": 1 / 4}),
        ("cat,pet\ndog,pet\n", {"background": 1, "pet": 3 / 4}),
        ("dog,\n", {"background": 1, "cat": 1 / 2}),
        ("hen,background\n", {"background": 1 / 2, "cat": 1 / 3, "dog": 0}),
        ("cat,dog\ndog,cat\n", {"background": 1, "dog": 1 / 3, "cat": 0}),
    ],
)
def test_evaluate_scores_under_the_new_names(
    folders: tuple[Path, Path], tmp_path: Path, lines: str, iou: dict[str, float]
) -> None:
    out = tmp_path / "scores.json"
    found = getam.evaluate(*folders, map=write_map(tmp_path, lines), out=out, against=folders[0])
    assert found.iou == pytest.approx(iou)
    assert found.against is not None
    assert found.against.difference == 0
    kept = json.loads(out.read_text())["protocol"]
    assert kept["renamed"] == dict(line.split(",") for line in lines.split())
    assert tuple(kept["classes"]) == found.protocol.classes == tuple(iou)[1:]


def test_evaluate_without_a_map_says_so_and_with_a_wrong_one(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    assert getam.evaluate(*folders).protocol.renamed is None
    with pytest.raises(InputError, match=r"map\.csv, line 1: nothing is called 'cow'"):
        getam.evaluate(*folders, map=write_map(tmp_path, "cow,cat\n"))


# Label 0 is void, other lists, other sizes


def test_where_the_truths_label_0_is_void_background_is_no_class(folders: tuple[Path, Path]) -> None:
    masks, truth = folders
    (truth / "classes.txt").write_text("void\nhen\ncat\ndog\n")
    write_mask(masks / "a.png", np.array([[1, 0, 1, 1, 2, 2]], np.uint8))
    found = getam.evaluate(masks, truth)
    # scored: cat/cat, none/cat, cat/dog, dog/dog; the 0 and the hen are nobody's
    assert np.isnan(found.iou.pop("background"))
    assert found.iou == pytest.approx({"cat": 1 / 3, "dog": 1 / 2})
    assert found.miou == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert not found.protocol.background


def test_where_a_map_makes_background_of_a_class_void_beside_it_takes_none_away(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    masks, truth = folders
    (truth / "classes.txt").write_text("void\nhen\ncat\ndog\n")
    write_mask(masks / "a.png", np.array([[1, 0, 1, 1, 0, 2]], np.uint8))
    write_mask(truth / "a.png", np.array([[2, 2, 3, 0, 1, 3]], np.uint8))
    found = getam.evaluate(masks, truth, map=write_map(tmp_path, "hen,background\n"))
    # scored: cat/cat, background/cat, cat/dog, background/background, dog/dog; the 0 is nobody's
    assert found.iou == pytest.approx({"background": 1 / 2, "cat": 1 / 3, "dog": 1 / 2})
    assert found.protocol.background


def test_where_the_predicted_label_0_is_void_it_is_no_label(folders: tuple[Path, Path]) -> None:
    masks, truth = folders
    plain = getam.evaluate(masks, truth)
    assert (plain.iou["background"], plain.protocol.background) == (1, True)
    (masks / "classes.txt").write_text("void\ncat\ndog\n")
    assert getam.evaluate(masks, truth).iou == {**plain.iou, "background": 0}


@pytest.mark.parametrize(
    "names", [("dog", "hen", "cat"), ("sky", "cat", "dog", "hen", "cow"), ("cat", "dog")]
)
def test_lists_of_another_order_or_with_more_or_fewer_classes(
    folders: tuple[Path, Path], names: tuple[str, ...]
) -> None:
    masks, truth = folders
    wanted = getam.evaluate(masks, truth).iou
    old = ("hen", "cat", "dog")
    numbers = np.array([0, *(names.index(name) + 1 if name in names else 255 for name in old)], np.uint8)
    write_classes(truth, names)
    write_mask(truth / "a.png", numbers[read_mask(truth / "a.png")])
    assert getam.evaluate(masks, truth).iou == wanted


def test_a_truth_that_lacks_a_predicted_class_names_it_and_the_remedy(folders: tuple[Path, Path]) -> None:
    masks, truth = folders
    write_classes(masks, ("cat", "dog", "cow"))
    with pytest.raises(InputError, match=r"truth have no class 'cow'; .*--classes"):
        getam.evaluate(masks, truth)
    assert list(getam.evaluate(masks, truth, classes=("dog", "cat")).iou) == ["background", "dog", "cat"]


def test_vocs_own_masks_need_no_class_list(tmp_path: Path) -> None:
    (tmp_path / "VOC" / "JPEGImages").mkdir(parents=True)
    (tmp_path / "VOC" / "ImageSets" / "Segmentation").mkdir(parents=True)
    write_mask(tmp_path / "VOC" / "SegmentationClass" / "a.png", np.array([[8, 12, 0, 255]], np.uint8))
    write_classes(tmp_path / "masks", ("dog", "cat"))
    write_mask(tmp_path / "masks" / "a.png", np.array([[2, 1, 0, 1]], np.uint8))
    assert getam.evaluate(tmp_path / "masks", tmp_path / "VOC" / "SegmentationClass").miou == 1
