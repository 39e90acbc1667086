"""`getam serve` under load on loopback: throughput and latency beside the same photos in one process; memory.

    python benchmarks/serve.py load PHOTOS_FOLDER --photos 24 --rounds 5
    python benchmarks/serve.py memory --requests 5000

A round is the plain loop of `getam predict` (reading ahead, writing behind) over the photos, then the same photos sent
by 1, 4 and 16 clients, so that whatever else runs on the machine weighs on all alike; ratios are taken within a round.
Processor seconds a photo are those of the service's process, and of this one in the plain loop: where others keep the
processors busy they say more than the clock.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from PIL import Image

from getam.data.overlap import read_ahead, write_behind
from getam.data.photo_folder import find_photos
from getam.service.answers import mask_png
from getam.service.network import Mask, ServedNetwork

CLIENTS = (1, 4, 16)
SMALL = (48, 64)


@contextmanager
def serving(*options: str) -> Iterator[tuple[int, int]]:
    """(port, process id) of a service that runs for the block."""
    command = [sys.executable, "-m", "getam", "serve", "--port", "0", "--device", "cpu", "--timeout", "600"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r":(\d+) \(", line)
        assert found, line + process.stderr.read()
        yield int(found[1]), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def send(port: int, contents: Sequence[bytes]) -> list[float]:
    """Seconds of each, one after the other, on one connection."""
    connection, spent = http.client.HTTPConnection("127.0.0.1", port, timeout=300), []
    for content in contents:
        begun = perf_counter()
        connection.request("POST", "/segment", content)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        spent.append(perf_counter() - begun)
    connection.close()
    return spent


def by_clients(port: int, contents: Sequence[bytes], clients: int) -> tuple[float, list[float]]:
    """(photos a second, seconds of each) where so many clients share the photos."""
    begun = perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        parts = list(pool.map(lambda number: send(port, contents[number::clients]), range(clients)))
    return len(contents) / (perf_counter() - begun), [each for part in parts for each in part]


def processor_seconds(process: int) -> float:
    """Of another process so far, its own and the kernel's for it."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def plain(network: ServedNetwork, contents: Sequence[bytes]) -> float:
    """Photos a second in this process, as `getam predict` goes through them."""
    written: list[bytes] = []
    begun = perf_counter()
    with write_behind() as write:
        for _, photo in read_ahead(contents, network.prepare):
            (mask,) = network.masks([photo])
            assert isinstance(mask, Mask)
            write(lambda mask=mask: written.append(mask_png(mask)))
    assert len(written) == len(contents)
    return len(contents) / (perf_counter() - begun)


def load(folder: Path, photos: int, rounds: int) -> None:
    contents = [file.read_bytes() for file in find_photos(folder)[:photos]]
    network = ServedNetwork(device="cpu")
    plain(network, contents[:2])
    speeds: dict[int, list[float]] = {clients: [] for clients in (0, *CLIENTS)}
    spent: dict[int, list[float]] = {clients: [] for clients in CLIENTS}
    busy: dict[int, list[float]] = {clients: [] for clients in (0, *CLIENTS)}
    with serving() as (port, process):
        send(port, contents[:2])
        for number in range(rounds):
            begun = process_time()
            speeds[0].append(plain(network, contents))
            busy[0].append((process_time() - begun) / len(contents))
            for clients in CLIENTS if number % 2 == 0 else CLIENTS[::-1]:
                begun = processor_seconds(process)
                speed, seconds = by_clients(port, contents, clients)
                busy[clients].append((processor_seconds(process) - begun) / len(contents))
                speeds[clients].append(speed)
                spent[clients] += seconds
            for what in (speeds, busy):
                print({clients: round(found[-1], 3) for clients, found in what.items()}, flush=True)
    print(
        f"plain: {statistics.median(speeds[0]):.2f} photos a second, {statistics.median(busy[0]):.2f} processor s"
    )
    for clients in CLIENTS:
        ratios = sorted(of / base for of, base in zip(speeds[clients], speeds[0], strict=True))
        p50, p99 = np.percentile(spent[clients], (50, 99))
        print(
            f"{clients} clients: {statistics.median(speeds[clients]):.2f} photos a second, "
            f"{statistics.median(ratios):.2f} of plain ({ratios[0]:.2f} to {ratios[-1]:.2f}), "
            f"p50 {p50:.2f} s, p99 {p99:.2f} s, {statistics.median(busy[clients]):.2f} processor s"
        )


def memory(requests: int, model: Path | None) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (*SMALL, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    page = os.sysconf("SC_PAGE_SIZE")
    rows = []
    options = () if model is None else ("--model", str(model))
    with serving("--scales", "64", *options) as (port, process):
        for done in range(0, requests + 1, 250):
            resident = int(Path(f"/proc/{process}/statm").read_text().split()[1]) * page / 1e6
            rows.append((done, round(resident, 1)))
            print(*rows[-1], flush=True)
            if done < requests:
                by_clients(port, [buffer.getvalue()] * 250, 4)
    print(json.dumps(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    of_load = kinds.add_parser("load")
    of_load.add_argument("folder", type=Path)
    of_load.add_argument("--photos", type=int, default=24)
    of_load.add_argument("--rounds", type=int, default=5)
    of_memory = kinds.add_parser("memory")
    of_memory.add_argument("--requests", type=int, default=5000)
    of_memory.add_argument("--model", type=Path, help="a smaller network than the embedded one is quicker")
    given = parser.parse_args()
    if given.kind == "load":
        load(given.folder, given.photos, given.rounds)
    else:
        memory(given.requests, given.model)


if __name__ == "__main__":
    main()
