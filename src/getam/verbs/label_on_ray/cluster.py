"""A Ray of this machine, started for one call and ended with it, or the cluster that somebody names."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from getam.errors import InputError

STORE = 256 * 2**20  # bytes of Ray's shared memory on this machine: rows and the weights, no photos
ADDRESS = "RAY_ADDRESS"  # Ray's own variable, set where a job runs in a cluster


def import_ray() -> ModuleType:
    """Ray, with its reports of use switched off.

    Raises:
        InputError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(f"--engine ray needs the extra 'ray' ({error}): pip install 'getam[ray]'") from error
    return ray


@contextmanager
def cluster(address: str | None, *, workers: int, weights: int) -> Iterator[ModuleType]:
    """Ray, connected: to what it is connected to already, to a cluster, or to one of this machine alone.

    Args:
        address: of a cluster; None: as the variable RAY_ADDRESS says, else this machine.
        workers: as many as this machine is to run.
        weights: bytes of the weights, which are in shared memory once.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
    """
    ray = import_ray()
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # what it plans and advises is not for our users
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    if ray.is_initialized():
        yield ray
        return
    named = address or os.environ.get(ADDRESS)
    try:
        if named:
            ray.init(address=named, log_to_driver=False, logging_level=logging.WARNING)
        else:
            ray.init(
                address="local",  # not one that somebody else runs on this machine
                num_cpus=workers,
                include_dashboard=False,
                object_store_memory=STORE + 2 * weights,
                log_to_driver=False,
                logging_level=logging.WARNING,
                _node_ip_address="127.0.0.1",  # without it Ray asks how the world is reached
            )
    except Exception as error:  # bare ones among them, as where a busy machine takes longer than Ray waits
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"Ray is not at {named} ({said[0]}): give the address of a cluster with --ray-address"
            if named
            else f"Ray does not start on this machine ({said[0]}): try again when it is less busy, or start it with "
            "ray start --head and add --ray-address auto"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def workers_of(given: str | None, available: int) -> tuple[int, int]:
    """Least and most workers of `--workers`: a number, MIN..MAX, or as many as there is room for.

    Raises:
        InputError: something else.

    >>> workers_of("2", 8), workers_of("2..16", 8), workers_of(None, 8)
    ((2, 2), (2, 16), (1, 8))
    """
    if given is None:
        return 1, max(1, available)
    parts = re.fullmatch(r"(\d{1,6})(?:\.\.(\d{1,6}))?", given.strip())
    found = (int(parts[1]), int(parts[2] or parts[1])) if parts else (0, 0)
    if not 1 <= found[0] <= found[1]:
        raise InputError(
            f"--workers {given}: give a number, such as 4, or the least and the most, such as 2..16"
        )
    return found
