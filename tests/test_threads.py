"""Hooks and flags of one thread, beside another that looks at the same modules, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
import torch
from torch import nn

import tiny
from getam.attention.capture import capture, frozen
from getam.threads import Hooks, plain_kernel, switched, uncompiled


class Thread:
    """A thread that does one thing after another, as it is told."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1)
        self.open = ExitStack()

    def do(self, job: Callable[[], Any]) -> Any:
        return self.pool.submit(job).result()

    def enter(self, block: AbstractContextManager[Any]) -> Any:
        return self.do(lambda: self.open.enter_context(block))

    def leave(self) -> None:
        self.do(self.open.close)


@pytest.fixture
def threads() -> Iterator[tuple[Thread, Thread]]:
    both = Thread(), Thread()
    yield both
    for thread in both:
        thread.leave()
        thread.pool.shutdown()


Two = tuple[Thread, Thread]


def test_hooks_act_in_the_thread_that_set_them(threads: Two) -> None:
    mine, other = threads
    module, calls = nn.Identity(), list[str]()
    hooks = mine.enter(Hooks())

    def add_one(_module: nn.Module, inputs: tuple[int]) -> tuple[int]:
        calls.append("before")
        return (inputs[0] + 1,)

    def times_ten(_module: nn.Module, _inputs: tuple[int], output: int) -> int:
        calls.append("after")
        return output * 10

    mine.do(lambda: hooks.before(module, add_one))
    mine.do(lambda: hooks.after(module, times_ten))
    assert mine.do(lambda: module(1)) == 20
    assert calls == ["before", "after"]
    assert other.do(lambda: module(1)) == 1
    mine.leave()
    assert mine.do(lambda: module(1)) == 1
    assert calls == ["before", "after"]
    assert not module._forward_hooks
    assert not module._forward_pre_hooks


def test_a_hook_that_is_always_called_is() -> None:
    module, calls = nn.Linear(2, 2), list[str]()
    with Hooks() as hooks:
        hooks.after(module, lambda *_: calls.append("always"), always_call=True)
        hooks.after(module, lambda *_: calls.append("on success"))
        with pytest.raises(RuntimeError, match="mat1 and mat2"):
            module(torch.zeros(1, 3))
    assert calls == ["always"]


def test_a_flag_is_switched_for_the_thread_that_asked(threads: Two) -> None:
    one, two = threads
    module: Any = nn.Linear(1, 1)
    module.fused_attn = False

    def seen() -> list[bool]:
        return [thread.do(lambda: bool(module.fused_attn)) for thread in threads]

    one.enter(switched([module], "fused_attn", True))
    assert seen() == [True, False]
    two.enter(switched([module, nn.Identity()], "fused_attn", True))
    one.enter(switched([module], "fused_attn", True))
    assert seen() == [True, True]
    one.leave()
    assert seen() == [False, True]
    two.leave()
    assert module.fused_attn is False
    with switched([module], "fused_attn", False):
        assert module.fused_attn is False
    with pytest.raises(KeyError), switched([module], "fused_attn", True):
        raise KeyError
    assert module.fused_attn is False
    assert not hasattr(nn.Identity(), "fused_attn")


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("block", [uncompiled, plain_kernel])
def test_a_setting_of_the_process_stays_until_the_last_lets_go(
    threads: Two, first: int, block: Callable[[], AbstractContextManager[None]]
) -> None:
    def seen() -> object:
        if block is plain_kernel:
            return torch.backends.cuda.flash_sdp_enabled()
        return torch._dynamo.eval_frame._stance.stance

    torch.compile(nn.Identity(), backend="eager")(1)
    before = seen()
    threads[0].enter(block())
    inside = seen()
    assert inside != before
    threads[1].enter(block())
    threads[first].leave()
    assert seen() == inside
    threads[1 - first].leave()
    assert seen() == before


def test_a_captured_forward_is_alone_with_its_kernel(threads: Two) -> None:
    mine, other = threads
    model, images = tiny.vit(), tiny.photos(1)
    for block in model.blocks:
        block.attn.fused_attn = False
    wanted = model(images)
    taps = [thread.enter(capture(model)) for thread in threads]
    assert torch.equal(model(images), wanted)  # a third thread, which captures nothing
    for thread, tap in zip(threads, taps):
        thread.do(lambda: model(images))
        assert tap.names == [f"blocks.{i}.attn" for i in range(4)]
    assert [len(tap.calls) for tap in taps] == [4, 4]
    mine.leave()
    other.do(lambda: model(images))
    assert [len(tap.calls) for tap in taps] == [4, 8]
    other.leave()
    assert [block.attn.fused_attn for block in model.blocks] == [False] * 4


def test_a_frozen_network_trains_in_another_thread(threads: Two) -> None:
    mine, other = threads
    model, images = tiny.hybrid_vit().train(), tiny.photos(2)
    norm = model.patch_embed.backbone[1]
    model.set_grad_checkpointing()
    mine.enter(frozen(model))
    assert not mine.do(lambda: any(p.requires_grad for p in model.parameters()))
    assert mine.do(lambda: model(images)).requires_grad is False
    assert norm.num_batches_tracked == 0
    assert model.grad_checkpointing
    other.do(lambda: model(images).sum().backward())
    assert norm.num_batches_tracked == 1
    assert model.patch_embed.proj.weight.grad.any()
    mine.leave()
    assert norm.training is True
    assert model.grad_checkpointing is True


def test_a_frozen_forward_outlives_new_statistics(threads: Two) -> None:
    """Another thread's forward in train mode writes into the batch norms that the backward reads."""
    mine, other = threads
    model, images = tiny.hybrid_vit().train(), tiny.photos(2)
    given = images.clone().requires_grad_()
    mine.enter(frozen(model))
    with torch.no_grad():
        wanted = mine.do(lambda: model(images))
    scores = mine.do(lambda: model(given))
    other.do(lambda: model(images))
    assert torch.autograd.grad(scores.sum(), given)[0].any()
    assert torch.equal(scores, wanted)
