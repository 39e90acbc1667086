"""Signals are remembered or raised while asked for, and are whose they were before and after."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from getam.engine.stopping import SIGNALS, Stopped, stop_request, terminated_is_interrupted


@pytest.fixture(autouse=True)
def _hears_ctrl_c() -> Iterator[None]:
    """In the background of a shell Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_is_remembered_and_the_second_raised(capfd: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with stop_request() as request:
        assert request.number is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.number == signal.SIGTERM
        assert (
            capfd.readouterr().err == "getam: stopping after this step, to save it; once more stops at once\n"
        )
        with pytest.raises(Stopped) as caught:
            os.kill(os.getpid(), signal.SIGINT)
        assert caught.value.number == signal.SIGINT
        assert isinstance(caught.value, KeyboardInterrupt)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_handlers_go_where_the_work_fails() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    for block in (stop_request(), terminated_is_interrupted()):
        with pytest.raises(RuntimeError), block:
            raise RuntimeError
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_request() as request:
            os.kill(os.getpid(), signal.SIGINT)
            assert request.number is None
            assert signal.getsignal(signal.SIGTERM) == request
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_sigterm_is_raised_where_the_work_is() -> None:
    its = signal.getsignal(signal.SIGINT)
    with terminated_is_interrupted():
        assert signal.getsignal(signal.SIGINT) == its
        with pytest.raises(Stopped, match="stopped by SIGTERM") as caught:
            os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.number == signal.SIGTERM


def test_other_threads_are_not_told_and_change_nothing() -> None:
    seen: list[object] = []

    def work() -> None:
        with stop_request() as request, terminated_is_interrupted():
            seen.extend((request.number, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None, signal.getsignal(signal.SIGTERM)]
