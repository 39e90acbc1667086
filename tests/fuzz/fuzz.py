"""Read damaged files, many thousands of them: python tests/fuzz/fuzz.py --count 500 --seed 0 [--only photo]

Of every kind of file (`targets.py`) as many damaged copies as `--count` says. Whatever is neither read nor refused in
words, takes more than 10 seconds of the processor, or makes the process grow by 2 GB is kept in tests/fuzz/corpus,
which tests read.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from damage import damaged
from targets import Target, targets

CORPUS = Path(__file__).with_name("corpus")
SECONDS = 10
MEGABYTES = 2048


class SlowError(BaseException):
    """Reading took too long; no reader catches it."""


def tried(target: Target, content: bytes) -> str | None:
    """What is wrong with how this is read, and where in the package; None: nothing."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def late(*_: object) -> None:
        raise SlowError

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of the processor's time: the machine may be busy
    try:
        with tempfile.TemporaryDirectory() as folder:
            target(Path(folder), content)
    except SlowError:
        return f"longer than {SECONDS} seconds"
    except BaseException as error:
        ours = [
            f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}getam{os.sep}" in f.filename
        ]
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "no line of ours"
        return f"{type(error).__name__} at {place}: {str(error)[:100]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return f"grew by {grown:.0f} MB" if grown > MEGABYTES else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable()
    wrong = total = 0
    with tempfile.TemporaryDirectory() as scratch:
        known = targets(Path(scratch))
    for name, target in known.items():
        if options.only not in (None, name):
            continue
        draw, began, kinds = random.Random(f"{options.seed} {name}"), time.monotonic(), set()
        for _ in range(options.count):
            content = damaged(target.seeds, draw)
            total += 1
            if (found := tried(target, content)) is not None:
                wrong += 1
                if (kind := found.partition(": ")[0]) not in kinds:
                    kinds.add(kind)
                    file = CORPUS / name / hashlib.sha256(content).hexdigest()[:12]
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)
                    print(f"{file.relative_to(CORPUS)}: {found}")
        print(f"{name}: {options.count} in {time.monotonic() - began:.1f} s", flush=True)
    print(f"{total} files, {wrong} neither read nor refused")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
