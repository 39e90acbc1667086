"""Two processes (gloo, this machine) end with one network: that of one process, where a method's batch allows it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from two_processes import TRAINED, averages, trained, whole_run

from getam.engine import ranks
from getam.engine.runfolder import RunFolder

pytestmark = pytest.mark.timeout(900)  # two processes train all that there is


@pytest.fixture(scope="module")
def two(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder that two processes have worked in, and what each found."""
    out = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = os.pathsep.join((str(Path(__file__).parent), *(p for p in sys.path if p)))
    known = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test", "PYTHONPATH": places, "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    script = Path(__file__).with_name("two_processes.py")
    running = [
        subprocess.Popen(
            [sys.executable, str(script), str(scenes), str(out)],
            env={**os.environ, **known, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=(out / f"{rank}.err").open("w"), stdout=subprocess.DEVNULL,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    for rank, process in enumerate(running):
        assert process.wait(timeout=600) == 0, (out / f"{rank}.err").read_text()[-3000:]
    return out, [torch.load(out / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def test_each_knows_who_it_is(two: tuple[Path, list[dict[str, Any]]]) -> None:
    assert [(found["world"], found["rank"]) for found in two[1]] == [(2, 0), (2, 1)]
    assert (ranks.world(), ranks.rank()) == (1, 0)


def test_gradients_and_buffers_are_averaged(two: tuple[Path, list[dict[str, Any]]]) -> None:
    for found in two[1]:
        its = found["averages"]
        assert its["gradients"] == [[1.5, 1.5], None, [4.0], None, None, None, None, None]
        assert (its["mean"], its["count"]) == (0.5, 5)
        assert its["numbers"] == {"b": 1.5, "a": 4.0}
    alone = averages()
    assert alone["gradients"][0] == [1.0, 1.0]
    assert alone["numbers"] == {"b": 1.0, "a": 4.0}


@pytest.mark.parametrize("name", TRAINED)
def test_both_end_with_the_same_network(two: tuple[Path, list[dict[str, Any]]], name: str) -> None:
    for how in ("alike", "drawn", "apart"):
        first, second = (found[how][name] for found in two[1])
        for key, value in first.items():
            if not key.endswith(
                "num_batches_tracked"
            ):  # forwards of a process, of which mixed photos are one more
                assert value.isfinite().all(), key
                assert torch.equal(second[key], value), key


def test_one_mixed_photos_where_the_other_did_not(two: tuple[Path, list[dict[str, Any]]]) -> None:
    assert two[1][0]["mixed"] != two[1][1]["mixed"]


@pytest.mark.parametrize("name", TRAINED)
def test_with_other_photos_each_it_is_the_network_of_one_process(
    two: tuple[Path, list[dict[str, Any]]], tmp_path: Path, name: str
) -> None:
    """Without batch norms and draws; each has other numbers of pixels, of pairs, of tagged photos."""
    alone = trained(name, tmp_path, "apart")
    for key, value in two[1][0]["apart"][name].items():
        torch.testing.assert_close(value, alone[key], rtol=1e-4, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", TRAINED)
def test_it_is_the_network_of_one_process(
    two: tuple[Path, list[dict[str, Any]]], tmp_path: Path, name: str
) -> None:
    alone = trained(name, tmp_path, "alike")
    for key, value in two[1][0]["alike"][name].items():
        if key.endswith("running_mean"):  # small numbers from large ones
            torch.testing.assert_close(value, alone[key], rtol=1e-2, atol=1e-3, msg=key)
        elif not key.endswith("running_var"):  # estimated from half as many numbers
            torch.testing.assert_close(value, alone[key], rtol=1e-3, atol=1e-5, msg=key)


def test_a_run_goes_on_with_another_number_of_processes(two: tuple[Path, list[dict[str, Any]]]) -> None:
    run = two[0] / "interrupted"
    state = RunFolder(run).state()
    assert state is not None
    assert state["step"] == 2
    done: list[int] = []
    whole_run(run, advance=lambda step, losses: done.append(step))
    assert done == [3, 4]


def test_stages_are_shared_and_whole(two: tuple[Path, list[dict[str, Any]]]) -> None:
    run = two[0] / "stages"
    assert len(list((run / "2-labels").glob("*.png"))) == 6
    assert (run / "model.safetensors").read_bytes() == (
        run / "5-segmenter" / "model.safetensors"
    ).read_bytes()
    for stage in ("1-getam", "3-segmenter-a", "4-segmenter-b"):
        logged = [json.loads(line) for line in (run / stage / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in logged if "lr" in line] == [2]  # once, by the first process


def test_the_first_speaks_alone(two: tuple[Path, list[dict[str, Any]]]) -> None:
    first, second = ((two[0] / f"{rank}.err").read_text() for rank in (0, 1))
    assert "labels (2 of 5) 3/3" in first  # its share of six
    assert "labels (2 of 5)" not in second


def test_a_batch_that_cannot_be_dealt_is_refused(two: tuple[Path, list[dict[str, Any]]]) -> None:
    for found in two[1]:
        assert found["odd"] == "a batch of 3 photos cannot be dealt to 2 processes: give a multiple of 2"


def test_a_signal_to_one_stops_all_after_the_same_step(two: tuple[Path, list[dict[str, Any]]]) -> None:
    for found in two[1]:
        assert found["stopped"].startswith(f"{int(signal.SIGTERM)}: ")
        assert "was stopped after step 3 of 4 and saved" in found["stopped"]
    assert (RunFolder(two[0] / "stopped").state() or {})["step"] == 3
