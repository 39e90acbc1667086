"""No GPL and no AGPL in what `pip install getam` brings, or an extra of it; where a package says its licence."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

import licences
from installed import needed

OF_DEVELOPERS = {"dev", "docs"}
"""Nothing of these is shipped. Of docs, docutils names the GPL too: for an Emacs mode among its tools."""
EXTRAS = {*(metadata.metadata("getam").get_all("Provides-Extra") or ())} - OF_DEVELOPERS


@pytest.mark.parametrize("extra", ["", *sorted(EXTRAS)])
def test_nothing_installed_is_refused(extra: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        names = needed("getam", frozenset({extra} - {""}))
    except metadata.PackageNotFoundError as error:
        pytest.skip(f"{error.name} of the extra {extra} is not installed")
    assert licences.main([extra] if extra else []) == 0, capsys.readouterr().out
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == set(names)


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("BSD-3-Clause AND MIT", False),
        ("MPL-2.0 AND MIT", False),
        ("LGPL-3.0-or-later", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("MIT AND GPL-2.0-only", True),
        ("GPLv3", True),
        ("gpl-3.0", True),
        ("AGPL-3.0", True),
        ("GNU General Public License v2 (GPLv2)", True),
        ("GNU Affero General Public License v3", True),
        ("GPL-3.0-or-later WITH GCC-exception-3.1 AND GPL-2.0-only", True),
        ("", True),
    ],
)
def test_what_is_refused(said: str, refused: bool) -> None:
    assert bool(licences.complaint(said)) is refused


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["License-Expression: MIT", "License: other"], "MIT"),
        (["License: MIT License", "Classifier: License :: OSI Approved :: BSD License"], "MIT License"),
        (["License: " + "word " * 50, "Classifier: License :: OSI Approved :: BSD License"], "BSD License"),
        (["License: UNKNOWN", "Classifier: License :: OSI Approved"], ""),
        (["Classifier: Topic :: Software"], ""),
    ],
)
def test_where_a_package_says_it(tmp_path: Path, lines: list[str], said: str) -> None:
    folder = tmp_path / "a-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.1", "Name: a", "Version: 1", *lines, ""])
    )
    assert licences.licence(metadata.PathDistribution(folder)) == said


def test_one_refused_is_said_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(licences, "licence", lambda package: "GPL" if package.name == "timm" else "MIT")
    assert licences.main([]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "REFUSED" in line]
    assert line.startswith("timm ")
