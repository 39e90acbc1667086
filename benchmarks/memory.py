"""Peak memory of maps, each case in a fresh process: getam, a plain forward and backward, the matrices materialised.

`python benchmarks/memory.py CASE BACKBONE SIDE THREADS` is one such process and prints its peak resident memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import torch
from fresh import MEGABYTE, numbers, resident
from reference_loop import loop
from rows import Row
from scene import FULL, Scale, class_lists, normal_photos, vit

from getam.attention.capture import frozen
from getam.maps.methods.getam import getam

CLASSES = 2
BAR = 1.2


def measure(scale: Scale) -> list[Row]:
    """Rows per side: the ratio, then what the materialised version needs (measured at the smaller side)."""
    rows = []
    for side in scale.memory_sides:
        ours, plain = (fresh_process(case, scale, side) for case in ("getam", "plain"))
        what = f"peak memory of a process, maps of {CLASSES} classes, {scale.backbone} at {side}², against a plain "
        rows.append(
            Row("memory", what + "forward + backward through the same blocks", ours["peak"] / plain["peak"], bar=BAR,
                detail=f"{ours['peak']:.0f} MB / {plain['peak']:.0f} MB, of which {plain['before']:.0f} MB before the "
                       f"first photo; above that {_above(ours) / _above(plain):.3g} ×")
        )  # fmt: skip
        tokens = (side // 16) ** 2 + 1
        depth, heads = 12, int(vit_heads(scale))
        matrices = 2 * depth * heads * tokens**2 * 4 / MEGABYTE
        rows.append(Row("memory", f"the same, matrices materialised, {side}²: A and G of {depth} blocks, computed",
                        matrices, "MB", detail=f"{depth} · 2 · {heads} · {tokens}² · 4 B"))  # fmt: skip
        if side == scale.memory_sides[0]:
            naive = fresh_process("materialised", scale, side)
            rows.append(Row("memory", f"the same, matrices materialised, {side}²: peak of the reference-style loop",
                            naive["peak"], "MB", detail=f"{naive['peak'] / plain['peak']:.3g} × plain"))  # fmt: skip
    return rows


def vit_heads(scale: Scale) -> int:
    """Heads per block."""
    return vit(replace(scale, side=32)).blocks[0].attn.num_heads


def fresh_process(case: str, scale: Scale, side: int) -> dict[str, float]:
    """Megabytes resident before the first photo and at the peak, of a new process that runs the case once."""
    before, peak = numbers(__file__, case, scale.backbone, side)
    print(f"  {case} at {side}²: {peak:.0f} MB, {before:.0f} MB before the first photo", flush=True)
    return {"before": before, "peak": peak}


def plain(model: torch.nn.Module, images: torch.Tensor, classes: list[list[int]]) -> None:
    """Forward, then the gradient of the classes' scores at the first block getam reads; parameters frozen."""
    start = model.get_submodule(f"blocks.{len(list(model.get_submodule('blocks').children())) // 2}")
    leaves = []

    def begin_graph(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        leaves.append(inputs[0].detach().requires_grad_())
        return (leaves[0], *inputs[1:])

    handle = start.register_forward_pre_hook(begin_graph)
    with frozen(model):
        scores = model(images)
        torch.autograd.grad(scores[0, classes[0]].sum(), leaves)
    handle.remove()


def one_process(case: str, backbone: str, side: int) -> None:
    """Run one case and print megabytes before the first photo and at the peak."""
    model = vit(replace(FULL, backbone=backbone), side)
    images, classes = normal_photos(1, side), class_lists(1, CLASSES)
    before = resident("VmRSS")
    cases: dict[str, Callable[..., object]] = {"getam": getam, "plain": plain, "materialised": loop}
    cases[case](model, images, classes)
    print(before, resident("VmHWM"))


def _above(found: dict[str, float]) -> float:
    return found["peak"] - found["before"]


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[4]))
    one_process(sys.argv[1], sys.argv[2], int(sys.argv[3]))
