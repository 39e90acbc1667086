"""Links lead somewhere, lists of files are complete: `make docs` knows links, and not what lacks one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pages import DOCS, README, ROOT

LISTS = {
    DOCS / "decisions" / "README.md": "[0-9]*.md",
    DOCS / "measured" / "README.md": "**/*.json",
}
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]


@pytest.mark.parametrize("page", LISTS, ids=lambda page: page.parent.name)
def test_every_file_is_in_the_list(page: Path) -> None:
    text = page.read_text()
    folder = page.parent
    for file in sorted(folder.glob(LISTS[page])):
        assert f"]({file.relative_to(folder).as_posix()})" in text, file.name


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "_build" not in page.parts], ids=lambda page: page.name
)
def test_links_lead_to_files_of_the_repository(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_every_page_is_in_the_index() -> None:
    listed = set((DOCS / "index.md").read_text().split())
    missing = {page.stem for page in DOCS.glob("*.md")} - listed - {"index"}
    assert missing == set()
    assert (ROOT / "docs" / "conf.py").is_file()
