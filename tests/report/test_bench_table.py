"""The page of `getam bench` says what was measured, sorted, with what was not, and why."""

import math
from dataclasses import MISSING, fields, replace
from typing import Any

import pytest

from getam.report.bench_table import BenchRow, markdown

PROTOCOL: dict[str, Any] = {
    "photos": 12, "split": "val", "classes": ["cat", "dog"], "background": [], "size": 224, "fixed_threshold": 0.3,
    "weights_sha256": "ab" * 32, "ids_sha256": "cd" * 32, "threads": 1, "boundary_tolerance": 0.0075,
    "deletion_steps": 16, "perturbed": 3,
    "intervals": {"method": "percentile bootstrap over photos", "resamples": 500, "level": 0.9, "seed": 7},
    "environment": {"machine": "x86_64", "versions": {"torch": "2.4"}},
}  # fmt: skip
MAP = BenchRow(
    name="getam", options={}, miou=0.4, interval=(0.38, 0.43), photos=("0:9/10 1:2/4", "0:1/9"),
    iou={"background": 0.8}, false_positive_rate=0.2, false_negative_rate=0.3,
    boundary_precision=0.5, boundary_recall=0.5, boundary_f=0.25, seconds=0.05, cpu_seconds=0.04, forwards=2.5,
    megabytes=30.0, thresholds=(0.2, 0.4), miou_fixed=0.39, miou_fixed_interval=(0.37, 0.41),
    peak=0.41, peak_threshold=0.3, curve=(0.1,) * 99,
    deletion=0.2, deletion_interval=(0.15, 0.25), insertion=0.8, insertion_interval=(0.75, 0.875),
)  # fmt: skip
LABEL = replace(MAP, name="getam:irn", thresholds=None, miou_fixed=None, miou_fixed_interval=None,
                peak=None, peak_threshold=None, curve=None,
                deletion=None, deletion_interval=None, insertion=None, insertion_interval=None,
                undecided=0.125)  # fmt: skip


def lines_with(page: str, text: str) -> list[str]:
    return [line for line in page.splitlines() if text in line]


def test_maps_are_sorted_by_the_score_at_a_threshold_they_did_not_choose() -> None:
    rows = [
        MAP,
        replace(MAP, name="rollout", miou=math.nan, interval=None),
        replace(MAP, name="cam", miou=0.5, interval=(0.46, 0.54), peak=0.55),
    ]
    page = markdown(PROTOCOL, rows, {})
    order = [line.split("|")[1] for line in lines_with(page, "|`")]
    assert order == ["`cam`", "`getam`", "`rollout`"]
    assert "|**50.0** [46.0, 54.0]|39.0 [37.0, 41.0]|55.0|20.0|" in page
    assert "|—|39.0 [37.0, 41.0]|" in lines_with(page, "`rollout`")[0]


def test_the_peak_is_called_what_it_is_and_never_the_best() -> None:
    page = markdown(PROTOCOL, [MAP, replace(MAP, name="cam", peak=0.5)], {})
    assert "curve's peak (chosen on these masks)" in page
    assert "**50.0**" not in page


def test_labels_have_a_table_of_their_own() -> None:
    page = markdown(PROTOCOL, [MAP, LABEL], {})
    maps, labels = page.split("## Labels")
    assert "`getam:irn`" not in maps
    assert "|`getam:irn`|40.0 [38.0, 43.0]|20.0|30.0|25.0|12.5|50|40|2.5|30|" in labels


def test_differences_are_to_the_row_measured_first_and_signed() -> None:
    assert "− `" not in markdown(PROTOCOL, [MAP, LABEL], {})
    to_first = {"compared_to": "cam", "difference": -0.1, "difference_interval": (-0.123, 0.004)}
    first = replace(MAP, name="cam", miou=0.5)
    page = markdown(PROTOCOL, [first, replace(MAP, **to_first), replace(LABEL, **to_first)], {})
    heads = lines_with(page, "− `cam`|")
    assert len(heads) == 2  # of maps and of labels
    assert all(head.split("|")[3] == "− `cam`" for head in heads)
    assert [line.split("|")[3] for line in lines_with(page, "|`")] == [
        "—",
        "−10.0 [−12.3, +0.4]",
        "−10.0 [−12.3, +0.4]",
    ]
    assert len(lines_with(page, "- − `cam`: mIoU minus that of the row measured first")) == 1


def test_the_notes_say_how_intervals_are_made() -> None:
    page = markdown(PROTOCOL, [MAP], {})
    assert "[low, high]: 90% interval, percentile bootstrap over photos (500 resamples, seed 7)" in page
    assert "no result and has no interval" in page


def test_what_was_not_measured_is_listed_with_its_reason() -> None:
    page = markdown(PROTOCOL, [MAP], {"last-stage": "its grid does not shrink"})
    assert "- `last-stage`: its grid does not shrink" in page
    assert "## Not measured" not in markdown(PROTOCOL, [MAP], {})


def test_notes_say_what_counts_as_background_and_which_options() -> None:
    page = markdown(
        {**PROTOCOL, "background": ["grass", "sky"]}, [replace(MAP, options={"coupling": "grad"})], {}
    )
    assert "of 255 and of classes outside the list are not scored; grass, sky count as background." in page
    assert "`getam` coupling=grad" in page
    assert "`getam` 0.20 and 0.40" in page


ALL = replace(
    MAP, compared_to="cam", difference=0.012, difference_interval=(-0.001, 0.0251),
    miou=0.4567, interval=(0.4321, 0.4789),
    false_positive_rate=0.2345, false_negative_rate=0.3456, boundary_f=0.5678, seconds=0.0567, cpu_seconds=0.1234,
    forwards=2.345, megabytes=30.6, miou_fixed=0.4111, peak=0.4666, deletion=0.1239, insertion=0.7891,
)  # fmt: skip


def test_every_number_stands_under_its_heading() -> None:
    page = markdown(PROTOCOL, [ALL, replace(ALL, name="getam:irn", undecided=0.0789)], {})
    maps, labels = page.split("## Labels")
    assert lines_with(maps, "| |") == [
        "| |**mIoU**, threshold chosen on the other half|− `cam`|mIoU at 0.3, set beforehand|curve's peak (chosen"
        " on these masks)|FP|FN|boundary F|deletion ↓|insertion ↑|ms a photo|CPU ms|× forward|MB|"
    ]
    assert lines_with(maps, "|`getam`|") == [
        "|`getam`|45.7 [43.2, 47.9]|+1.2 [−0.1, +2.5]|41.1 [37.0, 41.0]|46.7|23.4|34.6|56.8|"
        "0.124 [0.150, 0.250]|0.789 [0.750, 0.875]|57|123|2.3|31|"
    ]
    assert lines_with(labels, "| |") == [
        "| |**mIoU**|− `cam`|FP|FN|boundary F|undecided|ms a photo|CPU ms|× forward|MB|"
    ]
    assert lines_with(labels, "|`getam:irn`|") == [
        "|`getam:irn`|45.7 [43.2, 47.9]|+1.2 [−0.1, +2.5]|23.4|34.6|56.8|7.9|57|123|2.3|31|"
    ]
    for part, columns in ((maps, 13), (labels, 10)):
        assert lines_with(part, "|---") == ["|---|" + "---:|" * columns]


def test_the_best_of_a_column_is_bold_where_something_is_best() -> None:
    larger = {name: value + 1 if isinstance(value, float) else value for name, value in vars(ALL).items()}
    other = replace(
        ALL,
        **{**larger, "name": "other", "compared_to": None, "difference": None, "difference_interval": None},
    )
    page = markdown(
        PROTOCOL,
        [ALL, other, replace(other, name="a:b", undecided=0.2), replace(ALL, name="c:d", undecided=0.1)],
        {},
    )

    def bold(name: str) -> list[int]:
        cells = lines_with(page, f"|`{name}`|")[0].split("|")[2:-1]
        return [place for place, cell in enumerate(cells) if cell.startswith("**")]

    # more: mIoU, mIoU at the fixed threshold, boundary F, insertion
    assert bold("other") == [0, 2, 6, 8]
    # less: FP, FN, deletion, and all costs; neither the peak nor a difference
    assert bold("getam") == [4, 5, 7, 9, 10, 11, 12]
    assert bold("a:b") == [0, 4]
    assert bold("c:d") == [2, 3, 6, 7, 8, 9]


def test_numbers_that_look_alike_are_not_bold() -> None:
    page = markdown(
        PROTOCOL, [MAP, replace(MAP, name="cam", miou=0.4001), replace(MAP, name="lost", miou=math.nan)], {}
    )
    assert "**40.0**" not in page
    assert len(lines_with(page, "|40.0 [38.0, 43.0]|")) == 2


@pytest.mark.parametrize("rows", [[], [MAP], [LABEL, MAP]])
def test_the_page_begins_with_what_was_measured(rows: list[BenchRow]) -> None:
    page = markdown(PROTOCOL, rows, {})
    assert page.startswith(
        "# getam bench\n\n12 photos of the split `val`, 2 classes (cat, dog), tags known, long side 224, one pass."
        " Model `abababababab`, ids `cdcdcdcdcdcd`, torch 2.4, 1 thread of x86_64.\n"
    )
    page = markdown({**PROTOCOL, "split": None, "threads": 4}, rows, {})
    assert page.startswith("# getam bench\n\n12 photos, 2 classes")
    assert "4 threads of x86_64" in page
    assert ("## Maps" in page) == (MAP in rows)
    assert ("## Labels" in page) == (LABEL in rows)


def test_notes_are_of_the_columns_that_are_there() -> None:
    headings = {
        "maps": ["Threshold: the sorted ids", "Deletion, insertion", "Thresholds of the first and the second half"],
        "labels": ["Undecided: pixels labelled 255"],
        "always": ["mIoU: one", "[low, high]", "FP, FN: mean", "Boundary F", "ms: median"],
    }  # fmt: skip
    for rows, there in (([MAP], "maps"), ([LABEL], "labels"), ([], "")):
        page = markdown(PROTOCOL, rows, {})
        for kind, notes in headings.items():
            for note in notes:
                assert (f"- {note}" in page) == (kind in (there, "always")), note
    page = markdown(PROTOCOL, [MAP], {})
    assert "matched within 0.75% of the diagonal" in page
    assert "16 steps, mean over the maps of 3 photos" in page
    assert "count as background" not in page
    assert "Options that are not" not in page


def test_pictures_are_shown_between_tables_and_notes() -> None:
    page = markdown(PROTOCOL, [MAP], {"cam": "why"}, pictures=("curves.svg", "tradeoff.svg"))
    places = [
        page.index(text)
        for text in (
            "## Maps",
            "![curves](curves.svg)",
            "![tradeoff](tradeoff.svg)",
            "## Not measured",
            "## How to read this",
        )
    ]
    assert places == sorted(places)


def test_a_row_is_a_label_where_pixels_can_be_undecided() -> None:
    assert not MAP.is_label
    assert LABEL.is_label
    assert replace(LABEL, undecided=0.0).is_label


def test_what_does_not_apply_is_none() -> None:
    optional = [field for field in fields(BenchRow) if field.default is not MISSING]
    assert [field.name for field in optional] == [
        "compared_to", "difference", "difference_interval", "thresholds", "miou_fixed", "miou_fixed_interval", "peak",
        "peak_threshold", "curve", "deletion", "deletion_interval", "insertion", "insertion_interval", "undecided",
    ]  # fmt: skip
    assert {field.default for field in optional} == {None}


def test_every_row_that_was_not_measured_has_a_line_of_its_own() -> None:
    page = markdown(PROTOCOL, [MAP], {"cam": "no head", "legrad": "no blocks"})
    assert "\n- `cam`: no head\n- `legrad`: no blocks\n" in page
