"""`make mutants ROOM=nets SAMPLE=60 SEED=0`: how many careless changes the tests of a room notice.

Works in a temporary copy. The libraries are imported once; each mutant is a fork that writes the change into a copy
of its own and runs the tests that reach its lines, quickest first, up to the first that fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parent))
sys.dont_write_bytecode = True

import hypothesis.internal.conjecture.engine  # noqa: E402, F401
import lightning_fabric  # noqa: E402, F401
import scipy.ndimage  # noqa: E402, F401
import timm  # noqa: E402, F401
import torch  # noqa: E402, F401
import torchvision.transforms.v2  # noqa: E402, F401
import tyro  # noqa: E402, F401
from coverage_map import OPTIONS, record  # noqa: E402
from mutants import Mutant, draw, mutants  # noqa: E402

ALSO = {"top": ["tests/test_*.py"], "verbs": ["tests/verbs", "tests/test_cli.py"]}  # else tests/ROOM
MEMORY = 8 * 2**30  # a change that fills the machine fails instead


def rooms() -> list[str]:
    """The folders of the package that have tests, and its top."""
    folders = sorted(p.name for p in (ROOT / "src/getam").iterdir() if (ROOT / "tests" / p.name).is_dir())
    return [*folders, "top"]


def files_of(room: str, only: list[str]) -> list[Path]:
    """Source files, relative to the root."""
    folder = ROOT / "src/getam" / ("" if room == "top" else room)
    inside = folder.glob("*.py") if room == "top" else folder.rglob("*.py")
    found = [p.relative_to(ROOT) for p in sorted(inside) if p.name != "__main__.py"]
    return [p for p in found if not only or any(str(p).endswith(name) for name in only)]


def copied(to: Path, of: Path = ROOT) -> Path:
    """The project without what git and the tools keep in hidden folders."""
    shutil.copytree(
        of, to, ignore=shutil.ignore_patterns(".*", "runs", "report_*", "*.egg-info"), symlinks=True
    )
    shared = of.parent / "shared"  # test material beside the checkout, where there is any
    if shared.is_dir() and not (to.parent / "shared").exists():
        (to.parent / "shared").symlink_to(shared.resolve())
    return to


def forked(tree: Path, log: Path, work: Any) -> int:
    """Runs `work()` in a fork inside `tree`, its words in `log`; the process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.chdir(tree)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.environ.update(PYTHONPATH=f"{tree / 'src'}:{tree / 'tests'}")
        sys.dont_write_bytecode = False
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        code = work()
        sys.stdout.flush()
        os._exit(code)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(70)


def judged(mutant: Mutant | None, tests: list[str], seconds: float, scratch: Path, tree: Path) -> str:
    """killed, survived, timeout, or stillborn (not even importable: nothing to test); None changes nothing."""
    mine = scratch / "mutant"
    copied(mine, tree)
    if mutant is not None:
        (mine / mutant.file).write_text(mutant.source(), encoding="utf-8")
    import pytest

    limit = int(30 + 10 * seconds)  # of the processor's time: a busy machine changes nothing

    def work() -> int:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
        return int(pytest.main([*OPTIONS, f"--timeout={20 * limit}", *tests]))

    pid = forked(mine, scratch / "log", work)
    until, status = time.monotonic() + 20 * limit, None
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        time.sleep(0.02)
    else:
        status = None
    os.killpg(pid, signal.SIGKILL) if status is None else None
    if status is None:
        os.waitpid(pid, 0)
    shutil.rmtree(mine)
    if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU):
        return "timeout"
    code = os.waitstatus_to_exitcode(status)
    return {0: "survived", 2: "stillborn", 3: "stillborn", 4: "stillborn", 5: "survived"}.get(code, "killed")


def reaching(mutant: Mutant, known: dict[str, Any], tree: Path) -> list[str]:
    """The tests that run its lines; where none is known to (a constant, another process), all, nearest first."""
    seconds: dict[str, float] = known["seconds"]
    lines = known["lines"].get(str(tree / mutant.file), {})
    by_any = {test for tests in lines.values() for test in tests}
    by_lines = {test for line in mutant.lines or () for test in lines.get(str(line), ())}
    near = sorted(by_lines or seconds, key=lambda test: (test not in by_any, seconds[test]))
    return near


def room_score(room: str, sample: int, seed: int, only: list[str], scratch: Path) -> dict[str, Any]:
    """Draws, runs and counts."""
    tree = copied(scratch / "tree")
    folder = ALSO.get(room, [f"tests/{room}"])
    tests = sorted(str(p.relative_to(tree)) for pattern in folder for p in tree.glob(pattern))
    pid = forked(tree, scratch / "log", lambda: record(tests, tree / "src/getam", scratch / "map.json"))
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
        sys.exit(f"the tests of {room} fail without any change:\n{(scratch / 'log').read_text()[-3000:]}")
    known = json.loads((scratch / "map.json").read_text())
    everything = sorted(known["seconds"], key=known["seconds"].get)
    if judged(None, everything, sum(known["seconds"].values()), scratch, tree) != "survived":
        sys.exit(
            f"the tests of {room} fail in another order, or in a copy:\n{(scratch / 'log').read_text()[-3000:]}"
        )
    with contextlib.chdir(tree):  # the sources as they were copied, whatever is edited meanwhile
        found = [mutant for file in files_of(room, only) for mutant in mutants(file)]
    counts: Counter[str] = Counter()
    kinds: dict[str, Counter[str]] = {}
    survivors = []
    for number, mutant in enumerate(draw(found, sample, seed), 1):
        tests = reaching(mutant, known, tree)
        verdict = judged(mutant, tests, sum(known["seconds"][t] for t in tests), scratch, tree)
        counts[verdict] += 1
        kinds.setdefault(mutant.kind, Counter())[verdict] += 1
        where = f"{mutant.file}:{mutant.line}"
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", (scratch / "log").read_text(), re.MULTILINE)
        by = f"by {failed[1]}" if failed else f"({len(tests)} tests)"
        print(f"{number:4} {verdict:9} {where} {mutant.kind} {by}", flush=True)
        if verdict in ("survived", "timeout"):
            print("     " + mutant.diff().replace("\n", "\n     "), flush=True)
            survivors.append({"where": where, "kind": mutant.kind, "verdict": verdict, "diff": mutant.diff()})
    tried = sum(counts.values()) - counts["stillborn"]
    noticed = counts["killed"] + counts["timeout"]
    names = ("killed", "timeout", "survived", "stillborn")
    return {
        "room": room,
        "seed": seed,
        "possible": len(found),
        "tried": tried,
        **{name: counts[name] for name in names},
        "score": round(noticed / max(1, tried), 3),
        "kinds": {kind: dict(sorted(counted.items())) for kind, counted in sorted(kinds.items())},
        "survivors": survivors,
    }


def write_table() -> None:
    """The kept scores into docs/testing.md."""
    rows = ["| room | possible | tried | killed | timeout | survived | seed | score |", "|---|" + "--:|" * 7]
    for path in sorted((ROOT / "docs/measured/mutants").glob("*.json")):
        kept = json.loads(path.read_text())
        numbers = [kept[key] for key in ("possible", "tried", "killed", "timeout", "survived", "seed")]
        rows.append(f"| `{kept['room']}` | {' | '.join(map(str, numbers))} | {kept['score']:.2f} |")
    page = ROOT / "docs/testing.md"
    before, _, rest = page.read_text().partition("<!-- mutants -->")
    after = rest.partition("<!-- /mutants -->")[2]
    page.write_text("\n".join([f"{before}<!-- mutants -->", *rows, f"<!-- /mutants -->{after}"]))


def main() -> None:
    """The command line behind `make mutants`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("room", nargs="*", help="folders of src/getam, or top; all where none is given")
    parser.add_argument("--sample", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", nargs="*", default=[], help="only these, as maps/getam.py; keeps no score")
    args = parser.parse_args()
    for room in args.room or rooms():
        if room not in rooms():
            sys.exit(f"no room {room!r}: one of {', '.join(rooms())}")
        with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
            score = room_score(room, args.sample, args.seed, args.files, Path(scratch))
        short = {key: value for key, value in score.items() if key not in ("kinds", "survivors")}
        print(json.dumps(short), flush=True)
        if not args.files:
            kept = ROOT / "docs/measured/mutants" / f"{room}.json"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(score, indent=1, ensure_ascii=False) + "\n")
            write_table()


if __name__ == "__main__":
    main()
