"""Start this command again as several processes of one training, with torchrun's own agent, and say how it ended."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Sequence


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run `getam` with the same arguments in that many processes of this machine, until all have ended.

    Ctrl-C and SIGTERM are handed on, once; a process that ends with an error, or is killed, ends the others.

    Args:
        arguments: of the command line.
        processes: ≥ 2.

    Returns:
        The exit status: 0, that of the first process that failed, or 128 + the number of the signal that ended it.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=uuid.uuid4().hex, rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=0, monitor_interval=0.1, logs_specs=DefaultLogsSpecs(),
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-m", "getam", *arguments)
    except SignalException as stop:
        return 128 + int(stop.sigval)
    except ChildFailedError as error:
        number, failure = error.get_first_failure()
        code: int = failure.exitcode
        if code >= 0:
            return code  # it has said why
        name = signal.Signals(-code).name
        print(
            f"getam: process {number + 1} of {processes} was ended by {name}, and the others with it: the same command "
            "goes on from what was saved last, also with another number of --devices",
            file=sys.stderr,
        )
        return 128 - code
    return 0
