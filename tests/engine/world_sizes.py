"""Run by tests/engine/test_world_sizes.py in a process of its own, `world_sizes.py OUT`: one training by 1, 2 and 4.

Processes are forked, so that torch is loaded once; each has torchrun's variables. Writes found.pt.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning_fabric  # noqa: F401, here once instead of in every process
import torch
from own_share import plain
from torch import Tensor

from getam.engine import loop
from getam.engine.loop import fit
from getam.engine.ranks import rank
from getam.engine.runfolder import RunFolder
from getam.errors import InputError
from getam.recipes import getam as recipe

CLASSES = ("red", "blue")
SIDE, BATCH, STEPS, KILLED_IN = 32, 4, 5, 3
PATIENCE = 240  # seconds until a process that hangs is ended


class Photos:
    """Eight photos of one tag or two, some padded, with saliency; in some nobody looked for the second class."""

    def __len__(self) -> int:
        return 8

    def set_epoch(self, epoch: int) -> None:
        pass

    def name(self, index: int) -> str:
        return f"photo {index}"

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        image = torch.rand(3, SIDE, SIDE, generator=generator) * 60 + 90
        saliency = torch.zeros(SIDE, SIDE)
        saliency[4 + index : 12 + 2 * index, 4:20] = 1.0
        tags = torch.tensor([float(index % 3 != 1), float(index % 3 > 0)])
        for number in tags.nonzero().flatten().tolist():
            image[2 * number, 4 + index : 12 + 2 * index, 4 + 8 * number : 12 + 8 * number] = 230
        roi = torch.ones(SIDE, SIDE, dtype=torch.bool)
        roi[: 2 * (index % 4)] = False
        known = torch.tensor([True, index % 2 == 0 or bool(tags[1])])
        return {"image": image, "tags": tags, "roi": roi, "saliency": saliency, "known": known,
                "index": torch.tensor(index)}  # fmt: skip


CONFIG = plain(recipe.GetamConfig)(
    backbone="small-hybrid", size=SIDE, channels=(8, 8, 8, 8), width=8, batch_size=BATCH, steps=STEPS, joint_from=0.3,
    warmup=0.0, optimizer="sgd", lr=0.02, pretrained_lr=0.02, pamr_iterations=2, dense_weight=1e-4, saliency_weight=0.5,
    opening=1,
)  # fmt: skip


def train(out: Path, **options: Any) -> Any:
    """All of the training that is left."""
    with RunFolder(out) as run:
        run.open({"recipe": "getam"})
        return fit(recipe.GetamRecipe(), CONFIG, Photos(), CLASSES, run, record={}, **options)


def whole(out: Path) -> None:
    """A run that is never stopped, and the pseudo labels of its steps."""
    labels: list[tuple[list[int], Tensor]] = []
    made = recipe.pseudo_labels

    def kept(net: Any, tap: Any, scores: Tensor, batch: Any, config: Any) -> Tensor:
        label = made(net, tap, scores, batch, config)
        labels.append((batch["index"].tolist(), label.clone()))
        return label

    recipe.pseudo_labels = kept
    checked: list[int] = []

    def check(net: Any) -> dict[str, float]:
        checked.append(1)
        return {"known": 1.0}

    train(out, check=check)
    torch.save({"labels": labels, "checks": len(checked)}, out / f"labels-{rank()}.pt")


def killed(out: Path) -> None:
    """A run of two, of which the second is killed in a step after the one that was saved."""

    def advance(done: int, losses: dict[str, float]) -> None:
        if done == KILLED_IN and rank():
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        train(out, advance=advance)
    except InputError as error:
        (out / f"said-{rank()}.txt").write_text(str(error))


class StopError(Exception):
    pass


def one_more_step(out: Path) -> None:
    """Go on, and stop by force after a step."""

    def advance(done: int, losses: dict[str, float]) -> None:
        raise StopError

    try:
        train(out, advance=advance)
    except StopError:
        return


def together(count: int, work: Callable[[Path], None], out: Path) -> list[int]:
    """How each of that many processes ended: 0, or as `os.waitstatus_to_exitcode` says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    out.mkdir(exist_ok=True)
    children = []
    for number in range(count):
        if child := os.fork():
            children.append(child)
            continue
        signal.alarm(PATIENCE)
        if count > 1:
            os.environ.update(known | {"RANK": str(number), "LOCAL_RANK": str(number)})
        try:
            work(out)
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def result(out: Path) -> dict[str, Any]:
    """Losses of every step, and weights."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    state = RunFolder(out).state()
    assert state is not None
    return {"log": [line for line in lines if "lr" in line], "checks": [line for line in lines if "known" in line],
            "weights": state["model"]}  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)  # threads do not outlive a fork
    out = Path(sys.argv[1])
    loop.LOG_EVERY = 1
    found: dict[str, Any] = {}
    for count in (1, 2, 4):
        folder = out / f"whole-{count}"
        ended = together(count, whole, folder)
        parts = [torch.load(folder / f"labels-{number}.pt", weights_only=False) for number in range(count)]
        found[f"whole {count}"] = {"ended": ended, "parts": parts, **result(folder)}
    loop.SAVE_EVERY_SECONDS = -1.0
    folder = out / "killed"
    found["killed"] = together(2, killed, folder)
    found["said"] = {file.name: file.read_text() for file in folder.glob("said-*.txt")}
    found["saved"] = (RunFolder(folder).state() or {})["step"]
    found["went on"] = [together(1, one_more_step, folder), together(4, train, folder)]
    found["resumed"] = result(folder)
    torch.save(found, out / "found.pt")


if __name__ == "__main__":
    main()
