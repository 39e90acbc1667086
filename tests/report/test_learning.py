"""Learning curves, from logs as training writes them."""

import json
import re

from getam.report.learning import curves, logged, training_plots


def write_log(folder, *records, tail=""):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + tail)


LOSS = {"step": 20, "cls": 0.5, "fg": 1, "lr": 1e-4, "photos_per_second": 3.5}


def labels(plots):
    return [re.search(r'aria-label="(.*?)"', plot)[1] for plot in plots]


def test_losses_and_checks_are_told_apart(tmp_path):
    write_log(
        tmp_path, {"step": 10, "tags right": 0.5, "mIoU": 0.25}, LOSS, {**LOSS, "step": 40, "cls": 0.25}
    )
    losses, checks = curves(logged(tmp_path / "metrics.jsonl"))
    assert losses == {"cls": [(20, 0.5), (40, 0.25)], "fg": [(20, 1), (40, 1)]}
    assert checks == {"tags right": [(10, 0.5)], "mIoU": [(10, 0.25)]}
    assert labels(training_plots(tmp_path)) == [
        "Losses: cls from 0.5 to 0.25; fg from 1 to 1",
        "Checks, 0 to 1: tags right from 0.5 to 0.5; mIoU from 0.25 to 0.25",
    ]


def test_stages_come_in_their_order(tmp_path):
    write_log(tmp_path / "2-second", LOSS)
    write_log(tmp_path / "1-first", LOSS)
    assert [label.partition(":")[0] for label in labels(training_plots(tmp_path))] == [
        "Losses of 1-first", "Losses of 2-second",
    ]  # fmt: skip


def test_lines_that_are_cut_off_are_passed_over(tmp_path):
    write_log(tmp_path, LOSS, {"cls": 3}, [1], tail='\x00\x00\n{"step": 40, "cl')
    assert logged(tmp_path / "metrics.jsonl") == [LOSS]


def test_tags_that_were_learned_are_bars(tmp_path):
    classes = [{"name": "cat", "photos": 7, "ranked": 0.9}, {"name": "dog", "photos": 2, "ranked": None}]
    (tmp_path / "tags.json").write_text(json.dumps({"classes": classes}))
    (plot,) = training_plots(tmp_path)
    assert labels([plot]) == [
        "Photos held out, ranked right by tag (0.5: by chance): cat 0.90 of 7; dog – of 2"
    ]
    assert 'fill="#E69F00"' in plot


def test_a_run_that_has_logged_nothing_has_no_plots(tmp_path):
    assert training_plots(tmp_path) == []
    write_log(tmp_path)
    assert training_plots(tmp_path) == []
