"""Asked to stop, by Ctrl-C or by the SIGTERM that clusters send: the first time after the step, the second at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AFTER_THE_STEP = b"getam: stopping after this step, to save it; once more stops at once\n"


class Stopped(KeyboardInterrupt):
    """The work was ended on request; the message says what is kept.

    Attributes:
        number: of the signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class StopRequest:
    """Remembers that a stop was asked for; asked again, raises `Stopped` where the work is.

    Attributes:
        number: of the signal; None: nothing was asked.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self, number: int, _: FrameType | None) -> None:
        if self.number is not None:
            raise Stopped("stopped at once", number)
        self.number = number
        os.write(2, AFTER_THE_STEP)  # print may be in the middle of a line, and is not to be called from here


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """While the block runs, the first SIGINT or SIGTERM is only remembered."""
    request = StopRequest()
    with _handling(SIGNALS, request):
        yield request


@contextmanager
def terminated_is_interrupted() -> Iterator[None]:
    """While the block runs, SIGTERM raises `Stopped` where the work is, as Ctrl-C raises KeyboardInterrupt."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped("stopped by SIGTERM", number)

    with _handling((signal.SIGTERM,), stop):
        yield


def leave_to_the_parent(_: int) -> None:
    """For processes that load photos: a signal to all of a terminal or job is answered by the one that trains."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _handling(
    numbers: tuple[signal.Signals, ...], handle: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Only a program's main thread is told of signals; what it ignores, as under nohup, stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: its for number in numbers if (its := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }
    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, its in before.items():
            signal.signal(number, its)
