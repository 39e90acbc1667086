"""Do a tag, the version of the package, CITATION.cff and the changelog agree? Exit code 1 and a line for what not.

python release/version.py v0.1.0
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def complaints(tag: str, root: Path) -> list[str]:
    """What of a repository does not belong to a release of this tag."""
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    cited = re.search(r"^version: (\S+)$", (root / "CITATION.cff").read_text(), re.MULTILINE)
    headings = re.findall(r"^## (.*)$", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    found = []
    if tag != f"v{version}":
        found.append(f"the tag is {tag}, and pyproject.toml has version {version}")
    if cited is None or cited[1] != version:
        found.append(f"CITATION.cff has version {cited[1] if cited else 'none'}, and not {version}")
    if not headings or not re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", headings[0]):
        found.append(f"CHANGELOG.md does not begin with ## {version} (YEAR-MONTH-DAY)")
    return found


def main(tag: str) -> int:
    found = complaints(tag, ROOT)
    print("\n".join(found) or f"{tag}: package, citation and changelog agree")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
