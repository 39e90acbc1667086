"""Places and batches: against what asyncio and plain lists say; no HTTP, no network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from getam.service.queue import Batches, FullError, Places


def running(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that is a coroutine."""

    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 20))

    run.__name__ = test.__name__
    return run


class Network:
    """Stands for the network: doubles, remembers its batches, and waits for `go` where there is one."""

    def __init__(self, go: threading.Event | None = None) -> None:
        self.go, self.batches = go, list[list[Any]]()
        self.busy = threading.Event()

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        self.batches.append(list(items))
        self.busy.set()
        if self.go is not None:
            assert self.go.wait(10)
        return [ValueError(item) if item == "bad" else item * 2 for item in items]


async def begun(network: Network) -> None:
    """Until the network is at a batch."""
    while not network.busy.is_set():
        await asyncio.sleep(0.001)


@running
async def test_one_alone_does_not_wait_for_others() -> None:
    network = Network()
    batches = Batches[int, int](network, largest=8)
    assert [await batches.result(number) for number in (1, 2)] == [2, 4]
    assert network.batches == [[1], [2]]
    assert batches.waiting == 0
    assert batches.seconds > 0
    await batches.close()


@running
async def test_what_gathers_while_the_network_is_busy_goes_together_by_key() -> None:
    network = Network(threading.Event())
    sizes: list[int] = []
    batches = Batches[str, str](network, largest=3, sizes=sizes.append)
    first = asyncio.create_task(batches.result("x", "a"))
    await begun(network)
    asked = ["a1", "b1", "a2", "b2", "a3", "a4"]
    tasks = [asyncio.create_task(batches.result(item, item[0])) for item in asked]
    await asyncio.sleep(0.01)
    assert batches.waiting == 6
    assert network.go is not None
    network.go.set()
    assert await asyncio.gather(first, *tasks) == ["xx", *(item * 2 for item in asked)]
    assert network.batches == [["x"], ["a1", "a2", "a3"], ["b1", "b2"], ["a4"]]  # never more than three
    assert sizes == [1, 3, 2, 1]
    await batches.close()


@running
async def test_an_error_is_of_its_item_alone() -> None:
    network = Network(threading.Event())
    batches = Batches[str, str](network, largest=4)
    first = asyncio.create_task(batches.result("x"))
    await begun(network)
    tasks = [asyncio.create_task(batches.result(item)) for item in ("good", "bad", "fine")]
    await asyncio.sleep(0.01)
    assert network.go is not None
    network.go.set()
    results = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [results[0], results[1], results[3]] == ["xx", "goodgood", "finefine"]
    assert isinstance(results[2], ValueError)
    assert len(network.batches[1]) == 3
    await batches.close()


@running
async def test_a_network_that_fails_as_a_whole_fails_each_and_goes_on() -> None:
    calls: list[int] = []

    def run(items: Sequence[int]) -> list[int]:
        calls.append(len(items))
        if len(calls) == 1:
            raise RuntimeError("broken")
        return list(items)

    batches = Batches[int, int](run, largest=2)
    with pytest.raises(RuntimeError, match="broken"):
        await batches.result(1)
    assert await batches.result(2) == 2
    await batches.close()


@running
async def test_what_was_given_up_is_not_computed() -> None:
    network = Network(threading.Event())
    batches = Batches[str, str](network, largest=1)
    first = asyncio.create_task(batches.result("x"))
    await begun(network)
    late, kept = (asyncio.create_task(batches.result(item)) for item in ("late", "kept"))
    await asyncio.sleep(0.01)
    late.cancel()
    first.cancel()  # it runs: its result goes nowhere, and nothing stumbles over that
    await asyncio.sleep(0)
    assert network.go is not None
    network.go.set()
    assert await kept == "keptkept"
    assert network.batches == [["x"], ["kept"]]
    await batches.close()


@running
async def test_closing_waits_for_all_that_came() -> None:
    network = Network(threading.Event())
    batches = Batches[int, int](network, largest=1)
    tasks = [asyncio.create_task(batches.result(number)) for number in range(3)]
    await begun(network)
    closing = asyncio.create_task(batches.close())
    await asyncio.sleep(0.01)
    assert not closing.done()
    assert network.go is not None
    network.go.set()
    await closing
    assert [task.result() for task in tasks] == [0, 2, 4]


@running
async def test_seconds_are_an_items_share_of_its_batch() -> None:
    def slow(items: Sequence[int]) -> list[int]:
        threading.Event().wait(0.2)
        return list(items)

    batches = Batches[int, int](slow, largest=4)
    first = asyncio.create_task(batches.result(0))
    await asyncio.sleep(0.01)
    alone = asyncio.gather(*(batches.result(number) for number in range(1, 5)))
    await first
    before = batches.seconds
    assert before >= 0.2
    await alone
    assert batches.seconds < before  # a fourth of 0.2 s moves the mean down


def test_places_are_bounded_and_come_back() -> None:
    places = Places(2)
    with places.one():
        with places.one():
            assert places.taken == 2
            with pytest.raises(FullError, match="all 2 places"), places.one():
                pass
            assert places.taken == 2
        assert places.taken == 1
    with pytest.raises(KeyError), places.one():
        raise KeyError
    assert places.taken == 0


@running
async def test_a_thread_that_was_given_up_keeps_its_place_until_it_is_through() -> None:
    places, go, began = Places(2), threading.Event(), threading.Event()

    def slow() -> None:
        began.set()
        assert go.wait(10)

    async def request() -> None:
        with places.one():
            await places.in_thread(pool, slow)

    with ThreadPoolExecutor(1) as pool:
        task = asyncio.create_task(request())
        while not began.is_set():
            await asyncio.sleep(0.001)
        waiting = asyncio.create_task(request())  # not begun: it costs nothing once it is given up
        await asyncio.sleep(0.01)
        assert places.taken == 2
        task.cancel()
        waiting.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)
        assert places.taken == 1
        go.set()
        while places.taken:
            await asyncio.sleep(0.001)
        assert await places.in_thread(pool, lambda a, b: a + b, 1, 2) == 3
    assert places.taken == 0
