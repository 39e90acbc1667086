"""Masks are scored against truth, matched by file name and class name, or one sentence says why not."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

from getam.cli import main
from getam.data.masks import read_mask, write_classes, write_mask
from getam.errors import InputError
from getam.metrics.bootstrap import Bootstrap, difference_interval, interval
from getam.metrics.confusion import mean_iou
from getam.metrics.hausdorff import HausdorffScore
from getam.verbs.evaluate import evaluate

PREDICTED, TRUE = ("cat", "dog"), ("dog", "sofa", "cat")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Predicted: cat 1, dog 2. True: dog 1, sofa 2, cat 3, with classes.txt in the folder above."""
    masks, truth = tmp_path / "run" / "masks", tmp_path / "data" / "truth"
    write_classes(masks, PREDICTED)
    write_classes(truth.parent, TRUE)
    write_mask(masks / "a.png", np.array([[0, 1, 1, 0]], np.uint8))
    write_mask(truth / "a.png", np.array([[0, 3, 0, 255]], np.uint8))
    write_mask(masks / "b.png", np.array([[2, 2], [0, 1]], np.uint8))
    write_mask(truth / "b.png", np.array([[1, 2], [0, 1]], np.uint8))
    return masks, truth


def test_scores_by_class_name(folders: tuple[Path, Path]) -> None:
    # scored pixels as predicted/true: in a 0/0, cat/cat, cat/0; in b dog/dog, 0/0, cat/dog
    result = evaluate(*folders)
    assert result.iou == {"background": pytest.approx(2 / 3), "cat": pytest.approx(1 / 3), "dog": 0.5}
    assert result.miou == pytest.approx((2 / 3 + 1 / 3 + 1 / 2) / 3)
    assert result.pixel_accuracy == pytest.approx(4 / 6)
    assert result.protocol.classes == PREDICTED
    assert result.protocol.photos == 2
    assert result.protocol.ids_sha256 == hashlib.sha256(b"a\nb\n").hexdigest()


def test_dice_and_distances_by_photo_and_class_name(folders: tuple[Path, Path]) -> None:
    """Of a: cat at 1 and 2, in truth at 1. Of b: cat where there is dog; dog twice, once right and once unscored."""
    result = evaluate(*folders)
    assert result.dice == {"cat": pytest.approx((2 / 3 + 0) / 2), "dog": pytest.approx(2 / 3)}
    assert result.mean_dice == pytest.approx(np.mean(list(result.dice.values())))
    apart = HausdorffScore(2)
    apart.update(np.array([[0, 1, 1, 0]]), np.array([[0, 1, 0, 255]]))
    apart.update(np.array([[2, 2], [0, 1]]), np.array([[2, 255], [0, 2]]))
    expected = apart.compute()
    assert result.hd95 == dict(zip(PREDICTED, expected.per_class, strict=True))
    assert result.mean_hd95 == expected.mean > 0
    assert "averaged over photos" in result.protocol.by_photo
    assert evaluate(*folders, against=folders[0]).hd95 == result.hd95  # the other folder's are not mixed in


def test_a_subset_of_classes(folders: tuple[Path, Path]) -> None:
    # dog is ignored in the truth and counts as unlabelled in the prediction
    result = evaluate(*folders, classes=("cat",))
    assert result.iou == {"background": pytest.approx(2 / 3), "cat": 0.5}


def test_a_split_selects_the_photos(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[0] / "b.png").unlink()
    (tmp_path / "easy.txt").write_text("a\n")
    result = evaluate(*folders, split=tmp_path / "easy.txt")
    assert result.protocol.photos == 1
    assert result.protocol.split == "easy.txt"
    assert result.iou["background"] == 0.5
    assert np.isnan(result.iou["dog"])


def test_masks_in_subfolders_match_flat_truth(folders: tuple[Path, Path]) -> None:
    masks, _ = folders
    (masks / "images").mkdir()
    for name in ("a.png", "b.png"):
        (masks / name).rename(masks / "images" / name)
    result = evaluate(*folders)
    assert result.protocol.photos == 2
    assert result.protocol.ids_sha256 == hashlib.sha256(b"images/a\nimages/b\n").hexdigest()


def test_json_holds_scores_and_protocol(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "scores" / "a.json"
    (tmp_path / "easy.txt").write_text("a\n")
    result = evaluate(*folders, split=tmp_path / "easy.txt", out=out)
    content = json.loads(out.read_text())
    assert content["miou"] == result.miou
    assert content["iou"]["dog"] is None
    assert content["protocol"]["classes"] == ["cat", "dog"]
    assert "255" in content["protocol"]["ignored"]
    with pytest.raises(InputError, match=r"a\.json exists already"):
        evaluate(*folders, out=out)
    evaluate(*folders, out=out, overwrite=True)
    assert json.loads(out.read_text())["protocol"]["photos"] == 2


@pytest.fixture
def many(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Masks, another system's masks with other label numbers, and truth, of eight photos."""
    random = np.random.default_rng(0)
    masks, others, truth = tmp_path / "masks", tmp_path / "others", tmp_path / "truth"
    write_classes(masks, PREDICTED)
    write_classes(others, ("dog", "cat"))
    write_classes(truth, TRUE)
    for number in range(8):
        label = random.choice([0, 1, 3, 255], (6, 9)).astype(np.uint8)
        write_mask(truth / f"{number}.png", label)
        for folder, table, right in ((masks, [0, 2, 255, 1], 0.8), (others, [0, 1, 255, 2], 0.5)):
            said = np.append(table, [255] * 252)[label].astype(np.uint8)
            write_mask(folder / f"{number}.png", np.where(random.random((6, 9)) < right, said, 0))
    return masks, others, truth


def counts_slowly(masks: Path, order: tuple[str, ...], truth: Path) -> np.ndarray:
    """(N,2,3) of the photos of a folder by name; cat before dog."""
    counts = np.zeros((8, 2, 3), int)
    for number in range(8):
        true, said = read_mask(truth / f"{number}.png"), read_mask(masks / f"{number}.png")
        for place, (name, label) in enumerate((("background", 0), ("cat", 3), ("dog", 1))):
            own = (said == (("background", *order).index(name))) & (true != 255)
            counts[number, :, place] = (own & (true == label)).sum(), (own | (true == label)).sum()
    return counts


def test_the_interval_is_that_of_drawing_photos(many: tuple[Path, Path, Path]) -> None:
    masks, _others, truth = many
    result = evaluate(masks, truth)
    counts = counts_slowly(masks, PREDICTED, truth)
    assert result.miou == float(mean_iou(counts.sum(0)))
    assert result.interval == interval(counts)
    assert result.interval is not None
    assert result.interval[0] < result.miou < result.interval[1]
    assert result.against is None
    assert result.protocol.intervals == Bootstrap(resamples=2000, level=0.95, seed=0)


def test_another_folder_gives_a_difference_on_the_same_draws(many: tuple[Path, Path, Path]) -> None:
    masks, others, truth = many
    ours, theirs = (
        counts_slowly(masks, PREDICTED, truth),
        counts_slowly(others, ("dog", "cat"), truth),
    )
    result = evaluate(masks, truth, against=others)
    assert result.miou == evaluate(masks, truth).miou
    found = result.against
    assert found is not None
    assert found.masks == str(others)
    assert found.miou == evaluate(others, truth).miou
    assert found.interval == interval(theirs)
    assert found.difference == pytest.approx(result.miou - found.miou)
    assert found.difference > 0
    assert found.difference_interval == difference_interval(ours, theirs)
    content = json.loads(result.as_json())
    assert content["interval"] == list(result.interval or ())
    assert content["against"]["difference_interval"] == list(found.difference_interval or ())
    assert content["protocol"]["intervals"] == {
        "method": "percentile bootstrap over photos", "resamples": 2000, "level": 0.95, "seed": 0,
    }  # fmt: skip


def test_the_other_folder_is_scored_on_the_chosen_classes_and_photos(
    many: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    masks, others, truth = many
    (tmp_path / "some.txt").write_text("1\n4\n6\n")
    options = {"classes": ("cat",), "split": tmp_path / "some.txt"}
    found = evaluate(masks, truth, against=others, **options).against
    alone = evaluate(others, truth, **options)
    assert found is not None
    assert (found.miou, found.interval) == (alone.miou, alone.interval)
    for number in (0, 2, 3, 5, 7):
        (others / f"{number}.png").unlink()
    assert evaluate(masks, truth, against=others, **options).against == found
    with pytest.raises(InputError, match=r"5 of 8 true masks have no predicted one in .*others"):
        evaluate(masks, truth, against=others)
    (others / "classes.txt").write_text("background\ndog\ncow\n")
    with pytest.raises(InputError, match=r"masks in .*others have no class 'cat'"):
        evaluate(masks, truth, against=others)
    with pytest.raises(InputError, match="nowhere does not exist"):
        evaluate(masks, truth, against=tmp_path / "nowhere")


def test_the_other_masks_may_lie_in_folders_of_their_own(many: tuple[Path, Path, Path]) -> None:
    masks, others, truth = many
    expected = evaluate(masks, truth, against=others)
    (others / "images").mkdir()
    for file in others.glob("*.png"):
        file.rename(others / "images" / file.name)
    assert evaluate(masks, truth, against=others) == expected


def test_one_photo_has_no_interval(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "easy.txt").write_text("a\n")
    result = evaluate(*folders, split=tmp_path / "easy.txt", against=folders[0])
    assert result.interval is None
    assert result.against is not None
    assert result.against.difference == 0
    assert result.against.difference_interval is None
    assert json.loads(result.as_json())["interval"] is None


def test_the_command_line_prints_intervals(
    many: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    masks, others, truth = many
    assert main(["evaluate", str(masks), str(truth), "--against", str(others)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed)[:2] == ["miou", "interval"]
    assert printed == json.loads(evaluate(masks, truth, against=others).as_json())


def delete(path: str) -> Callable[[Path], None]:
    return lambda root: (root / path).unlink()


def write(path: str, label: np.ndarray) -> Callable[[Path], None]:
    return lambda root: write_mask(root / path, label)


def text(path: str, content: str) -> Callable[[Path], None]:
    return lambda root: (root / path).write_text(content) and None


def colour(path: str) -> Callable[[Path], None]:
    return lambda root: Image.new("RGB", (4, 1)).save(root / path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (delete("data/truth/b.png"), r"1 of 2 photos have no true mask in .*truth, the first is b\.png"),
        (
            delete("run/masks/a.png"),
            r"1 of 2 true masks have no predicted one in .*masks, the first is a\.png",
        ),
        (delete("run/masks/classes.txt"), r"masks/classes\.txt does not exist"),
        (delete("data/classes.txt"), r"truth/classes\.txt does not exist"),
        (
            text("data/classes.txt", "background\ndog\nsofa\ncaat\n"),
            r"truth have no class 'cat'; did you mean 'caat'",
        ),
        (
            write("run/masks/a.png", np.zeros((2, 4), np.uint8)),
            r"a\.png is 4×2 but its truth .*a\.png is 4×1",
        ),
        (
            write("run/masks/a.png", np.full((1, 4), 3, np.uint8)),
            r"masks/a\.png: label 3 is beyond the 2 classes",
        ),
        (
            write("data/truth/a.png", np.full((1, 4), 9, np.uint8)),
            r"truth/a\.png: label 9 is beyond the 3 classes",
        ),
        (colour("data/truth/a.png"), r"truth/a\.png is RGB colours, not label numbers"),
    ],
)
def test_what_does_not_fit_is_named(
    folders: tuple[Path, Path], tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        evaluate(*folders)
    assert "\n" not in str(caught.value)


def test_folders_that_are_not_there_or_empty(folders: tuple[Path, Path], tmp_path: Path) -> None:
    masks, truth = folders
    with pytest.raises(InputError, match=r"nowhere does not exist"):
        evaluate(tmp_path / "nowhere", truth)
    with pytest.raises(InputError, match=r"nowhere does not exist"):
        evaluate(masks, tmp_path / "nowhere")
    write_classes(tmp_path / "empty", PREDICTED)
    with pytest.raises(InputError, match=r"empty holds no PNG: give the folder with the predicted masks"):
        evaluate(tmp_path / "empty", truth)
    with pytest.raises(InputError, match=r"empty holds no PNG: give the folder with the true masks"):
        evaluate(masks, tmp_path / "empty")


def test_splits_must_be_complete(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("a\nz\n")
    with pytest.raises(InputError, match=r"1 of 2 photos listed in .*more\.txt have no predicted mask"):
        evaluate(*folders, split=tmp_path / "more.txt")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(InputError, match=r"empty\.txt is empty"):
        evaluate(*folders, split=tmp_path / "empty.txt")


@pytest.mark.parametrize("classes", [(), ("cat", "cat"), ("sofa",)])
def test_bad_class_choices(folders: tuple[Path, Path], classes: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="class"):
        evaluate(*folders, classes=classes)


def test_command_line_is_generated_from_the_signature(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    masks, truth = folders
    arguments = [str(masks), str(truth), "--classes", "cat"]
    assert tyro.cli(evaluate, args=arguments) == evaluate(masks, truth, classes=("cat",))
    with pytest.raises(SystemExit):
        tyro.cli(evaluate, args=["--help"])
    assert "hard photos cannot be left out unnoticed" in " ".join(
        capsys.readouterr().out.replace("│", " ").split()
    )


# Names and files


def test_names_that_are_not_utf8(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    for folder in folders:
        (folder / "a.png").rename(folder / os.fsdecode(b"caf\xe9.png"))
    result = evaluate(*folders)
    assert result.protocol.ids_sha256 == hashlib.sha256(b"b\ncaf\xe9\n").hexdigest()
    print(result.as_json())


@pytest.mark.parametrize(
    "file",
    [
        "run/masks/a.png",
        "data/truth/b.png",
        "data/classes.txt",
        "easy.txt",
        "new.csv",
        "other/a.png",
        "other/classes.txt",
    ],
)
def test_the_scores_are_not_written_over_what_is_scored(
    folders: tuple[Path, Path], tmp_path: Path, file: str
) -> None:
    (tmp_path / "easy.txt").write_text("a\n")
    (tmp_path / "new.csv").write_text("from,to\ncat,feline\n")
    shutil.copytree(folders[0], tmp_path / "other")
    before = (tmp_path / file).read_bytes()
    with pytest.raises(InputError, match="is read here and would be written over"):
        evaluate(
            *folders, map=tmp_path / "new.csv", split=tmp_path / "easy.txt", against=tmp_path / "other",
            out=tmp_path / file, overwrite=True,
        )  # fmt: skip
    assert (tmp_path / file).read_bytes() == before


def test_rates_are_means_over_background_and_classes(folders: tuple[Path, Path]) -> None:
    # scored pixels as predicted/true: in a 0/0, cat/cat, cat/0; in b dog/dog, 0/0, cat/dog
    # background: TP 2, FN 1; cat: TP 1, FP 2; dog: TP 1, FN 1
    result = evaluate(*folders)
    assert result.false_positive_rate == pytest.approx((0 + 2 / 3 + 0) / 3)
    assert result.false_negative_rate == pytest.approx((1 / 3 + 0 + 1 / 2) / 3)
    assert result.protocol.split is None
    assert result.protocol.metric.startswith("one confusion matrix over all pixels")


def test_a_name_in_another_folder_matches_only_where_it_is_the_only_one(folders: tuple[Path, Path]) -> None:
    masks, _ = folders
    for sub in ("x", "y"):
        write_mask(masks / sub / "a.png", np.zeros((1, 4), np.uint8))
    for name in ("a.png", "b.png"):
        (masks / name).unlink()
    with pytest.raises(InputError, match=r"2 of 2 photos have no true mask"):
        evaluate(*folders)
