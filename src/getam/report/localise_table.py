"""The rows `getam localise` measures, and the Markdown page that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from getam.metrics.bootstrap import Interval
from getam.report.columns import Column, table


@dataclass(frozen=True)
class LocaliseRow:
    """What was measured of the boxes of one map method or chain; shares in 0–1.

    Lists of three are for an IoU of 0.3, 0.5 and 0.7. Thresholds were chosen on the other half of the photos, but for
    `max_box_acc` and `max_box_acc_v2`, whose are chosen on the boxes they are scored on.
    """

    name: str
    """METHOD[OPTION=VALUE,…][+REFINER…]."""
    options: dict[str, Any]
    """What the map method was called with besides its own defaults."""
    gt_known: float
    """Box of the largest part, IoU of at least 0.5."""
    gt_known_interval: Interval | None
    thresholds: tuple[float, float]
    """Of `gt_known`: at which the first and the second half were scored."""
    top1: float
    """The same, and the class with the highest score is the true one."""
    top1_interval: Interval | None
    accuracy: float
    """How often it is."""
    box_acc: tuple[float, ...]
    """Box of the largest part."""
    box_acc_v2: tuple[float, ...]
    """Box of any part."""
    mean_box_acc_v2: float
    mean_box_acc_v2_interval: Interval | None
    max_box_acc: tuple[float, ...]
    max_box_acc_v2: tuple[float, ...]
    pxap: float | None
    """None without masks."""
    hits: str
    """Of every photo, sorted by id: 1 where `gt_known` counts it, else 0."""
    compared_to: str | None = None
    """The row measured first; None of itself."""
    difference: float | None = None
    """`gt_known` minus that of `compared_to`."""
    difference_interval: Interval | None = None

    @property
    def peak(self) -> float:
        """MaxBoxAcc, at an IoU of 0.5."""
        return self.max_box_acc[1]

    @property
    def peak_v2(self) -> float:
        """MaxBoxAccV2."""
        return sum(self.max_box_acc_v2) / len(self.max_box_acc_v2)


COLUMNS = (
    Column("**GT-known Loc**", "gt_known", best=max, interval="gt_known_interval"),
    Column("− `{reference}`", "difference", interval="difference_interval", sign=True, compares=True),
    Column("top-1 Loc", "top1", best=max, interval="top1_interval"),
    Column("top-1 class", "accuracy", best=max),
    Column("BoxAccV2", "mean_box_acc_v2", best=max, interval="mean_box_acc_v2_interval"),
    Column("PxAP", "pxap", best=max),
    Column("MaxBoxAcc (chosen on these boxes)", "peak"),
    Column("MaxBoxAccV2 (chosen on these boxes)", "peak_v2"),
)


def rows_table(rows: Sequence[LocaliseRow]) -> str:
    """The table alone, by GT-known localisation."""
    reference = next((row.compared_to for row in rows if row.compared_to), None)
    return table(rows, COLUMNS, {"reference": reference}, by="gt_known")


def markdown(protocol: Mapping[str, Any], rows: Sequence[LocaliseRow], misfits: Mapping[str, str]) -> str:
    """The page: the table, what was not measured, and what every column means.

    Args:
        protocol: as `getam localise` writes it.
        rows: in any order.
        misfits: name of a row → the sentence why it could not be measured.
    """
    parts = ["# getam localise\n", _summary(protocol)]
    if rows:
        parts += [rows_table(rows), "## Each IoU\n", _each(rows)]
    if misfits:
        parts += ["## Not measured\n", "".join(f"- `{name}`: {why}\n" for name, why in misfits.items())]
    return "\n".join([*parts, "## How to read this\n", _notes(protocol, rows)])


def _summary(protocol: Mapping[str, Any]) -> str:
    classes, environment = protocol["classes"], protocol["environment"]
    of = f" of the split `{protocol['split']}`" if protocol["split"] else ""
    return (
        f"{protocol['photos']} photos{of} with one tag of {len(classes)} classes ({', '.join(classes)}); true boxes"
        f" from {protocol['boxes_from']}; long side {protocol['size']}, one pass. Model"
        f" `{protocol['weights_sha256'][:12]}`, ids `{protocol['ids_sha256'][:12]}`, torch"
        f" {environment['versions']['torch']}.\n"
    )


def _each(rows: Sequence[LocaliseRow]) -> str:
    lines = ["| |BoxAcc at 0.3, 0.5, 0.7|BoxAccV2|MaxBoxAcc|MaxBoxAccV2|", "|---|---:|---:|---:|---:|"]
    for row in rows:
        cells = [
            ", ".join(f"{100 * share:.1f}" for share in shares)
            for shares in (row.box_acc, row.box_acc_v2, row.max_box_acc, row.max_box_acc_v2)
        ]
        lines.append(f"|`{row.name}`|{'|'.join(cells)}|")
    return "\n".join(lines) + "\n"


def _notes(protocol: Mapping[str, Any], rows: Sequence[LocaliseRow]) -> str:
    how = protocol["intervals"]
    crossed = "; ".join(f"`{r.name}` {r.thresholds[0]:.2f} and {r.thresholds[1]:.2f}" for r in rows)
    notes = [
        "The map of the true class, min–max, is cut at a threshold; each connected part has a box. GT-known Loc: in %"
        " of the photos the box of the largest part meets a true one with an IoU of at least 0.5. Top-1 Loc: and the"
        " class with the highest score, among those listed above, is the true one (top-1 class).",
        "BoxAccV2: the box of any part, mean over an IoU of at least 0.3, 0.5 and 0.7.",
        f"Thresholds: {protocol['threshold_rule']}. Of GT-known Loc: {crossed}. MaxBoxAcc and MaxBoxAccV2, as papers"
        " report them, take the threshold that is best on the boxes they are scored on: no result, and no interval.",
        "PxAP: area under the curve of pixel precision against recall over the pixels of all photos, at thresholds"
        " 0.001 apart; it needs true masks and chooses no threshold.",
        f"[low, high]: {how['level']:.0%} interval, {how['method']} ({how['resamples']} resamples, seed"
        f" {how['seed']}); thresholds stay as they were chosen.",
    ]
    with_options = [row for row in rows if row.options]
    if with_options:
        said = "; ".join(
            f"`{r.name}` {', '.join(f'{k}={v}' for k, v in r.options.items())}" for r in with_options
        )
        notes.append(f"Options that are not the method's own default: {said}.")
    return "".join(f"- {note}\n" for note in notes)
