"""WSOL's scores, against pixels counted in loops, scikit-learn's average precision and halves taken by hand."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import average_precision_score

from getam.boxes import component_boxes
from getam.errors import InputError
from getam.metrics.bootstrap import resampled_miou
from getam.metrics.localisation import (
    IOUS,
    LocalisationScore,
    average_precision,
    best_ious,
    crossed_hits,
    hit_counts,
)
from getam.metrics.thresholds import DEFAULT_THRESHOLDS


def counted(ours: list[int], theirs: list[int]) -> float:
    """IoU of two boxes by their pixels."""
    a, b = ({(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (ours, theirs))
    return len(a & b) / len(a | b)


def blobs(seed: int, size: tuple[int, int] = (12, 14)) -> npt.NDArray[Any]:
    """A map of a few bumps in [0,1], reaching both ends."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    map = np.zeros(size)
    for _ in range(3):
        cy, cx, s, top = random.uniform(0, [size[0], size[1], 4, 1])
        map = np.maximum(map, top * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * (s + 1) ** 2)))
    return (map - map.min()) / (map.max() - map.min())


def test_ious_of_the_largest_part_and_of_any() -> None:
    thresholds = (0.2, 0.5, 0.8)
    true = np.array([[2, 1, 9, 8], [0, 0, 2, 2]])
    for seed in range(8):
        map = blobs(seed)
        found = best_ious(map, true, thresholds)
        for place, threshold in enumerate(thresholds):
            boxes, pixels = component_boxes(map >= threshold)
            each = [max(counted(box, t) for t in true.tolist()) for box in boxes.tolist()]
            assert found[0, place] == pytest.approx(each[int(pixels.argmax())])
            assert found[1, place] == pytest.approx(max(each))
    assert (best_ious(blobs(1) * 0.5, true, (0.6,)) == 0).all()  # nothing reaches the threshold
    assert best_ious(np.full((4, 4), 0.5), np.array([[0, 0, 4, 4]]), (0.5,)).tolist() == [[1], [1]]


def test_each_half_is_judged_at_the_threshold_of_the_other() -> None:
    random = np.random.default_rng(0)
    thresholds = (0.1, 0.2, 0.3, 0.4)
    for _ in range(20):
        hits = random.random((7, 4)) < 0.5
        found = crossed_hits(hits, thresholds)
        even, odd = hits[::2].mean(0), hits[1::2].mean(0)
        chosen = [int(np.flatnonzero(half == half.max())[0]) for half in (odd, even)]  # the lowest of equals
        assert found.thresholds == tuple(thresholds[c] for c in chosen)
        assert found.hits.tolist() == [bool(hits[n, chosen[n % 2]]) for n in range(7)]


def photos(count: int = 9) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], bool]]:
    """Maps, boxes, truths with void, and whether the class was recognised."""
    found = []
    for seed in range(count):
        random = np.random.default_rng(100 + seed)
        truth = (blobs(seed) > 0.5).astype(np.uint8)
        boxes, _ = component_boxes(truth == 1)
        truth[random.random(truth.shape) < 0.1] = 255
        map = np.clip(blobs(seed) * 0.6 + blobs(seed + 50) * 0.4, 0, 1)
        found.append((map / map.max(), boxes, truth, seed % 3 != 0))
    return found


def test_all_scores_of_a_data_set() -> None:
    score = LocalisationScore()
    for map, boxes, truth, recognised in photos():
        score.update(map, boxes, recognised=recognised, truth=truth)
    found = score.compute()
    ious = np.stack([best_ious(map, boxes, DEFAULT_THRESHOLDS) for map, boxes, _, _ in photos()])
    for place, least in enumerate(IOUS):
        for part, crossed, peak in (
            (0, found.box_acc, found.max_box_acc),
            (1, found.box_acc_v2, found.max_box_acc_v2),
        ):
            hits = ious[:, part] >= least
            assert crossed[place].hits.tolist() == crossed_hits(hits, DEFAULT_THRESHOLDS).hits.tolist()
            assert peak[place] == pytest.approx(hits.mean(0).max())
    assert IOUS == (0.3, 0.5, 0.7)
    recognised = np.array([r for *_, r in photos()])
    assert found.recognised.tolist() == recognised.tolist()
    assert found.top1.tolist() == (recognised & found.box_acc[1].hits).tolist()
    levels = np.concatenate([np.floor(map * 1000)[truth != 255] for map, _, truth, _ in photos()])
    true = np.concatenate([truth[truth != 255] for _, _, truth, _ in photos()])
    assert found.pxap == pytest.approx(average_precision_score(true, levels))
    assert 0.3 < found.pxap < 1


def test_pxap_of_a_perfect_and_of_a_blind_map() -> None:
    assert average_precision(np.array([[3, 0, 0], [0, 0, 2]])) == 1
    assert average_precision(np.array([[0, 6], [0, 2]])) == pytest.approx(0.25)
    assert average_precision(np.array([[0, 0, 2], [2, 0, 0]])) == pytest.approx(0.5)


def test_without_masks_there_is_no_pxap() -> None:
    score = LocalisationScore((0.5,))
    for map, boxes, _, recognised in photos(2):
        score.update(map, boxes, recognised=recognised)
    assert score.compute().pxap is None


def test_hits_are_drawn_as_shares() -> None:
    one, two = np.array([True, False, True]), np.array([True, False, False])
    counts = hit_counts(one, two)
    assert counts.dtype == np.int64
    assert counts.tolist() == [[[2], [2]], [[0], [2]], [[1], [2]]]
    assert resampled_miou(counts).mean() == pytest.approx(0.5, abs=0.03)


def test_what_cannot_be_scored() -> None:
    score, box = LocalisationScore((0.5,)), np.array([[0, 0, 1, 1]])
    for map in (np.full((2, 2), 1.1), np.full((2, 2), -0.1), np.full((2, 2), np.nan), np.zeros((1, 2, 2))):
        with pytest.raises(InputError, match="a map is"):
            score.update(map, box, recognised=True)
    for boxes in (np.zeros((0, 4)), np.zeros((1, 3)), np.zeros(4)):
        with pytest.raises(InputError, match="true boxes are"):
            score.update(np.zeros((2, 2)), boxes.astype(np.int64), recognised=True)
    with pytest.raises(InputError, match=r"the map is .* but the truth is"):
        score.update(np.zeros((2, 2)), box, recognised=True, truth=np.zeros((2, 3), np.uint8))
    score.update(np.zeros((2, 2)), box, recognised=True)
    with pytest.raises(InputError, match="at least two photos"):
        score.compute()
