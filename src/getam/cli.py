"""The command line: one verb per public function, generated from its signature and docstring."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from getam.errors import GetamError
from getam.verbs.demo import demo
from getam.verbs.evaluate import Evaluation, evaluate
from getam.verbs.explain import explain_photos
from getam.verbs.label import label
from getam.verbs.predict import predict
from getam.verbs.train import train

VERBS: dict[str, Any] = {
    "demo": demo,
    "train": train,
    "explain": explain_photos,
    "label": label,
    "predict": predict,
    "evaluate": evaluate,
}


LISTS = ("--classes", "--scales")  # options that take a list, with spaces or commas


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns 0, or 2 after printing one sentence for a mistake of the user's."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        result = tyro.extras.subcommand_cli_from_dict(
            VERBS,
            prog="getam",
            description="Image tags go in, pixel masks come out.",
            args=split_commas(given),
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except GetamError as error:
        print(f"getam: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("getam: interrupted", file=sys.stderr)
        return 130
    if isinstance(result, Evaluation):
        print(result.as_json())
    elif isinstance(result, Path):
        print(result)
    return 0


def run() -> None:
    """Entry point of the `getam` command."""
    sys.exit(main())


def split_commas(arguments: Sequence[str]) -> list[str]:
    """`--classes cat,dog` means `--classes cat dog`.

    >>> split_commas(["explain", "a.jpg", "--classes", "cat,dog", "--out", "a,b"])
    ['explain', 'a.jpg', '--classes', 'cat', 'dog', '--out', 'a,b']
    """
    split: list[str] = []
    option = ""
    for argument in arguments:
        if argument.startswith("--"):
            option, _, value = argument.partition("=")
            if option in LISTS and value:
                split += [option, *filter(None, value.split(","))]
                continue
        parts = argument.split(",") if option in LISTS else [argument]
        split += [part.strip() for part in parts if part.strip()] or [argument]
    return split
