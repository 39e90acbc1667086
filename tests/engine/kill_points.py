"""Run by tests/engine/test_kill_points.py in a process of its own: trainings that are killed, and continued, by fork.

Arguments: folder with photos/ and tags.csv, an empty folder, "random" or "files", seed, number of kills, recipe.
Writes kills.json: how often a training was killed, and where the continued runs differ from one never stopped.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import getam
from getam.engine import loop

STEPS = 4
CALLS = ("replace", "fsync")  # of `os`, before and after each of which a process is killed


def train(scenes: Path, out: Path, recipe: str) -> None:
    """A small run that is saved, and logged, after every step."""
    loop.SAVE_EVERY_SECONDS, loop.LOG_EVERY = -1.0, 1
    stages = {"self-training": ("joint_from=0.5", "label_scales=[32]", "label_crf=1")}
    getam.train(
        data=scenes / "photos", tags=scenes / "tags.csv", out=out, recipe=recipe, backbone="small-hybrid", size=32,
        batch_size=2, steps=STEPS, saliency="none", options=stages.get(recipe, ()),
    )  # fmt: skip


def content(run: Path) -> dict[str, Any]:
    """What a run has come to: every file but those that tell of the machine, the log without speeds."""
    found: dict[str, Any] = {}
    for file in sorted(run.rglob("*")):
        name = file.relative_to(run).as_posix()
        if not file.is_file() or file.name in ("env.json", ".lock") or file.suffix == ".partial":
            continue
        if file.name == "metrics.jsonl":
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            found[name] = [{k: v for k, v in line.items() if k != "photos_per_second"} for line in lines]
        elif file.suffix == ".pt":
            found[name] = torch.load(file, weights_only=True)
        else:
            found[name] = file.read_bytes()
    return found


def same(one: Any, other: Any) -> bool:
    """Bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def forked(work: Callable[..., None], log: Path) -> int:
    """The process that does the work; its exit status is 0 where nothing was raised."""
    if child := os.fork():
        return child
    with log.open("a") as file:
        os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)
        try:
            work()
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)


def ended(child: int) -> int:
    """0 for an end of its own accord, the number of the signal that ended it; anything else is raised."""
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return os.WTERMSIG(status)
    assert os.WEXITSTATUS(status) == 0, "the training raised: see log.txt"
    return 0


def random_times(
    train_to: Callable[[Path], None], out: Path, kills: int, length: float
) -> tuple[int, list[str]]:
    """Kill at random times of runs that are continued until they end, up to that many kills."""
    done, number, differ = 0, 0, []
    wanted = content(out / "whole")
    while done < kills:
        run, number = out / f"run-{number}", number + 1
        while True:
            child = forked(lambda run=run: train_to(run), out / "log.txt")
            time.sleep(random.uniform(0, length))
            if done < kills:
                os.kill(child, signal.SIGKILL)
            if not ended(child):
                break
            done += 1
        found = content(run)
        differ += [
            f"{run.name}/{name}"
            for name in wanted.keys() | found.keys()
            if not same(wanted.get(name), found.get(name))
        ]
    return done, differ


def kill_at(call: int, after: bool) -> None:
    """Have this process killed before or after its call number `call` of those of `CALLS`."""
    count = 0

    def watch(original: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **more: Any) -> Any:
            nonlocal count
            count += 1
            if count == call and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*arguments, **more)
            if count == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return called

    for name in CALLS:
        setattr(os, name, watch(getattr(os, name)))


def file_points(train_to: Callable[[Path], None], out: Path) -> tuple[int, list[str]]:
    """Kill before and after every rename and flush of a file of the first run; continue each once, unharmed."""
    done, differ, call = 0, [], 0
    wanted = content(out / "whole")
    while True:
        call += 1
        for after in (False, True):
            run = out / f"run-{call}-{after}"

            def work(run: Path = run, call: int = call, after: bool = after) -> None:
                kill_at(call, after)
                train_to(run)

            if not ended(forked(work, out / "log.txt")):
                return done, differ
            done += 1
            assert not ended(forked(lambda run=run: train_to(run), out / "log.txt"))
            found = content(run)
            differ += [
                f"{run.name}/{name}"
                for name in wanted.keys() | found.keys()
                if not same(wanted.get(name), found.get(name))
            ]


def main() -> None:
    torch.set_num_threads(1)  # threads do not outlive a fork
    scenes, out, mode, recipe = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[6]
    random.seed(int(sys.argv[4]))

    def train_to(run: Path) -> None:
        train(scenes, run, recipe)

    assert not ended(forked(lambda: train_to(out / "first"), out / "log.txt"))
    began = time.monotonic()
    assert not ended(forked(lambda: train_to(out / "whole"), out / "log.txt"))
    length = time.monotonic() - began
    found = (
        random_times(train_to, out, int(sys.argv[5]), length)
        if mode == "random"
        else file_points(train_to, out)
    )
    (out / "kills.json").write_text(json.dumps({"kills": found[0], "differ": sorted(found[1])}))


if __name__ == "__main__":
    main()
