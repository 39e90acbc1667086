"""What `pip install getam` brings here, as a list that other tools read (SBOM: CycloneDX 1.6, JSON).

    python release/sbom.py .venv/bin/python dist/getam.cdx.json

`cyclonedx-py` lists a whole environment, where what any extra of a package would bring counts as needed by it; this
keeps what getam needs without extras, and checks the result against the format's own schema. Nothing is fetched.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
VERSION = "1.6"  # of CycloneDX
NAME = "getam"


def only(bom: dict[str, Any], needed: dict[str, list[str]]) -> dict[str, Any]:
    """The part of a bill of materials that its subject needs.

    Args:
        bom: CycloneDX, as JSON has it.
        needed: canonical name → names it needs itself; the subject's own is among them.

    Raises:
        KeyError: a package is needed, and not listed.

    >>> kept = only({"metadata": {"component": {"name": "us", "bom-ref": "root"}},
    ...     "components": [{"name": name, "bom-ref": name + "=1"} for name in ("us", "Torch", "pytest")],
    ...     "dependencies": [{"ref": "root", "dependsOn": ["Torch=1", "pytest=1"]}]}, {"us": ["torch"], "torch": []})
    >>> kept["components"], kept["dependencies"]
    ([{'name': 'Torch', 'bom-ref': 'Torch=1'}], [{'ref': 'root', 'dependsOn': ['Torch=1']}, {'ref': 'Torch=1'}])
    """
    subject = bom["metadata"]["component"]
    refs = {canonical(each["name"]): each["bom-ref"] for each in bom["components"]}
    refs[canonical(subject["name"])] = subject["bom-ref"]
    kept = {refs[name] for name in needed}
    return bom | {
        "components": [each for each in bom["components"] if each["bom-ref"] in kept],
        "dependencies": [
            {"ref": refs[name]} | ({"dependsOn": sorted(refs[each] for each in direct)} if direct else {})
            for name, direct in needed.items()
        ],
    }


def canonical(name: str) -> str:
    """As `packaging` writes names."""
    return name.lower().replace("_", "-").replace(".", "-")


def main(python: str, out: str) -> int:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    needed = output(python, str(HERE / "installed.py"), NAME)
    lister = str(Path(sys.executable).parent / "cyclonedx-py")
    bom = output(
        lister, "environment", "--pyproject", str(HERE.parent / "pyproject.toml"), "--mc-type", "library",
        "--output-reproducible", "--spec-version", VERSION, python,
    )  # fmt: skip
    kept = only(json.loads(bom), json.loads(needed))
    text = json.dumps(kept, indent=1)
    if wrong := JsonStrictValidator(SchemaVersion.from_version(VERSION)).validate_str(text):
        print(f"not as CycloneDX's schema wants it: {wrong}", file=sys.stderr)
        return 1
    Path(out).write_text(text + "\n")
    print(f"{out}: {len(kept['components'])} packages")
    return 0


def output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
