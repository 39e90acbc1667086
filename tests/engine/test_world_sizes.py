"""One process, two and four at the same batches: the same losses, labels and weights; and one that is killed.

The network has neither batch norms, which see the photos of their own process only, nor dropout, which each draws
alone. What the processes do is in world_sizes.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from world_sizes import KILLED_IN, STEPS


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("worlds")
    places = os.pathsep.join((str(Path(__file__).parent), *(p for p in sys.path if p)))
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("world_sizes.py")), str(out)],
        env={**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = torch.load(out / "found.pt", weights_only=False)
    return found


@pytest.mark.parametrize("count", [2, 4])
def test_losses_of_every_step_are_those_of_one_process(found: dict[str, Any], count: int) -> None:
    alone, several = found["whole 1"], found[f"whole {count}"]
    assert (alone["ended"], several["ended"]) == ([0], [0] * count)
    assert len(alone["log"]) == STEPS
    assert set(alone["log"][-1]) >= {"cls", "fg", "bg", "dense", "sal"}
    for one, other in zip(alone["log"], several["log"], strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"photos_per_second"}:
            assert other[name] == pytest.approx(one[name], abs=1e-5), name


@pytest.mark.parametrize("count", [2, 4])
def test_pseudo_labels_and_weights_are_those_of_one_process(found: dict[str, Any], count: int) -> None:
    alone, several = found["whole 1"], found[f"whole {count}"]
    steps = alone["parts"][0]["labels"]
    assert len(steps) == 3  # of five: from 0.3 of the way on
    decided = torch.cat([label for _, label in steps])
    assert len(decided.unique()) == 4  # background, both classes, undecided
    for step, (photos, labels) in enumerate(steps):
        theirs = {
            photo: label
            for part in several["parts"]
            for photo, label in zip(*part["labels"][step], strict=True)
        }
        assert sorted(theirs) == sorted(photos)
        for photo, label in zip(photos, labels, strict=True):
            assert torch.equal(theirs[photo], label), (step, photo)
    for name, weight in alone["weights"].items():
        torch.testing.assert_close(several["weights"][name], weight, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_held_out_photos_are_looked_at_by_one_process(found: dict[str, Any], count: int) -> None:
    its = found[f"whole {count}"]
    assert [part["checks"] for part in its["parts"]] == [STEPS] + [0] * (count - 1)
    assert [line["step"] for line in its["checks"]] == list(range(1, STEPS + 1))


def test_a_killed_process_ends_the_others_in_a_sentence(found: dict[str, Any]) -> None:
    assert found["killed"] == [0, -9]
    (said,) = found["said"].values()
    assert said.startswith("another of the 2 processes of this training has ended (")
    assert said.endswith("with as many processes as you like; it goes on from what was saved last")
    assert found["saved"] == KILLED_IN


def test_it_goes_on_with_one_and_then_four_as_if_never_killed(found: dict[str, Any]) -> None:
    assert found["went on"] == [[0], [0] * 4]
    alone, resumed = found["whole 1"], found["resumed"]
    assert [line["step"] for line in resumed["log"]] == list(range(1, STEPS + 1))
    for one, other in zip(alone["log"], resumed["log"], strict=True):
        for name in one.keys() - {"photos_per_second"}:
            assert other[name] == pytest.approx(one[name], abs=1e-5), name
    for name, weight in alone["weights"].items():
        torch.testing.assert_close(resumed["weights"][name], weight, rtol=1e-4, atol=1e-6, msg=name)
