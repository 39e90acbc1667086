"""Run a network as a constant: for the thread that asks, while others may use it, or train it, as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from getam.threads import Switch, switched, uncompiled


class Constants(TorchFunctionMode):
    """Gives every torch function that this thread calls detached parameters; `requires_grad` stays, others read it.

    Statistics of batch norms in train mode are copied: another thread's forward may write to them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.constants: dict[int, tuple[Tensor, Tensor]] = {}

    def stand_for(self, model: nn.Module, norms: Sequence[nn.Module]) -> None:
        """Make constants of the parameters of `model` and of the statistics of `norms`."""
        trained = [p for p in model.parameters() if p.requires_grad and not is_lazy(p)]
        moving = [buffer for norm in norms for buffer in norm.buffers()]
        pairs = [(p, p.detach()) for p in trained] + [(buffer, buffer.clone()) for buffer in moving]
        # By identity; the originals are kept with them, so that no other tensor can get their id.
        self.constants = {id(original): (original, constant) for original, constant in pairs}

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = {name: self.constant(given) for name, given in kwargs.items()} if kwargs else {}
        return func(*map(self.constant, args), **options)

    def constant(self, given: Any) -> Any:
        """What stands for an argument of a torch function, or for those in a list."""
        if type(given) in (list, tuple):
            return type(given)(map(self.constant, given))
        if type(given) is Switch:
            return bool(given)
        known = self.constants.get(id(given))
        return given if known is None else known[1]


@contextmanager
def frozen(model: nn.Module, mode: Constants | None = None) -> Iterator[None]:
    """Run the block with parameters detached, batch norms frozen and no checkpoints, for this thread alone.

    A batch norm in train mode would update its statistics, and let the photos of a batch change each other's maps.
    Activation checkpoints would run the blocks again in the backward, after the block. Compiled models run uncompiled.

    Args:
        model: any module.
        mode: what hands out the constants, where it has more to do: two modes cost twice.
    """
    mode = Constants() if mode is None else mode
    modules = list(model.modules())
    norms = [module for module in modules if isinstance(module, _BatchNorm) and module.training]
    mode.stand_for(model, norms)
    with (
        uncompiled(),
        switched(norms, "training", False),
        switched(modules, "grad_checkpointing", False),  # timm's name for it
        switched(modules, "gradient_checkpointing", False),  # that of `transformers`
        mode,
    ):
        yield
