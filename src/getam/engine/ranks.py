"""Which of several processes this one is; torch is asked where something else has loaded it."""

from __future__ import annotations

import os
import sys
from typing import Any

LAUNCHED = ("TORCHELASTIC_RUN_ID", "WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE")  # what torchrun tells a process


def world() -> int:
    """How many processes work together; 1 where nothing launched several."""
    if (distributed := _distributed()) is not None:
        return int(distributed.get_world_size())
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in LAUNCHED) else 1


def rank() -> int:
    """Which of them this one is; the first, 0, writes and speaks."""
    if (distributed := _distributed()) is not None:
        return int(distributed.get_rank())
    return int(os.environ["RANK"]) if all(name in os.environ for name in LAUNCHED) else 0


def local_rank() -> int:
    """Which one it is on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", 0))


def _distributed() -> Any:
    """Torch's module where processes have found each other through it; without torch none has."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    return torch.distributed
