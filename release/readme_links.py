"""The README for readers elsewhere: its links and pictures lead into a repository at a tag, not to files beside it.

    python release/readme_links.py https://github.com/OWNER/getam v0.1.0   # rewrites README.md

A package's page shows the README alone: there `docs/start-photos.md` would lead nowhere. The release workflow does
this in its own checkout, with the repository it runs in, before anything is built.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
README = Path(__file__).resolve().parents[1] / "README.md"


def absolute(text: str, repository: str, tag: str) -> str:
    """A page in Markdown whose links no longer need the files beside it.

    >>> absolute("[docs](docs/index.md#a), [here](#b), ![cat](c.jpg)", "https://example.org/o/r", "v1")
    '[docs](https://example.org/o/r/blob/v1/docs/index.md#a), [here](#b), ![cat](https://example.org/o/r/raw/v1/c.jpg)'
    """

    def put(link: re.Match[str]) -> str:
        picture, words, target = link["picture"], link["text"], link["target"]
        if target.startswith("#") or re.match(r"[a-z]+:", target):
            return link[0]
        return f"{picture}[{words}]({repository}/{'raw' if picture else 'blob'}/{tag}/{target})"

    return LINK.sub(put, text)


def main(repository: str, tag: str) -> None:
    README.write_text(absolute(README.read_text(), repository.rstrip("/"), tag))


if __name__ == "__main__":
    main(*sys.argv[1:])
