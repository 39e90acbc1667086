"""The versions and hashes that one job of GitHub installs, and nothing else."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from packaging.requirements import Requirement

from pages import ROOT

LOCK = (ROOT / "release" / "tests.txt").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def wanted(lines: list[str]) -> Iterator[Requirement]:
    """What pyproject.toml asks for, the package's own extras opened."""
    for line in lines:
        found = Requirement(line)
        if found.name != "getam":
            yield found
        for extra in sorted(found.extras) if found.name == "getam" else ():
            yield from wanted(PROJECT["optional-dependencies"][extra])


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def test_it_holds_all_that_the_tests_need_in_versions_that_are_allowed() -> None:
    """`make test` in an environment of these versions must find its tools: run `make tests-lock` where it does not."""
    locked: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", LOCK, re.MULTILINE):
        locked.setdefault(name_of(name), []).append(version)
    for need in wanted([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]):
        assert any(
            need.specifier.contains(v, prereleases=True) for v in locked.get(name_of(need.name), [])
        ), need


def test_every_package_has_hashes_and_none_an_address() -> None:
    entries = re.split(r"^(?=\S)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 100
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in LOCK
    assert "index" not in re.findall(r"^--(\w+)", LOCK, re.MULTILINE)
