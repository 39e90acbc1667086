"""Devices, threads, decoders and folders of this machine."""

from __future__ import annotations

import io
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from getam.verbs.doctor.finding import Finding

GIB = 1 << 30
ENOUGH = 2 * GIB  # free disk; a large backbone has 1.2 GB
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container, where it has one
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")
NEEDED = ("JPEG", "PNG")
OMP = "OMP_NUM_THREADS"


def devices() -> Iterator[Finding]:
    """Cores, and accelerators with their memory."""
    import torch

    about = "devices"
    yield Finding(about, "cpu", f"{usable_cores()} of {os.cpu_count()} cores can be used")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, whole = torch.cuda.mem_get_info(number)
            name = torch.cuda.get_device_name(number)
            yield Finding(about, f"cuda:{number}", f"{name}, {free / GIB:.1f} of {whole / GIB:.1f} GiB free")
    elif shutil.which("nvidia-smi"):
        remedy = "look at `nvidia-smi`; install the driver it asks for, or a torch built for it"
        yield Finding(about, "cuda", "a driver is here, but torch sees no GPU", remedy, problem=True)
    else:
        yield Finding(about, "cuda", "none")
    if torch.backends.mps.is_available():
        memory = torch.mps.recommended_max_memory() / GIB
        yield Finding(about, "mps", f"{memory:.1f} GiB", "to use it: --device mps")
    else:
        yield Finding(about, "mps", "none")


def threads() -> Iterator[Finding]:
    """What decides how many threads compute, and whether the cores are enough for them."""
    import torch

    about, cores, count = "threads", usable_cores(), torch.get_num_threads()
    said = os.environ.get(OMP)
    yield Finding(about, OMP, "not set" if said is None else said)
    value = f"{count} on {cores} core{'' if cores == 1 else 's'}"
    if count > cores:
        remedy = f"export {OMP}={cores}: threads that wait for each other are slower than fewer"
        yield Finding(about, "torch", f"{value}: more threads than cores", remedy, problem=True)
    elif 2 * count < cores:
        remedy = f"unset {OMP}, or export {OMP}={cores}" if said else f"export {OMP}={cores}"
        yield Finding(about, "torch", f"{value}: most cores have nothing to do", remedy, problem=True)
    else:
        yield Finding(about, "torch", value)


def usable_cores() -> int:
    """Cores this process may use: as the system allots them, and as the quota of its container allows."""
    allotted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text().split()
        return max(1, min(allotted, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or "max"
        return allotted


def decoders() -> Iterator[Finding]:
    """Kinds of photos that Pillow reads here, tried on one of each."""
    for name in FORMATS:
        if _reads(name):
            yield Finding("photos", name, "can be read")
            continue
        remedy = "pip install --force-reinstall pillow"
        yield Finding("photos", name, "cannot be read", remedy, problem=True, stops=name in NEEDED)


def folders() -> Iterator[Finding]:
    """Where weights of the hub and saliency maps are kept, how much that is, and what is free."""
    import huggingface_hub.constants as hub

    from getam.data.map_cache import CACHE_VARIABLE, cache_folder

    for name, path, variable in (
        ("hub's weights", Path(hub.HF_HUB_CACHE), "HF_HUB_CACHE"), ("maps", cache_folder(), CACHE_VARIABLE),
    ):  # fmt: skip
        there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        free = shutil.disk_usage(there).free
        value = f"{path}: {_size(path) / GIB:.2f} GiB, {free / GIB:.1f} GiB free"
        remedy = f"name a folder elsewhere with the environment variable {variable}"
        if not (there.is_dir() and os.access(there, os.W_OK)):
            yield Finding("caches", name, f"{value}; nothing can be written there", remedy, problem=True)
        elif free < ENOUGH:
            yield Finding(
                "caches", name, f"{value}, which is little", f"make room, or {remedy}", problem=True
            )
        else:
            yield Finding("caches", name, value)


def _reads(name: str) -> bool:
    from PIL import Image

    data = io.BytesIO()
    try:
        Image.new("RGB", (16, 16), (200, 30, 60)).save(data, name)
        Image.open(data).load()
    except (KeyError, OSError):  # Pillow knows no such format, or was built without it
        return False
    return True


def _size(folder: Path) -> int:
    """Bytes of the files in it; links are not counted, the hub's cache has them beside the files."""
    files = (file for file in folder.rglob("*") if not file.is_symlink() and file.is_file())
    return sum(file.stat().st_size for file in files)
