"""Wheels and sdists made by hand, whole and with a file missing or too many, beside a small repository."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

import contents
from contents import IN_SDIST, complaints, tracked
from pages import ROOT

PACKAGE = {"src/getam/__init__.py", "src/getam/report/page.html.jinja"}
SDIST = {*PACKAGE, *IN_SDIST, "PKG-INFO", "setup.cfg", "src/getam.egg-info/SOURCES.txt"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a package, a file that git does not know, and one that is gone."""
    root = tmp_path / "repository"
    for name in (*PACKAGE, "src/getam/gone.py", "tests/test_a.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for command in (["init", "-q"], ["add", "."]):
        subprocess.run(["git", *command], cwd=root, check=True)
    (root / "src/getam/new.py").touch()
    (root / "src/getam/gone.py").unlink()
    return root


def build(folder: Path, wheel: set[str], sdist: set[str]) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(folder / "a-1-py3-none-any.whl", "w") as file:
        for name in (*wheel, "a-1.dist-info/METADATA"):
            file.writestr(name, "")
    with tarfile.open(folder / "a-1.tar.gz", "w:gz") as file:
        for name in sdist:
            file.addfile(tarfile.TarInfo(f"a-1/{name}"), io.BytesIO())
    return folder


def in_wheel(names: set[str]) -> set[str]:
    return {name.removeprefix("src/") for name in names}


def test_whole_ones(repository: Path, tmp_path: Path) -> None:
    assert complaints(build(tmp_path / "dist", in_wheel(PACKAGE), SDIST), repository) == []


def test_what_is_missing_or_too_many_is_named(repository: Path, tmp_path: Path) -> None:
    page = "src/getam/report/page.html.jinja"
    wheel = {*in_wheel(PACKAGE - {page}), "tests/test_a.py"}
    sdist = {*SDIST - {page, "LICENSE"}, "src/getam/new.py"}
    assert complaints(build(tmp_path / "dist", wheel, sdist), repository) == [
        "wheel: getam/report/page.html.jinja is missing",
        "wheel: tests/test_a.py does not belong there",
        "sdist: LICENSE is missing",
        "sdist: src/getam/report/page.html.jinja is missing",
        "sdist: src/getam/new.py does not belong there",
    ]


@pytest.mark.parametrize("left", ["*.whl", "*.tar.gz"])
def test_one_of_each_is_wanted(repository: Path, tmp_path: Path, left: str) -> None:
    folder = build(tmp_path / "dist", in_wheel(PACKAGE), SDIST)
    for file in folder.glob(left):
        file.unlink()
    (said,) = complaints(folder, repository)
    assert said.endswith("one of each is wanted")


def test_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contents, "complaints", lambda folder, root: ["a is missing"])
    assert contents.main(str(tmp_path)) == 1
    monkeypatch.setattr(contents, "complaints", lambda folder, root: [])
    assert contents.main(str(tmp_path)) == 0
    assert "a is missing" in capsys.readouterr().out


def test_of_this_repository_the_model_and_the_pages_belong_there() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not in a clone")
    assert {
        "src/getam/embedded/animals.safetensors", "src/getam/py.typed", "src/getam/report/gallery.html.jinja",
    } <= tracked(ROOT)  # fmt: skip
