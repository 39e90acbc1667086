"""Measures everything the docs say about speed and memory: prints a table, writes JSON, fills docs/performance.md.

`make bench`, or `python benchmarks/run.py --only maps,step`: rows of the other pieces stay as they were measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import label
import malloc
import memory
import peers
import predict
import startup
import step
import timm
import torch
from rows import Row, markdown, merge, write_between_markers, write_json
from scene import FULL, SMOKE, Scale

import maps
import refine

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "measured" / "performance.json"
PAGE = ROOT / "docs" / "performance.md"

PIECES: dict[str, Callable[[Scale], list[Row]]] = {
    "maps": maps.measure,
    "peers": peers.measure,
    "memory": memory.measure,
    "step": step.measure,
    "naive": step.measure_naive,
    "malloc": malloc.measure,
    "refine": refine.measure,
    "label": label.measure,
    "predict": predict.measure,
    "startup": startup.measure,
}


def main() -> None:
    """Measure the pieces asked for."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default=",".join(PIECES), help=f"some of {','.join(PIECES)}")
    options.add_argument("--repeats", type=int, help="rounds per piece (5)")
    options.add_argument("--photos", type=int, help="photos in the smaller folder to label (12)")
    options.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch (all cores)")
    options.add_argument(
        "--smoke", action="store_true", help="tiny sizes, to see that all runs; writes nothing"
    )
    given = options.parse_args()
    chosen = given.only.split(",")
    if unknown := [piece for piece in chosen if piece not in PIECES]:
        raise SystemExit(f"there is no piece {unknown[0]!r}: choose some of {','.join(PIECES)}")
    scale = SMOKE if given.smoke else FULL
    scale = replace(scale, repeats=given.repeats or scale.repeats, folder=given.photos or scale.folder)
    torch.set_num_threads(given.threads)
    rows: list[Row] = []
    here = machine()
    for piece in PIECES:  # in this order, and those done are kept if a later one is interrupted
        if piece not in chosen:
            continue
        print(f"{piece} …", flush=True)
        began = time.perf_counter()
        fresh = [replace(row, machine=here) for row in PIECES[piece](scale)]
        print(f"{piece}: {time.perf_counter() - began:.0f} s\n{markdown(fresh)}", flush=True)
        rows += fresh
        if not given.smoke:
            keep(merge(RESULTS, fresh, [piece]))
    missed = sum(row.met is False for row in rows)
    print(f"{markdown(rows)}\n{sum(row.met is True for row in rows)} bars met, {missed} not")
    if given.smoke:
        print("Tiny sizes: these numbers mean nothing.")


def keep(rows: list[Row]) -> None:
    """Write JSON and page, pieces in their own order."""
    rows = sorted(rows, key=lambda row: list(PIECES).index(row.piece))
    write_json(RESULTS, rows)
    pieces: dict[str, list[str]] = {}
    for row in rows:
        pieces.setdefault(row.machine, []).append(row.piece)
    where = "; ".join(f"{', '.join(dict.fromkeys(its))}: {what}" for what, its in pieces.items())
    write_between_markers(PAGE, f"\n{markdown(rows)}\nMeasured on – {where}.\n\n")


def machine() -> str:
    """What the numbers depend on."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.processor(),
    )  # fmt: skip
    return (
        f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"timm {timm.__version__}, Python {platform.python_version()}, {datetime.now(UTC).date().isoformat()}"
    )


if __name__ == "__main__":
    main()
