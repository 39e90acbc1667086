"""What is said of all photos together, against confusion matrices of all their pixels."""

import re
import xml.etree.ElementTree as ET

import numpy as np

from getam.metrics.bootstrap import interval
from getam.metrics.confusion import ConfusionMatrix, hits_and_unions
from getam.metrics.plausibility import plausibility
from getam.report.browse.measures import Layer, measured
from getam.report.browse.summary import class_plots, iou_bars, sentences

NAMES = ("cat", "dog", "cow")
MASKS, TRUTH = Layer("masks", NAMES), Layer("truth", NAMES)


def photos(count, truths, others):
    """Measures of random masks, and the pixels that were compared."""
    random = np.random.default_rng(3)
    made, seen = [], {"truth": [], "other": []}
    for number in range(count):
        mask, other, truth = (random.integers(0, 3, (6, 7), dtype=np.uint8) for _ in range(3))
        its = measured(
            mask, MASKS, NAMES, confidences={"cat": 0.1 * number, "dog": 0.5} if number else {},
            other=(other, MASKS) if number < others else None, truth=(truth, TRUTH) if number < truths else None,
        )  # fmt: skip
        made.append(its)
        seen["truth"] += [(mask, truth)] * (number < truths)
        seen["other"] += [(mask, other)] * (number < others)
    return made, seen


def matrix(pairs):
    found = ConfusionMatrix(len(NAMES))
    counts = np.stack([hits_and_unions(found.update(*pair)) for pair in pairs])
    return found, counts


def test_miou_is_of_all_pixels_together():
    made, seen = photos(5, 5, 3)
    said = sentences(made, "others")
    (truth, truth_counts), (other, other_counts) = matrix(seen["truth"]), matrix(seen["other"])
    low, high = interval(truth_counts)
    assert (
        said[1]
        == f"mIoU with the true masks {truth.compute().miou:.3f} (95 % interval {low:.3f}–{high:.3f})."
    )
    low, high = interval(other_counts)
    miou = other.compute().miou
    assert said[2] == f"mIoU with others {miou:.3f} (95 % interval {low:.3f}–{high:.3f}), on 3 photos."
    assert len(said) == 3


def test_nothing_is_said_of_what_there_is_not():
    made, _ = photos(2, 0, 0)
    assert len(sentences(made, None)) == 1
    made, _ = photos(2, 1, 0)
    assert re.fullmatch(r"mIoU with the true masks 0\.\d{3}, on 1 photo\.", sentences(made, None)[1])


def test_doubts_are_counted():
    full = measured(np.ones((2, 2), np.uint8), MASKS, NAMES, confidences={})
    half = measured(np.array([[0, 1]], np.uint8), MASKS, NAMES, confidences={})
    assert full.alone == plausibility(np.ones((2, 2), np.uint8), NAMES)
    assert sentences([half, half], None) == ["2 photos; none of them look wrong."]
    assert sentences([full, half], None) == ["2 photos; 1 looks wrong."]
    assert sentences([full, full, half], None) == ["3 photos; 2 of them look wrong."]


def test_bars_are_of_what_occurs():
    made, seen = photos(4, 4, 4)
    truth, _ = matrix(seen["truth"])
    plots = [ET.fromstring(plot) for plot in class_plots(made, NAMES, "others")]
    titles = [plot.get("aria-label").partition(":")[0] for plot in plots]
    assert titles == ["IoU with the true masks", "IoU with others", "Confidence", "Photos with the class"]
    iou = truth.compute().iou
    assert plots[0].get("aria-label").endswith(f"background {iou[0]:.2f}; cat {iou[1]:.2f}; dog {iou[2]:.2f}")
    assert plots[2].get("aria-label").endswith("cat 0.20; dog 0.50")  # medians of 0.1, 0.2, 0.3 and of 0.5
    assert plots[3].get("aria-label").endswith("cat 4; dog 4")
    fills = [bar.get("fill") for bar in plots[0].iter("rect")]
    assert fills == ["#888888", "#E69F00", "#56B4E9"]


def test_bars_without_confidences_or_others():
    blank = measured(np.zeros((2, 2), np.uint8), MASKS, NAMES, confidences={})
    assert class_plots([blank], NAMES, None) == []
    assert [bar.name for bar in iou_bars(np.array([[3, 0, 1], [4, 0, 2]]), ("cat", "dog"))] == [
        "background",
        "dog",
    ]
