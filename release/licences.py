"""The licences of all that `pip install getam` brings: a table, and exit code 1 where one is not to be had in it.

    python release/licences.py                 # the default install
    python release/licences.py serve onnx      # with extras

What a package says of itself is believed: `License-Expression`, else a short `License`, else its classifiers.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata

from installed import needed

COPYLEFT = re.compile(
    r"\bA?GPL|\bGNU (Affero )?General Public", re.IGNORECASE
)  # LGPL and MPL may be linked to
EXCEPTED = re.compile(r"\bGPL[\w.+-]*([ -]WITH[ -]|-linking-)[\w.-]*exception\b", re.IGNORECASE)
SHORT = 60  # characters: a longer `License` is the text of one
SAID_ELSEWHERE = {"cuda-toolkit": "NVIDIA Proprietary Software"}
"""Packages that say nothing of themselves: the first is an empty one that names NVIDIA's libraries."""


def licence(distribution: metadata.Distribution) -> str:
    """What a package says of itself, "" for nothing."""
    about = distribution.metadata
    expression = about.get("License-Expression") or ""
    field = (about.get("License") or "").strip()
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in about.get_all("Classifier") or ()
        if line.startswith("License ::") and line.count(" :: ") > 1
    ]
    short = field if len(field) <= SHORT and field != "UNKNOWN" else ""
    return expression or short or ", ".join(classifiers) or SAID_ELSEWHERE.get(distribution.name.lower(), "")


def complaint(text: str) -> str:
    """Why a licence is not to be had in the default install, "" for none.

    >>> complaint("MIT"), complaint("LGPL-2.1-or-later"), complaint("GPL-3.0-or-later WITH GCC-exception-3.1")
    ('', '', '')
    >>> complaint("AGPL-3.0-only"), complaint("")
    ('AGPL-3.0-only', 'says nothing of its licence')
    """
    if not text:
        return "says nothing of its licence"
    return text if COPYLEFT.search(EXCEPTED.sub("", text)) else ""


def main(extras: list[str]) -> int:
    wrong = 0
    for name in sorted(needed("getam", frozenset(extras))):
        distribution = metadata.distribution(name)
        text = licence(distribution)
        refused = complaint(text)
        wrong += bool(refused)
        print(f"{name:32} {distribution.version:18} {text or refused}{'   REFUSED' if refused else ''}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
