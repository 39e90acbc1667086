"""As fuzz.py, guided by which lines run (atheris): python tests/fuzz/guided.py --seconds 30 [--only photo]

Every kind of file gets as many seconds, each in a process of its own. Inputs that reach new lines of the readers are
changed further, by libFuzzer's mutations and by those of `damage.py` in turn. What is neither read nor refused in words
goes to tests/fuzz/corpus, which tests read. Needs Linux and `pip install -e '.[dev,fuzz]'`.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import random
import re
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
READERS = [
    "getam.data",
    "getam.engine.state",
    "getam.engine.model_file",
    "getam.engine.runfolder",
    "getam.nets.weights",
    "getam.outputs.unfinished",
]
with atheris.instrument_imports(include=READERS, enable_loader_override=False):
    from damage import damaged
    from targets import Target, targets

    from fuzz import CORPUS, tried

LONGEST = 2**16


def guide(name: str, target: Target, seconds: int) -> None:
    """Fuzz one kind of file; does not return, for libFuzzer ends the process."""
    begin, kinds = tempfile.mkdtemp(), set[str]()
    for number, seed in enumerate(target.seeds):
        (Path(begin) / str(number)).write_bytes(seed)

    def read(content: bytes) -> None:
        found = tried(target, content)
        if found is not None and (kind := found.partition(": ")[0]) not in kinds:
            kinds.add(kind)
            file = CORPUS / name / hashlib.sha256(content).hexdigest()[:12]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            print(f"{file.relative_to(CORPUS)}: {found}", flush=True)

    def change(content: bytes, longest: int, seed: int) -> bytes:
        draw = random.Random(seed)
        if draw.random() < 0.5:
            return atheris.Mutate(content, longest)
        return damaged((content, *target.seeds), draw)[:longest]

    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-rss_limit_mb=4096", "-timeout=3600"]
    limits.append(f"-artifact_prefix={begin}/")  # what libFuzzer itself finds slow goes where the seeds are
    atheris.Setup([sys.argv[0], *limits, begin], read, custom_mutator=change)
    atheris.Fuzz()


def guided(name: str, target: Target, seconds: int) -> str:
    """What a process of its own said while it fuzzed one kind of file."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            guide(name, target, seconds)
        os.waitpid(child, 0)
        said.seek(0)
        return said.read().decode(errors="replace")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="for each kind of file")
    parser.add_argument("--only")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    with tempfile.TemporaryDirectory() as scratch:
        known = targets(Path(scratch))
    total = wrong = 0
    for name, target in known.items():
        if options.only not in (None, name):
            continue
        said = guided(name, target, options.seconds)
        runs, reached = re.search(r"Done (\d+) runs", said), re.findall(r"cov: (\d+)", said)
        defects = re.findall(rf"^{name}/[0-9a-f]+: .*$", said, re.MULTILINE)
        if runs is None:
            defects.append(f"{name} ended early: {said[-500:]}")
        else:
            total += int(runs[1])
            print(f"{name}: {runs[1]} inputs, {reached[0]} to {reached[-1]} branches reached", flush=True)
        wrong += len(defects)
        print(*defects, sep="\n", end="\n" * bool(defects), flush=True)
    print(f"{total} inputs, {wrong} kinds of defects")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
