"""What an installation of a package needs, as the metadata of what is installed here says.

python release/installed.py getam   # JSON: each package, and what it needs itself
"""

from __future__ import annotations

import json
import sys
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(name: str, extras: frozenset[str] = frozenset()) -> dict[str, set[str]]:
    """A package and all that it needs, with the extras that are asked for on the way: name → names it needs itself.

    Names are canonical, markers are those of this Python on this machine.

    Raises:
        importlib.metadata.PackageNotFoundError: something of it is not installed.
    """
    found: dict[str, set[str]] = {}
    done: set[tuple[str, str]] = set()
    todo = [(canonicalize_name(name), extra) for extra in ("", *extras)]
    while todo:
        package, extra = todo.pop()
        if (package, extra) in done:
            continue
        done.add((package, extra))
        direct = found.setdefault(package, set())
        for line in metadata.requires(package) or ():
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                inner = canonicalize_name(wanted.name)
                direct.update({inner} - {package})
                todo += [(inner, each) for each in ("", *wanted.extras)]
    return found


if __name__ == "__main__":
    print(json.dumps({name: sorted(direct) for name, direct in needed(sys.argv[1]).items()}))
