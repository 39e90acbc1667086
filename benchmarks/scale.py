"""What a million, a hundred million and a billion photos cost: measured per-photo costs, times stated prices.

`python benchmarks/scale.py measure DATA --out scale.json` (DATA: a VOC-layout folder with tags.csv) measures what a
photo costs the processor, and what a list of photos costs before the first of them is looked at;
`python benchmarks/scale.py table scale.json` prints the tables of docs/scale.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fresh import resident

WARM = 3  # photos before the measured ones: what torch does once
LISTED = 50_000

# What no measurement here can say. List prices of large clouds, rounded; put in your own.
CORE_HOUR = 0.04  # $, one vCPU on demand
GIGABYTE_MONTH = 0.023  # $, object storage
GETS, PUTS = 0.4e-6, 5e-6  # $ a request
NETWORK = 1.25e9  # bytes/s of one machine: 10 Gbit/s
CORES = 64  # of one machine
REQUESTS = 3500  # writes a second that one prefix of an object store takes (5,500 reads)
SHARD = 10_000  # photos in one tar
PHOTOS = (1_000_000, 100_000_000, 1_000_000_000)


def cost_of(verb: str, data: Path, count: int, **options: Any) -> dict[str, float]:
    """Processor seconds and bytes of a photo, over `count` of them, in this process."""
    import getam
    from getam.engine.model import load_model

    known = set(load_model().classes)
    with (data / "tags.csv").open() as file:
        said = {
            Path(line["image"]).name: known & set(line["tags"].split(";")) for line in csv.DictReader(file)
        }
    tags = {name: ";".join(sorted(its)) for name, its in said.items() if its}
    photos = sorted(photo for photo in data.rglob("*.jpg") if photo.name in tags)[: count + WARM]
    with tempfile.TemporaryDirectory() as temporary:
        for folder, its in (("warm", photos[:WARM]), ("measured", photos[WARM:])):
            (place := Path(temporary) / folder).mkdir()
            for photo in its:
                (place / photo.name).symlink_to(photo.resolve())
            lines = [f"{photo.name},{tags[photo.name]}" for photo in its]
            (place / "tags.csv").write_text("\n".join(["image,tags", *lines]) + "\n")

        def run(folder: str) -> None:
            source, out = Path(temporary) / folder, Path(temporary) / f"{folder}-out"
            if verb == "label":
                getam.label(data=source, out=out, **options)
            else:
                getam.predict(source, out=out, **options)

        run("warm")
        began = time.process_time()
        run("measured")
        seconds = (time.process_time() - began) / count
        masks = sum(file.stat().st_size for file in (Path(temporary) / "measured-out").glob("*.png"))
    read = sum(photo.stat().st_size for photo in photos[WARM:])
    return {"cpu_seconds": seconds, "bytes_read": read / count, "bytes_written": masks / count}


def list_of(count: int) -> dict[str, float]:
    """Seconds and bytes of memory a photo takes before the first one is looked at: found, checked, put into a list."""
    from getam.outputs.folder import OutputFolder
    from getam.verbs.loading import photo_jobs

    with tempfile.TemporaryDirectory() as temporary:
        photos = Path(temporary) / "photos"
        for part in range(0, count, 1000):
            (photos / f"{part:08}").mkdir(parents=True)
            for number in range(min(1000, count - part)):
                (photos / f"{part:08}" / f"{number:08}.jpg").touch()
        before, began = resident("VmRSS"), time.perf_counter()
        jobs = photo_jobs(photos, Path(temporary) / "masks")
        with OutputFolder(Path(temporary) / "masks", jobs, {"verb": "predict"}, overwrite=False) as folder:
            seconds = time.perf_counter() - began
            taken = resident("VmRSS") - before
            if len(folder.todo) != count:
                raise SystemExit(f"{len(folder.todo)} of {count} photos are in the list")
    return {"seconds": seconds / count, "bytes": 1e6 * taken / count}


def measure(data: Path, count: int) -> dict[str, dict[str, float]]:
    """All measurements, each in a process of its own."""
    todo: dict[str, Callable[[], dict[str, float]]] = {
        "label": partial(cost_of, "label", data, count),
        "predict": partial(cost_of, "predict", data, count),
        "predict, no CRF": partial(cost_of, "predict", data, count, crf=False),
        "list": partial(list_of, LISTED),
    }
    found = {}
    for name, call in todo.items():
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[name] = pool.apply(call)
        print(name, {key: float(f"{value:.3g}") for key, value in found[name].items()}, flush=True)
    return found


def table(found: dict[str, dict[str, float]]) -> str:
    """Markdown: for each number of photos what each part takes."""
    lines = ["| | " + " | ".join(f"{count:,}" for count in PHOTOS) + " |", "|---|" + "---:|" * len(PHOTOS)]

    def row(what: str, value: Callable[[int], str]) -> None:
        lines.append(f"| {what} | " + " | ".join(map(value, PHOTOS)) + " |")

    for verb in ("label", "predict", "predict, no CRF"):
        core_hours = found[verb]["cpu_seconds"] / 3600
        for what, each in (
            ("core hours", core_hours),
            (f"hours of one machine of {CORES} cores", core_hours / CORES),
            ("cores, $", core_hours * CORE_HOUR),
        ):
            row(f"`{verb}`: {what}", partial(_times, each))
    read, written = found["label"]["bytes_read"], found["label"]["bytes_written"]
    row("photos, TB", lambda n: _rounded(n * read / 1e12))
    row("masks, TB", lambda n: _rounded(n * written / 1e12))
    row("both stored for a month, $", lambda n: _rounded(n * (read + written) / 1e9 * GIGABYTE_MONTH))
    row("photos through one machine's 10 Gbit/s, hours", lambda n: _rounded(n * read / NETWORK / 3600))
    row("a request for each photo and mask, $", lambda n: _rounded(n * (GETS + PUTS)))
    row(
        f"photos in tars of {SHARD:,}, a request for each mask, $",
        lambda n: _rounded(n * (GETS / SHARD + PUTS)),
    )
    row(f"masks written at {REQUESTS:,} a second, hours", lambda n: _rounded(n / REQUESTS / 3600))
    row(
        "one list of all photos: minutes before the first",
        lambda n: _rounded(n * found["list"]["seconds"] / 60),
    )
    row("one list of all photos: GB of memory", lambda n: _rounded(n * found["list"]["bytes"] / 1e9))
    return "\n".join(lines)


def _times(each: float, count: int) -> str:
    return _rounded(count * each)


def _rounded(value: float) -> str:
    """Two digits that count.

    >>> _rounded(1234), _rounded(0.0123), _rounded(96.4)
    ('1,200', '0.012', '96')
    """
    return f"{float(f'{value:.2g}'):,.10g}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    measuring = verbs.add_parser("measure")
    measuring.add_argument("data", type=Path)
    measuring.add_argument("--photos", type=int, default=100)
    measuring.add_argument("--out", type=Path, required=True)
    verbs.add_parser("table").add_argument("measured", type=Path)
    chosen = parser.parse_args()
    if chosen.verb == "table":
        print(table(json.loads(chosen.measured.read_text())))
        return
    chosen.out.write_text(json.dumps(measure(chosen.data, chosen.photos), indent=1) + "\n")


if __name__ == "__main__":
    main()
