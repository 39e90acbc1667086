"""Start a command that trains again with other settings of glibc's malloc, under which a step takes a sixth less time.

A training step takes and frees gigabytes. Blocks beyond 32 MB go back to the system as soon as they are freed, and
come anew as pages of 4 kB that the system fills with zeros. Kept, and in pages of 2 MB, the same memory serves the next
step. glibc reads these settings when a process begins, and some it lets nobody change later (docs/decisions/016).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

SETTINGS = "GLIBC_TUNABLES"
KEEPING = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592"
)
"""Huge pages where the system gives them to who asks; blocks of up to 4 GiB are kept, and 8 GiB that are free."""


def keeping(environment: Mapping[str, str]) -> dict[str, str] | None:
    """The environment with these settings; None where malloc is not glibc's, or has been told something already.

    >>> keeping({SETTINGS: "glibc.malloc.check=3"}) is None
    True
    """
    if SETTINGS in environment or not _is_glibc():
        return None
    return {**environment, SETTINGS: KEEPING}


def start_again() -> None:
    """Become the same command with these settings, as the same process.

    Returns where they are set or of no use, and where a debugger or profiler follows the process, which would lose it.
    """
    environment = keeping(os.environ)
    followed = sys.gettrace() or sys.getprofile() or "pydevd" in sys.modules
    if environment is None or followed or not sys.executable:
        return
    os.execve(sys.executable, sys.orig_argv, environment)


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False
