"""Is in wheel and sdist what belongs there, and nothing else? Exit code 1 and a line for each file where not.

    python release/contents.py dist

What belongs there is what git tracks under src/getam: modules, templates, the embedded model, py.typed.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

SOURCE = "src/"
IN_SDIST = ("CHANGELOG.md", "CITATION.cff", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml")
MADE = ("PKG-INFO", "setup.cfg", "src/getam.egg-info/")
"""What setuptools adds to an sdist."""


def tracked(root: Path) -> set[str]:
    """Files of the package that git tracks and that are still there, as src/getam/…"""
    listing = subprocess.run(
        ["git", "ls-files", f"{SOURCE}getam"], cwd=root, check=True, capture_output=True, text=True
    ).stdout
    return {name for name in listing.splitlines() if (root / name).exists()}


def differences(kind: str, wanted: Iterable[str], there: Iterable[str]) -> Iterator[str]:
    """A line for each file that is missing or too many.

    >>> list(differences("wheel", ["getam/a.py"], ["getam/b.py"]))
    ['wheel: getam/a.py is missing', 'wheel: getam/b.py does not belong there']
    """
    wanted, there = set(wanted), set(there)
    yield from (f"{kind}: {name} is missing" for name in sorted(wanted - there))
    yield from (f"{kind}: {name} does not belong there" for name in sorted(there - wanted))


def of_wheel(file: Path) -> set[str]:
    """Names in a wheel but for its metadata."""
    with zipfile.ZipFile(file) as wheel:
        return {name for name in wheel.namelist() if ".dist-info/" not in name}


def of_sdist(file: Path) -> set[str]:
    """Names in an sdist below its one folder, without what setuptools adds."""
    with tarfile.open(file) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}
    return {name for name in names if not name.startswith(MADE)}


def complaints(folder: Path, root: Path) -> list[str]:
    """What is wrong with the one wheel and the one sdist in a folder."""
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        return [f"{folder} holds {len(wheels)} wheels and {len(sdists)} sdists: one of each is wanted"]
    files = tracked(root)
    return [
        *differences("wheel", (name.removeprefix(SOURCE) for name in files), of_wheel(wheels[0])),
        *differences("sdist", {*files, *IN_SDIST}, of_sdist(sdists[0])),
    ]


def main(folder: str) -> int:
    found = complaints(Path(folder), Path(__file__).resolve().parents[1])
    print(
        "\n".join(found) or f"{folder}: wheel and sdist hold what git tracks of the package, and nothing else"
    )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
