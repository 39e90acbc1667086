"""The ceiling of the embedded model: the same network, taught by true masks, and then on larger crops.

    python benchmarks/ceiling.py DATA --weights WEIGHTS --seed 0 --out runs/ceiling

DATA is the VOC-layout folder of docs/results.md, WEIGHTS the ImageNet weights. Its folder has three networks:
`ceiling`, of the 840 steps of one stage; `larger`, which goes on from it as the embedded model did; `last`, the mean of
both. What is done is not done again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from second_stage import LARGER, run_on

from getam.recipes.stages import MeanStage, Stage, TrainStage
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe


def stages(weights: str, steps: int, larger_steps: int, seed: int) -> list[Stage]:
    """Training on crops of 224, one on larger crops that goes on from it, and the mean of both."""
    first = SupervisedConfig(weights=weights, steps=steps, seed=seed)
    larger = SupervisedConfig(weights=weights, **LARGER | {"steps": larger_steps, "seed": seed + 3})
    return [
        TrainStage("ceiling", SupervisedRecipe(), first),
        TrainStage("larger", SupervisedRecipe(), larger, start="ceiling"),
        MeanStage("last", ("larger", "ceiling")),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--steps", type=int, default=840)
    parser.add_argument("--larger-steps", type=int, default=LARGER["steps"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    steps = {"steps": options.steps, "larger_steps": options.larger_steps, "seed": options.seed}
    todo = stages(options.weights, **steps)
    run_on(options.data, todo, {}, options.out, {"recipe": "ceiling", **steps}, masks=True)


if __name__ == "__main__":
    main()
