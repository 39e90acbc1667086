"""A release whose tag, package, citation and changelog agree, and each of them made wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml

from pages import ROOT
from version import complaints

GOOD = {
    "pyproject.toml": '[project]\nversion = "1.2.0"\n',
    "CITATION.cff": "cff-version: 1.2.0\nversion: 1.2.0\n",
    "CHANGELOG.md": "# Changelog\n\n## 1.2.0 (2026-12-24)\n\n## 1.1.0 (2026-11-30)\n",
}


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("", "", []),
        (
            "pyproject.toml",
            '[project]\nversion = "1.3.0"\n',
            ["the tag is v1.2.0", "CITATION.cff", "CHANGELOG.md"],
        ),
        ("CITATION.cff", "cff-version: 1.2.0\nversion: 1.1.0\n", ["CITATION.cff has version 1.1.0"]),
        ("CITATION.cff", "cff-version: 1.2.0\n", ["CITATION.cff has version none"]),
        ("CHANGELOG.md", "# Changelog\n\n## 1.2.0 (unreleased)\n", ["CHANGELOG.md"]),
        ("CHANGELOG.md", "# Changelog\n\n## 1x2.0 (2026-12-24)\n", ["CHANGELOG.md"]),
        ("CHANGELOG.md", "# Changelog\n", ["CHANGELOG.md"]),
    ],
)
def test_what_does_not_agree_is_said(tmp_path: Path, file: str, text: str, said: list[str]) -> None:
    for name, content in {**GOOD, **({file: text} if file else {})}.items():
        (tmp_path / name).write_text(content)
    found = complaints("v1.2.0", tmp_path)
    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(found, said, strict=True))


def test_the_citation_is_of_this_package_and_names_the_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (cited["version"], cited["license"]) == (package["version"], package["license"])
    (paper,) = cited["references"]
    assert paper["doi"] == "10.48550/arXiv.2112.02841"
