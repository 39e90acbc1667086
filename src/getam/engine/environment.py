"""Versions and machine, for the record; loads nothing: what has not run here has no part in a result."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

PACKAGES = ("getam", "torch", "torchvision", "timm", "numpy", "lightning-fabric", "onnxruntime")


def environment() -> dict[str, Any]:
    """Versions and machine; "cuda" is the name of the GPU where torch is loaded and finds one."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    torch: Any = sys.modules.get("torch")
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "cuda": torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None,
        "versions": versions,
    }
