"""Each tracker written to for real, offline, and read back: every step is there once, whether resumed or not."""

from __future__ import annotations

import json
import logging
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from getam.engine.runfolder import RunFolder
from getam.engine.tracking import base
from getam.engine.tracking.base import TRACKERS, Tracker, find_tracker, run_name
from getam.errors import InputError

CONFIG = {"recipe": "getam", "lr": 0.5, "data": {"classes": ["cat"]}}
Scalars = dict[str, list[tuple[int, float]]]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


def tensorboard_scalars(run: Path) -> tuple[Scalars, str]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(run / "tracking" / "tensorboard"))
    events.Reload()
    found = {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }
    (text,) = events.Tensors("config/text_summary")
    return found, text.tensor_proto.string_val[0].decode()


def mlflow_scalars(run: Path) -> tuple[Scalars, str]:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    client = MlflowClient(tracking_uri=(run / "tracking" / "mlflow").resolve().as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("getam").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.info.run_name == run.name
    scalars = {
        name: sorted(
            (point.step, point.value) for point in client.get_metric_history(found.info.run_id, name)
        )
        for name in found.data.metrics
    }
    return scalars, json.dumps(found.data.params)


def wandb_scalars(run: Path) -> tuple[Scalars, str]:
    proto = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    scalars: Scalars = {}
    said, ids = "", set()
    files = sorted((run / "tracking" / "wandb").glob("offline-run-*/*.wandb"))
    for file in files:
        for record in wandb_records(file, proto.Record):
            if record.WhichOneof("record_type") == "run":
                ids.add(record.run.run_id)
                said += str({item.key: item.value_json for item in record.run.config.update})
            if record.WhichOneof("record_type") == "history":
                items = {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json)
                    for item in record.history.item
                }
                for name, value in items.items():
                    if not name.startswith("_"):
                        scalars.setdefault(name, []).append((items["_step"], value))
    assert len(ids) == 1
    return scalars, said


def wandb_records(file: Path, kind: Any) -> list[Any]:
    """All of a run's records; W&B's own process writes the last of them after `finish` has come back."""
    deadline = time.monotonic() + 60
    while True:
        records = [kind.FromString(raw) for raw in leveldb_records(file.read_bytes())]
        if records and records[-1].WhichOneof("record_type") == "exit":
            return records
        assert time.monotonic() < deadline, f"{file} has no end"
        time.sleep(0.2)


def leveldb_records(data: bytes) -> list[bytes]:
    """Records of a log in LevelDB's format (block of 32 KiB, header of checksum, length, type), after W&B's 7 bytes."""
    found, at, part = [], 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        piece = data[at + 7 : at + 7 + length]
        at += 7 + length
        part = piece if kind in (1, 2) else part + piece
        if kind in (1, 4):
            found.append(part)
    return found


READ: dict[str, Callable[[Path], tuple[Scalars, str]]] = {
    "tensorboard": tensorboard_scalars, "mlflow": mlflow_scalars, "wandb": wandb_scalars,
}  # fmt: skip


def opened(folder: Path, tracker: str | None) -> RunFolder:
    run = RunFolder(folder, None if tracker is None else find_tracker(tracker))
    run.open(CONFIG)
    return run


@pytest.mark.parametrize("name", TRACKERS)
def test_what_is_logged_is_there_once_also_when_a_run_is_resumed(name: str, tmp_path: Path) -> None:
    pytest.importorskip(TRACKERS[name])
    folder = tmp_path / "a"
    with opened(folder, name) as run:
        run.rewind(0)
        run.log({"step": 20, "cls": 0.75, "lr": 0.5})
        run.log({"step": 20, "tags right": 0.25})
        run.log({"step": 40, "cls": 0.5, "lr": 0.25})
        run.log({"step": 60, "cls": 0.375, "lr": 0.125})
    with opened(folder, name) as run:  # killed after it had saved step 40
        run.rewind(40)
        run.log({"step": 60, "cls": 0.375, "lr": 0.125})
        run.log({"step": 80, "cls": 0.25, "lr": 0.0625})
    scalars, config = READ[name](folder)
    assert scalars == {
        "cls": [(20, 0.75), (40, 0.5), (60, 0.375), (80, 0.25)],
        "lr": [(20, 0.5), (40, 0.25), (60, 0.125), (80, 0.0625)],
        "tags right": [(20, 0.25)],
    }
    assert "recipe" in config
    assert "getam" in config
    assert "cat" in config
    assert [entry.name for entry in folder.iterdir() if entry.name == "tracking"] == ["tracking"]


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_joins_late_hears_what_went_before(name: str, tmp_path: Path) -> None:
    pytest.importorskip(TRACKERS[name])
    folder = tmp_path / "a"
    with opened(folder, None) as run:
        run.rewind(0)
        for step in (20, 40, 60):
            run.log({"step": step, "cls": 1 / step})
    with opened(folder, name) as run:
        run.rewind(40)
        run.log({"step": 60, "cls": 1 / 60})
    (cls,) = READ[name](folder)[0].values()
    assert [step for step, _ in cls] == [20, 40, 60]
    assert [value for _, value in cls] == pytest.approx([1 / 20, 1 / 40, 1 / 60])


class Deaf:
    """A tracker whose package fails when told to."""

    def __init__(self, fails_at: str) -> None:
        self.fails_at, self.calls = fails_at, []  # type: ignore[var-annotated]

    def _called(self, what: str, *given: Any) -> None:
        self.calls.append((what, *given))
        if what == self.fails_at:
            raise OSError("no room\n  left")

    def begin(self, config: Any, start: int, before: Any) -> None:
        self._called("begin", config, start, before)

    def log(self, step: int, numbers: Any) -> None:
        self._called("log", step, numbers)

    def close(self) -> None:
        self._called("close")


def with_tracker(folder: Path, tracker: Tracker) -> RunFolder:
    run = RunFolder(folder, lambda path: tracker)
    run.open(CONFIG)
    return run


def test_a_tracker_hears_of_the_run_in_its_own_words(tmp_path: Path) -> None:
    tracker = Deaf("")
    with with_tracker(tmp_path / "a", tracker) as run:
        run.rewind(0)
        run.log({"step": 20, "cls": 1})
    assert tracker.calls == [("begin", CONFIG, 0, []), ("log", 20, {"cls": 1.0}), ("close",)]


def test_a_tracker_that_cannot_begin_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(
            InputError, match=r"a cannot be tracked \(no room left\): mend that, or leave --track out"
        ),
        with_tracker(tmp_path / "a", Deaf("begin")) as run,
    ):
        run.rewind(0)


def test_a_tracker_that_fails_later_ends_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Deaf("log")
    with caplog.at_level(logging.WARNING), with_tracker(tmp_path / "a", tracker) as run:
        run.rewind(0)
        run.log({"step": 20, "cls": 1})
        run.log({"step": 40, "cls": 1})
    assert [call[0] for call in tracker.calls] == ["begin", "log"]
    assert len(caplog.messages) == 1
    assert "a is no longer tracked (no room left); metrics.jsonl has all of it" in caplog.messages[0]
    assert len((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()) == 2


def test_what_a_tracker_has_written_binds_nobody_to_its_options(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "a")
    run.open(CONFIG)
    (run.path / base.FOLDER).mkdir()
    assert not run.has_begun()
    run.close()
    with RunFolder(tmp_path / "a") as run:
        run.open({**CONFIG, "lr": 1})
    assert run.recorded() == {**CONFIG, "lr": 1}


def test_unknown_trackers_and_missing_packages_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--track visdom: choose one of tensorboard, mlflow, wandb"):
        find_tracker("visdom")
    monkeypatch.setitem(base.TRACKERS, "wandb", "not_there_at_all")
    with pytest.raises(
        InputError, match=r"needs the package not_there_at_all: pip install 'getam\[tracking\]'"
    ):
        find_tracker("wandb")


def test_runs_are_called_after_their_folders(tmp_path: Path) -> None:
    assert run_name(tmp_path / "a" / "2-labels") == "a/2-labels"
    assert run_name(tmp_path / "2 labels") == "2 labels"


def test_mlflow_goes_where_its_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "elsewhere").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    with opened(tmp_path / "a", "mlflow") as run:
        run.rewind(0)
        run.log({"step": 20, "cls": 0.5})
    assert list((tmp_path / "elsewhere").rglob("metrics/cls"))
    assert not (tmp_path / "a" / "tracking" / "mlflow").exists()
    monkeypatch.delenv(
        "MLFLOW_TRACKING_URI"
    )  # another server, which does not know the run: a run of its own there
    with opened(tmp_path / "a", "mlflow") as run:
        run.rewind(20)
    assert mlflow_scalars(tmp_path / "a")[0] == {"cls": [(20, 0.5)]}
