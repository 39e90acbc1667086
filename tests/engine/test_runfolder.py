"""A run folder continues its own run and refuses everything else."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock

from getam.data.fingerprint import Fingerprint, Row
from getam.engine import runfolder
from getam.engine.model import load_model
from getam.engine.runfolder import RunFolder
from getam.errors import InputError
from getam.nets.build import build_segmenter
from getam.nets.segmenter import Segmenter

CONFIG = {"backbone": "small-hybrid", "channels": [8, 8, 8, 8], "width": 8, "enlarge": 1}


@pytest.fixture
def net() -> Segmenter:
    return build_segmenter("small-hybrid", ("cat", "dog"), (8, 8, 8, 8), 8, 1).eval()


def test_a_new_folder_gets_configuration_and_environment(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "a" / "run")
    assert not run.open(CONFIG)
    assert sorted(file.name for file in run.path.iterdir()) == [".lock", "config.yaml", "env.json"]
    assert (
        json.loads((run.path / "env.json").read_text())["versions"]["torch"]
        == torch.__version__.split("+")[0]
    )
    assert list(yaml.safe_load((run.path / "config.yaml").read_text())) == list(CONFIG)  # in the order given
    assert len((run.path / "env.json").read_text().splitlines()) > 10  # for people
    run.close()
    assert not RunFolder(run.path).open(CONFIG)


def test_a_started_run_continues_with_the_same_options_only(tmp_path: Path, net: Segmenter) -> None:
    run = RunFolder(tmp_path / "run")
    run.open(CONFIG)
    run.save(net, CONFIG, {"step": 3, "rng": torch.get_rng_state()})
    assert run.open({**CONFIG, "channels": (8, 8, 8, 8)})
    assert (run.state() or {})["step"] == 3
    with pytest.raises(
        InputError, match="holds a run with width=8, now width=16 was asked: give another --out"
    ):
        run.open({**CONFIG, "width": 16})
    with pytest.raises(InputError, match="seed=None, now seed=1"):
        run.open({**CONFIG, "seed": 1})


def test_of_several_changes_the_first_by_name_is_said(tmp_path: Path) -> None:
    run, names = RunFolder(tmp_path), [f"option{number:02}" for number in range(20)]
    run.open(dict.fromkeys(names, 1))
    run.log({"step": 1})
    with pytest.raises(InputError, match="option00=1, now option00=2"):
        run.open(dict.fromkeys(reversed(names), 2))


def test_a_run_that_never_began_may_be_asked_differently(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.open({**CONFIG, "weights": "mistyped.safetensors"})
    assert not run.open(CONFIG)
    run.log({"step": 1})
    with pytest.raises(InputError, match="weights=None, now weights='other'"):
        run.open({**CONFIG, "weights": "other"})


def test_foreign_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file: give a folder"):
        RunFolder(tmp_path / "file").open(CONFIG)
    with pytest.raises(InputError, match="is not empty and holds no run"):
        RunFolder(tmp_path).open(CONFIG)
    for content in (b"", b"- a\n- b\n", b"a: [", b"\xff\xfe"):
        (tmp_path / "config.yaml").write_bytes(content)
        with pytest.raises(InputError, match=r"config\.yaml is not the configuration of a run"):
            RunFolder(tmp_path).open(CONFIG)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "config.yaml").write_text("site: blog\n")
    with pytest.raises(InputError, match="holds a run with"):
        RunFolder(alone).open(CONFIG)
    assert (alone / "config.yaml").read_text() == "site: blog\n"
    assert [file.name for file in alone.iterdir()] == ["config.yaml"]
    assert not (tmp_path / ".lock").exists()


def test_what_a_killed_process_leaves_does_not_make_a_folder_foreign(tmp_path: Path) -> None:
    left = tmp_path / ".0123456789abcdef.partial"
    left.write_bytes(b"half")
    run = RunFolder(tmp_path)
    assert not run.open(CONFIG)
    assert not left.exists()
    run.close()
    left.write_bytes(b"half")
    assert not RunFolder(tmp_path).open({**CONFIG, "width": 16})  # nor one that began
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["width"] == 16


@pytest.mark.parametrize("name", ["notes.partial", ".partially", "photo.jpg"])
def test_files_of_the_user_are_not_taken_for_leftovers(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        RunFolder(tmp_path).open(CONFIG)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_the_model_is_there_before_the_state_that_counts_on_it(
    tmp_path: Path, net: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    run = RunFolder(tmp_path)
    run.open(CONFIG)
    monkeypatch.setattr(runfolder, "write_state", killed)
    with pytest.raises(KeyboardInterrupt):
        run.save(net, CONFIG, {"step": 1})
    assert load_model(tmp_path).classes == ("cat", "dog")
    assert run.state() is None


def test_a_lost_environment_is_written_again(tmp_path: Path, net: Segmenter) -> None:
    with RunFolder(tmp_path) as run:
        run.open(CONFIG)
        run.save(net, CONFIG, {"step": 3})
        before = (tmp_path / "env.json").stat().st_mtime_ns
        run.open(CONFIG)
        assert (tmp_path / "env.json").stat().st_mtime_ns == before
        (tmp_path / "env.json").unlink()
        assert run.open(CONFIG)
        assert "versions" in json.loads((tmp_path / "env.json").read_text())


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """Another process that opens the folder, and dies there without a word."""
    code = f"""
import os, sys
sys.path[:] = {sys.path!r}
from getam.engine.runfolder import RunFolder
run = RunFolder({str(tmp_path / "run")!r})
run.open({{"width": 8}})
print("open", flush=True)
sys.stdin.read()
os._exit(1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(InputError, match="run is in use: another process is training there; wait for it"):
            RunFolder(tmp_path / "run").open({"width": 8})
        other.stdin.close()
        other.wait()
    first = RunFolder(tmp_path / "run")
    first.open({"width": 8})
    with pytest.raises(InputError, match="is in use"):  # a thread of the same process is no better
        RunFolder(tmp_path / "run").open({"width": 8})
    first.close()
    with RunFolder(tmp_path / "run") as second:
        second.open({"width": 8})
    third = RunFolder(tmp_path / "run")
    third.open({"width": 8})
    third.log({"step": 1})
    with pytest.raises(InputError, match="width=8, now width=9"):
        third.open({"width": 9})


def test_what_another_process_did_just_before_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came, ran to its end and went, between the look at an empty folder and the lock."""
    acquire = FileLock.acquire

    def late(self: FileLock, *given: object, **options: object) -> object:
        (tmp_path / "run" / "config.yaml").write_text("width: 16\n")
        (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1}\n')
        return acquire(self, *given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FileLock, "acquire", late)
    run = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match="holds a run with width=16, now width=8"):
        run.open({"width": 8})
    monkeypatch.undo()
    RunFolder(run.path).open({"width": 16})  # and the lock was given back


def test_the_log_holds_finite_numbers_only(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.open(CONFIG)
    run.log({"step": 1, "cls": 0.5})
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError):
            run.log({"step": 2, "cls": bad})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "cls": 0.5}\n'


def test_lines_after_the_step_and_unreadable_ones_are_forgotten(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.rewind(3)  # nothing was logged yet
    good = [b'{"step": 1}\n', b'{"step": 2, "cls": 0.5}\n', b'{"step": 3}\n']
    bad = [
        b"\0\0\0\n",
        b"[1]\n",
        b"3\n",
        b'{"cls": 1}\n',
        b'{"step": "x"}\n',
        b'{"step": 4}\n',
        b"\xff\n",
        b'{"step": 3}',
    ]
    (tmp_path / "metrics.jsonl").write_bytes(
        b"".join([good[0], bad[0], good[1], *bad[1:5], good[2], *bad[5:]])
    )
    run.rewind(3)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join(good)
    run.rewind(0)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


ROWS = (Row("a", ("cat",), "1"), Row("b", ("dog",), "2"))


def test_other_data_is_refused_by_name(tmp_path: Path) -> None:
    run, record = RunFolder(tmp_path / "run"), {**CONFIG, "data": {"photos": 2}}
    run.open(record, Fingerprint(ROWS))
    run.open(record, Fingerprint(ROWS[::-1]))  # nothing was logged or saved yet
    run.open(record, Fingerprint(ROWS))
    run.log({"step": 1})
    run.open(record, Fingerprint(ROWS))
    with pytest.raises(
        InputError,
        match=r"run holds a run with other data: the order of the photos changed, number 1 was a and is b: give "
        "another --out, or the same data to continue it",
    ):
        run.open(record, Fingerprint(ROWS[::-1]))
    three = {**record, "data": {"photos": 3}}
    with pytest.raises(InputError, match="other data: 1 photo new, the first is c"):
        run.open(three, Fingerprint((*ROWS, Row("c", (), "3"))))
    with pytest.raises(InputError, match=r"data\.photos=2, now it is 3"):
        run.open(three, Fingerprint(ROWS))
    with pytest.raises(InputError, match="width=8, now width=9"):  # options come first
        run.open({**three, "width": 9}, Fingerprint(ROWS[::-1]))
    (run.path / "data.jsonl").write_bytes(b"\0\0")
    with pytest.raises(InputError, match=r"data\.jsonl is damaged"):
        run.open(record, Fingerprint(ROWS))


def test_a_run_begun_before_data_was_recorded_continues_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(tmp_path / "run")
    run.open(CONFIG)
    run.open(CONFIG, Fingerprint(ROWS))
    assert not caplog.records
    (run.path / "data.jsonl").unlink()
    run.log({"step": 1})
    run.open(CONFIG, Fingerprint(ROWS))
    assert "was begun without a record of its data's content" in caplog.text
    with pytest.raises(InputError, match="other data"):
        run.open(CONFIG, Fingerprint(ROWS[:1]))
