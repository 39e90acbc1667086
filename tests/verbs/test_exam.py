"""What train says of held-out photos: the numbers of the metric, the file, the sentence for each doubt, the plan."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from getam.data.collection import load_collection
from getam.engine.held_out import held_out_scores
from getam.metrics.tag_accuracy import ClassAccuracy, TagAccuracy, ToldApart, tag_accuracy
from getam.recipes.base import Config
from getam.verbs import exam as verb
from getam.verbs.exam import Exam, in_time, plan, say_pace


@pytest.fixture
def held(scenes: Path) -> Exam:
    collection = load_collection(scenes / "photos", scenes / "tags.csv")
    return Exam(Config(size=32).whole_photos(collection), 2)


def test_the_end_is_written_and_said(held: Exam, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = tiny.hybrid_segmenter(classes=held.crops.collection.classes)
    expected = tag_accuracy(*held_out_scores(net, held.crops, 3), net.classes)
    assert held.end(net, tmp_path) == expected
    assert json.loads((tmp_path / "tags.json").read_text()) == json.loads(json.dumps(asdict(expected)))
    said = capsys.readouterr()
    assert said.out == ""
    assert f"tags of {len(held.crops)} photos that were held out" in said.err
    assert str(tmp_path / "tags.json") in said.err
    assert held.mean_ranked(net) == {"tags right": pytest.approx(expected.mean_ranked)}


def test_the_table_and_the_doubts(
    held: Exam, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = TagAccuracy(
        (ClassAccuracy("cow", 7, 5, 13, 2, 0.91), ClassAccuracy("sheep", 0, 0, 20, 1, None)),
        (ToldApart(("cow", "sheep"), 10, 6),),
    )
    monkeypatch.setattr(verb, "tag_accuracy", lambda *_: found)
    monkeypatch.setattr(verb, "held_out_scores", lambda *_: (torch.zeros(1), torch.zeros(1)))
    held.end(tiny.hybrid_segmenter(), tmp_path)
    said = capsys.readouterr().err
    rows = [line.replace("│", " ").split() for line in said.splitlines()]
    assert ["cow", "7", "5", "2", "of", "13", "91%"] in rows
    assert ["sheep", "0", "0", "1", "of", "20"] in rows
    assert said.splitlines()[-1] == "cow and sheep are told apart in 6 of 10 photos: add photos, or steps"


def test_nothing_known_is_no_number(held: Exam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "tag_accuracy", lambda *_: TagAccuracy((), ()))
    assert held.mean_ranked(tiny.hybrid_segmenter(classes=held.crops.collection.classes)) == {}


@pytest.mark.parametrize(
    ("config", "photos", "held", "said"),
    [
        ({"steps": 100, "weights": "embedded"}, 320, 0,
         "getam: 100 steps of 16 photos, 5 passes over 320 photos, from the embedded model"),
        ({"steps": 9, "weights": ""}, 6, 3, "getam: 9 steps of 6 photos, 9 passes over 6 photos (3 more are held out), "
         "from nothing"),
        ({"steps": 10, "batch_size": 4}, 12, 0, "getam: 10 steps of 4 photos, 3.33 passes over 12 photos, from "
         "pretrained weights"),
    ],
)  # fmt: skip
def test_the_plan(config: dict[str, Any], photos: int, held: int, said: str) -> None:
    assert plan("getam", Config(**config), photos, held) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (99.4, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "1.7 h"), (86400, "24.0 h")],
)
def test_times_are_said_as_people_say_them(
    seconds: float, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_time(seconds) == said
    say_pace("this takes")(seconds)
    assert capsys.readouterr().err == f"this takes about {said} on this machine\n"
