"""The command line: one verb per public function, generated from its signature and docstring."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro

from getam.cli_verbs import VERBS, parsed, unloaded
from getam.engine.hardware import NotLaunchedError
from getam.engine.launch import launch
from getam.engine.malloc import start_again
from getam.engine.ranks import rank
from getam.engine.stopping import terminated_is_interrupted
from getam.errors import GetamError, SkippedError
from getam.named import split_outside

LISTS = (
    "--classes",
    "--words",
    "--background-words",
    "--scales",
    "--layers",
    "--refine",
    "--background",
    "--compare",
)
"""Options that take a list, with spaces or commas; --options, whose values may hold commas, with spaces only."""
NO_MEMORY = (
    "not enough memory: give smaller photos or numbers for --scales, --size or --batch-size, or close other programs; "
    "where a GPU's memory is what is full, --device cpu"
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MAKE_ROOM = "make room and repeat the command: train, label, predict and saliency go on where they stopped"
ALONE = ("convert", "data", "evaluate", "export", "localise", "publish", "report")
"""Verbs that have nothing to share: of several processes of a launcher the first does it all."""
TRAINING = ("demo", "leaderboard", "train")
NO_LISTS = {"explain": ("--refine",), "label": ("--words",)}  # where an option of that name takes no list
NOBODY_READS = 141  # what a shell says of a command whose reader has gone, 128 + SIGPIPE
LARGE_PHOTO = r"Image size \(\d+ pixels\) exceeds limit"  # of Pillow, which `getam doctor` may miss
RULES = ("╭─", "╰─", "───", "---")  # lines tyro draws around and between the parts of its errors
HELP_INDENT = " " * 8  # before the explanation of an option


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns 0; 1 when it is done but for photos that were skipped on request, or has found problems; 2 after a mistake
    of the user's; 130 after Ctrl-C and 143 after SIGTERM. All are said.

    Raises:
        SystemExit: with 0, after `--help`.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    typed = sys.argv[1:] if arguments is None else arguments
    given = joined(split_commas(typed))
    asked = given[:1]
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            call = parse(given, whole=asked)
    except SystemExit as end:
        if not end.code:
            print(*(f"\n{VERBS[name].help_end()}" for name in asked if name in VERBS), sep="", end="")
            raise
        print(f"getam: {one_sentence(complaint.getvalue())}", file=sys.stderr)
        return 2
    if rank() and asked[0] in ALONE:
        return 0
    try:
        with terminated_is_interrupted(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", LARGE_PHOTO)  # `read_photo` has a limit of its own
            result = call()
    except SkippedError as error:
        print(f"getam: {error}", file=sys.stderr)
        return 1
    except NotLaunchedError as error:
        return launch(typed, error.processes)
    except GetamError as error:
        print(f"getam: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        print(f"getam: {NO_MEMORY}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        remedy = f"; {MAKE_ROOM}" if error.errno in FULL else ""
        print(f"getam: {where}{error.strerror or error}{remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"getam: {str(stop) or 'interrupted'}", file=sys.stderr)
        return 128 + getattr(
            stop, "number", signal.SIGINT
        )  # what a shell says of a command that a signal ended
    if callable(as_json := getattr(result, "as_json", None)):  # of `evaluate`
        print(as_json())
    elif isinstance(result, (Path, str)) and rank() == 0:  # of several processes the first speaks
        print(result)
    return int(getattr(result, "exit_code", 0))  # of `data-check`


def parse(arguments: Sequence[str], *, whole: Sequence[str]) -> Callable[[], Any]:
    """What the arguments ask for, to be called.

    Args:
        arguments: as `joined` and `split_commas` leave them.
        whole: verbs whose options are known; others are names with a summary.

    Raises:
        SystemExit: after `--help`, or a mistake, which is said on stderr.
    """
    return tyro.extras.subcommand_cli_from_dict(
        {name: parsed(name, verb) if name in whole else unloaded(verb) for name, verb in VERBS.items()},
        prog="getam",
        description="Image tags go in, pixel masks come out.",
        args=list(arguments),
    )


def run() -> None:
    """Entry point of the `getam` command."""
    if sys.argv[1:2] and sys.argv[1] in TRAINING:
        start_again()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            ended: Any = main()
        except SystemExit as end:  # after --help
            ended = end.code
        sys.stdout.flush()
    except BrokenPipeError:  # `getam methods | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where Python flushes once more
        ended = NOBODY_READS
    sys.exit(ended)


def _is_out_of_memory(error: BaseException) -> bool:
    """Python has a type for it, CUDA one with these words in it; torch's CPU allocator only has words."""
    return isinstance(error, MemoryError) or any(
        words in str(error).lower()
        for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


def joined(arguments: Sequence[str]) -> list[str]:
    """A verb of two words is one with a hyphen.

    >>> joined(["data", "check", "photos"]), joined(["train", "--data", "photos"])
    (['data-check', 'photos'], ['train', '--data', 'photos'])
    """
    both = "-".join(arguments[:2])
    return [both, *arguments[2:]] if both in VERBS else list(arguments)


def split_commas(arguments: Sequence[str]) -> list[str]:
    r"""`--classes cat,dog` means `--classes cat dog`; `\,` is a comma inside a name.

    >>> split_commas(["explain", "a.jpg", "--classes", "cat,dog", "--out", "a,b"])
    ['explain', 'a.jpg', '--classes', 'cat', 'dog', '--out', 'a,b']
    >>> split_commas(["explain", "a.jpg", "--classes=red\\, blue,green"])
    ['explain', 'a.jpg', '--classes', 'red, blue', 'green']
    """
    split: list[str] = []
    option = ""
    lists = [name for name in LISTS if name not in NO_LISTS.get(next(iter(arguments), ""), ())]
    for argument in arguments:
        if argument.startswith("--"):
            option, _, value = argument.partition("=")
            if option in lists and value:
                split += [option, *_parts(value)]
                continue
        split += (_parts(argument) if option in lists else None) or [argument]
    return split


def _parts(text: str) -> list[str]:
    """What is between commas outside of brackets that no backslash precedes, without space around and empty ones."""
    return [part.replace(r"\,", ",").strip() for part in split_outside(text) if part.strip()]


def one_sentence(complaint: str) -> str:
    """What tyro says in a box of several parts, as one line.

    >>> print(one_sentence('''
    ... ╭─ Unrecognized options ────────────╮
    ... │ Unrecognized options: --stepps, 3 │
    ... │ ───────────────────────────────── │
    ... │ Perhaps you meant:                │
    ... │     --steps INT                   │
    ... │         optimiser steps.          │
    ... │ ───────────────────────────────── │
    ... │ For full helptext, run            │
    ... │     getam train --help            │
    ... ╰───────────────────────────────────╯'''))
    Unrecognized options: --stepps, 3; Perhaps you meant: --steps INT; see getam train --help
    """
    parts: list[list[str]] = [[]]  # the first is the title, in the frame or above a rule
    for line in complaint.strip().splitlines():
        if line.strip("│ ").startswith(RULES):
            parts.append([])
        else:
            parts[-1].append(line[2:].rstrip("│ "))  # without the frame, drawn or blank
    said = []
    for part in parts[1:]:
        text, option = "", ""
        for line in part[: part.index("") if "" in part else None]:  # after a blank line come internals
            if line.startswith(HELP_INDENT) and option.startswith("--"):
                continue  # the option's name says enough
            option = line.strip()
            text += f" {option}"
        if text and not text.startswith((" For full helptext", " Argument helptext")):
            said.append(text.strip())
    where = re.search(r"getam[\w ]*--help", complaint)
    return "; ".join([*said, f"see {where.group() if where else 'getam --help'}"])
