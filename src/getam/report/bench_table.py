"""The rows `getam bench` measures, and the Markdown page that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from getam.report.columns import Column, table


@dataclass(frozen=True)
class BenchRow:
    """What was measured of one map method or chain; shares and scores in 0–1, None where it does not apply."""

    name: str
    """METHOD[OPTION=VALUE,…][+REFINER…][:LABELLER]."""
    options: dict[str, Any]
    """What the map method was called with besides its own defaults."""
    miou: float
    """Of maps: at thresholds chosen on the other half of the photos."""
    interval: tuple[float, float] | None
    """95 % interval of `miou`: photos are drawn again, thresholds stay."""
    iou: dict[str, float]
    """By class, `background` first, as `miou`."""
    false_positive_rate: float
    false_negative_rate: float
    boundary_precision: float
    boundary_recall: float
    boundary_f: float
    seconds: float
    """Median of a photo, wall-clock."""
    cpu_seconds: float
    """Median of a photo, of all threads: other programs do not lengthen it."""
    forwards: float
    """`cpu_seconds` over the median CPU seconds of a plain forward of the same photos."""
    megabytes: float
    """Of the tensors alive at one time for the largest photo."""
    photos: tuple[str, ...]
    """Of every photo, sorted by id: LABEL:TP/UNION of the labels that occur, in pixels, as counted in `miou`."""
    compared_to: str | None = None
    """The row measured first; None of itself."""
    difference: float | None = None
    """`miou` minus that of `compared_to`."""
    difference_interval: tuple[float, float] | None = None
    thresholds: tuple[float, float] | None = None
    """At which the first and the second half were scored."""
    miou_fixed: float | None = None
    miou_fixed_interval: tuple[float, float] | None = None
    peak: float | None = None
    """Highest mIoU of the curve: its threshold is chosen on the masks it is scored on."""
    peak_threshold: float | None = None
    curve: tuple[float, ...] | None = None
    """mIoU at 0.01, 0.02, …, 0.99."""
    deletion: float | None = None
    deletion_interval: tuple[float, float] | None = None
    insertion: float | None = None
    insertion_interval: tuple[float, float] | None = None
    undecided: float | None = None
    """Share of pixels labelled 255, by labellers."""

    @property
    def is_label(self) -> bool:
        """Whether the row gives labels, not maps."""
        return self.undecided is not None


DIFFERENCE = Column("− `{reference}`", "difference", interval="difference_interval", sign=True, compares=True)
MAP_COLUMNS = (
    Column("**mIoU**, threshold chosen on the other half", "miou", best=max, interval="interval"),
    DIFFERENCE,
    Column("mIoU at {fixed}, set beforehand", "miou_fixed", best=max, interval="miou_fixed_interval"),
    Column("curve's peak (chosen on these masks)", "peak"),
    Column("FP", "false_positive_rate", best=min),
    Column("FN", "false_negative_rate", best=min),
    Column("boundary F", "boundary_f", best=max),
    Column("deletion ↓", "deletion", 1, 3, min, interval="deletion_interval"),
    Column("insertion ↑", "insertion", 1, 3, max, interval="insertion_interval"),
)
LABEL_COLUMNS = (
    Column("**mIoU**", "miou", best=max, interval="interval"),
    DIFFERENCE,
    Column("FP", "false_positive_rate", best=min),
    Column("FN", "false_negative_rate", best=min),
    Column("boundary F", "boundary_f", best=max),
    Column("undecided", "undecided"),
)
COST_COLUMNS = (
    Column("ms a photo", "seconds", 1000, 0, min),
    Column("CPU ms", "cpu_seconds", 1000, 0, min),
    Column("× forward", "forwards", 1, 1, min),
    Column("MB", "megabytes", 1, 0, min),
)


def markdown(
    protocol: Mapping[str, Any],
    rows: Sequence[BenchRow],
    misfits: Mapping[str, str],
    *,
    pictures: Sequence[str] = (),
) -> str:
    """The page: maps and labels as tables sorted by mIoU, what did not fit, and what every column means.

    Args:
        protocol: as `getam bench` writes it.
        rows: in any order.
        misfits: name of a row → the sentence why it could not be measured.
        pictures: file names beside the page.
    """
    maps = [row for row in rows if not row.is_label]
    labels = [row for row in rows if row.is_label]
    reference = next((row.compared_to for row in rows if row.compared_to), None)
    said = {"fixed": protocol["fixed_threshold"], "reference": reference}
    parts = ["# getam bench\n", _summary(protocol)]
    if maps:
        parts += ["## Maps\n", table(maps, MAP_COLUMNS + COST_COLUMNS, said)]
    if labels:
        parts += ["## Labels\n", table(labels, LABEL_COLUMNS + COST_COLUMNS, said)]
    parts += [f"![{name.split('.')[0]}]({name})\n" for name in pictures]
    if misfits:
        parts += ["## Not measured\n", "".join(f"- `{name}`: {why}\n" for name, why in misfits.items())]
    parts += ["## How to read this\n", _notes(protocol, maps, labels, reference)]
    return "\n".join(parts)


def _summary(protocol: Mapping[str, Any]) -> str:
    classes = protocol["classes"]
    of = f" of the split `{protocol['split']}`" if protocol["split"] else ""
    environment = protocol["environment"]
    return (
        f"{protocol['photos']} photos{of}, {len(classes)} classes ({', '.join(classes)}), tags known, long side "
        f"{protocol['size']}, one pass. Model `{protocol['weights_sha256'][:12]}`, ids "
        f"`{protocol['ids_sha256'][:12]}`, torch {environment['versions']['torch']}, {protocol['threads']} "
        f"{'thread' if protocol['threads'] == 1 else 'threads'} of {environment['machine']}.\n"
    )


def _notes(
    protocol: Mapping[str, Any], maps: Sequence[BenchRow], labels: Sequence[BenchRow], reference: str | None
) -> str:
    """What the columns mean that are there."""
    how = protocol["intervals"]
    ignored = "Pixels of 255 and of classes outside the list are not scored"
    if protocol["background"]:
        ignored += f"; {', '.join(protocol['background'])} count as background"
    notes = [
        "mIoU: one confusion matrix over all pixels, mean over background and the classes that occur, in %."
        f" {ignored}. A photo without a tag is background everywhere.",
    ]
    if maps:
        notes += [
            "Threshold: the sorted ids are dealt into two halves; the best of 0.01, 0.02, …, 0.99 on each half scores"
            " the other one. FP, FN and boundary F are at the same thresholds. No threshold is chosen on the masks it"
            " is scored on, except for the curve's peak, which is therefore no result and has no interval.",
        ]
    notes.append(
        f"[low, high]: {how['level']:.0%} interval, {how['method']} ({how['resamples']} resamples, seed"
        f" {how['seed']}); thresholds stay as they were chosen. It says nothing about other training runs."
    )
    if reference:
        notes.append(
            f"− `{reference}`: mIoU minus that of the row measured first, on the same draws of photos; the two differ"
            " where 0 is outside of the interval."
        )
    notes += [
        "FP, FN: mean over classes of FP / (TP + FP + FN) and FN / (TP + FP + FN), in %.",
        f"Boundary F: of the classes' outlines, matched within {protocol['boundary_tolerance']:.2%} of the diagonal,"
        " mean over photos, then over classes, in %.",
    ]
    if maps:
        notes.append(
            "Deletion, insertion (RISE): area under the class probability while pixels are blurred away or brought"
            f" back in the order of the map, {protocol['deletion_steps']} steps, mean over the maps of"
            f" {protocol['perturbed']} photos; all maps of a photo are drawn together."
        )
    notes.append(
        "ms: median over photos of what the row's call takes, by the wall clock; CPU ms: of all threads, which other"
        " programs do not lengthen; × forward: CPU ms over the median of a plain forward of the same photos."
        " MB: tensors alive at one time for the largest photo, without weights and without what operators allocate"
        " inside themselves."
    )
    if maps:
        crossed = ", ".join(
            f"`{r.name}` {r.thresholds[0]:.2f} and {r.thresholds[1]:.2f}" for r in maps if r.thresholds
        )
        notes.append(f"Thresholds of the first and the second half: {crossed}.")
    if labels:
        notes.append("Undecided: pixels labelled 255, in %; each counts as a miss of its class.")
    with_options = [r for r in (*maps, *labels) if r.options]
    if with_options:
        said = "; ".join(
            f"`{r.name}` {', '.join(f'{k}={v}' for k, v in r.options.items())}" for r in with_options
        )
        notes.append(f"Options that are not the method's own default: {said}.")
    return "".join(f"- {note}\n" for note in notes)
