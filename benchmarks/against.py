"""One network against another on the same photos: difference and ratio of their mIoUs, each with its interval.

    python benchmarks/against.py OURS.json THEIRS.json

Both are JSON files of voc_animals.py. What an interval is, and what it leaves out: getam/metrics/bootstrap.py; both
networks see the same draws of photos, in a ratio as in a difference. With a ceiling as THEIRS the ratio is what part of
it is reached.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from voc_animals import parts

from getam.metrics.bootstrap import DEFAULT, resampled_miou
from getam.metrics.confusion import Counts, mean_iou

KINDS = ("plain", "CRF", "told")
COUNTS = "hits and unions"  # of each photo


def compared(ours: Counts, theirs: Counts) -> tuple[str, str]:
    """Difference and ratio of two mIoUs of the same photos in the same order, as text."""
    a, b = (float(mean_iou(counts.sum(0))) for counts in (ours, theirs))
    drawn, others = resampled_miou(ours), resampled_miou(theirs)
    return (
        f"{a - b:+.3f} {ends(drawn - others, '+.3f')}",
        f"{a / b:.3f} {ends(drawn / others, '.3f')}",
    )


def ends(values: npt.NDArray[np.float64], form: str) -> str:
    low, high = np.quantile(values, ((1 - DEFAULT.level) / 2, (1 + DEFAULT.level) / 2))
    return f"[{low:{form}}, {high:{form}}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ours", type=Path)
    parser.add_argument("theirs", type=Path)
    options = parser.parse_args()
    both: list[dict[str, Any]] = [
        json.loads(path.read_text())["single"] for path in (options.ours, options.theirs)
    ]
    kinds = [kind for kind in KINDS if all(COUNTS in its.get(kind, {}) for its in both)]
    if not kinds:
        parser.error(
            f"the files have no {COUNTS} of the same masks: they are older than these, measure again"
        )
    for kind in kinds:
        found = [its[kind][COUNTS] for its in both]
        if found[0].keys() != found[1].keys():
            parser.error(f"{kind}: the two files are of different photos")
        for part, names in parts(list(found[0])).items():
            counts = [np.array([its[name] for name in names], np.int64) for its in found]
            difference, ratio = compared(*counts)
            print(f"{kind:5} {part:6} {len(names):3} photos  difference {difference}  ratio {ratio}")


if __name__ == "__main__":
    main()
