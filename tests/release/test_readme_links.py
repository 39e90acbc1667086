"""The README as a package's page shows it: no link needs a file beside it, and none was changed that needed none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import readme_links
from pages import README, ROOT
from readme_links import absolute

REPOSITORY = "https://example.org/someone/getam"


def test_every_link_of_the_readme_leads_into_the_repository() -> None:
    before, after = README.read_text(), absolute(README.read_text(), REPOSITORY, "v0.1.0")
    targets = re.findall(r"\]\(([^)\s]+)\)", after)
    assert len(targets) == len(re.findall(r"\]\(([^)\s]+)\)", before)) > 20
    assert all(target.startswith(("https://", "#")) for target in targets)
    for kind, path in re.findall(rf"\]\({REPOSITORY}/(blob|raw)/v0\.1\.0/([^)#]+)", after):
        assert (ROOT / path).is_file()
        assert (kind == "raw") == (Path(path).suffix in (".png", ".jpg"))
    assert re.sub(rf"{REPOSITORY}/(blob|raw)/v0\.1\.0/", "", after) == before


def test_it_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "README.md"
    page.write_text("![a](b.png) [c](mailto:d@e) [f](#g)")
    monkeypatch.setattr(readme_links, "README", page)
    readme_links.main(REPOSITORY + "/", "v2")
    assert page.read_text() == f"![a]({REPOSITORY}/raw/v2/b.png) [c](mailto:d@e) [f](#g)"
