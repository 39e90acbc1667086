"""Feature maps of any network, as the class activation maps read them: channels over a grid, with a graph.

A convolutional network is tapped at the output of a module, a transformer at the input of an attention: the last place
where patches still reach a score that is read from a token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from getam.attention.capture import attentions, frozen, geometry, pools
from getam.errors import CaptureError, InputError
from getam.maps.scores import class_scores
from getam.threads import Hooks

POOLING = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)  # what they give is no feature map any more
QUARTERS = 4  # of a transformer's depth, as DPT (arXiv 2103.13413) taps it; a CNN's resolutions are as many


@contextmanager
def feature_taps(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Record the features of `layers` during the forward inside the block, each with a graph that begins at the first.

    Args:
        model: any module; a tapped tensor is copied on its way, so that activations in place do not change it.
        layers: dotted module names; modules that attend are read at their input, others at their output.

    Yields:
        features by layer as the model holds them, filled while it runs; hooks are gone on exit.

    Raises:
        InputError: the model has no such module.
        CaptureError: a layer gives no tensor, ran twice, or did not run.
    """
    seen: dict[str, Tensor] = {}
    attending = {name for name, _ in attentions(model)}
    modules = dict(model.named_modules())
    for layer in layers:
        if layer not in modules or not layer:
            raise InputError(f"the model has no module {layer!r}: give dotted names of model.named_modules()")

    def keep(layer: str, given: object) -> Tensor:
        if not isinstance(given, Tensor):
            raise CaptureError(
                f"{layer} gives {type(given).__name__}, not one tensor: name a module inside it"
            )
        if layer in seen:
            raise CaptureError(f"{layer} ran more than once in one forward: name the module around it")
        seen[layer] = given if given.requires_grad else given.detach().requires_grad_()
        return seen[layer].clone()

    def output_hook(layer: str) -> Any:
        return lambda _module, _inputs, output: keep(layer, output)

    def input_hook(layer: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
            first = (
                inputs[0] if inputs else next(iter(options.values()), None)
            )  # `transformers` names its inputs
            tokens = keep(layer, first)

            def given(value: object) -> object:
                return tokens if value is first else value

            return tuple(map(given, inputs)), {name: given(value) for name, value in options.items()}

        return hook

    with Hooks() as hooks:
        for layer in layers:
            if layer in attending:
                hooks.before(modules[layer], input_hook(layer), with_kwargs=True)
            else:
                hooks.after(modules[layer], output_hook(layer))
        yield seen
    if missing := [layer for layer in layers if layer not in seen]:
        raise CaptureError(f"{missing[0]} did not run in the forward: name another layer")


def on_grid(features: Tensor, model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """Features or their gradient as (B,D,h,w), at least float32: tokens lose their prefix, channels come first.

    Raises:
        CaptureError: they are neither tokens over the model's patch grid nor channels over a grid.
    """
    features = features.detach() if features.dtype == torch.float64 else features.detach().float()
    if features.ndim == 4:
        return features.permute(0, 3, 1, 2) if _channels_last(model) else features
    if features.ndim == 3:
        place = geometry(model, images.shape[-2], images.shape[-1])
        if features.shape[:2] == (len(images), place.tokens):
            return features[:, place.prefix :].transpose(1, 2).unflatten(2, place.grid)
        raise CaptureError(
            f"{layer} holds {tuple(features.shape)}, not (B, {place.prefix} + {place.tokens - place.prefix}, D) "
            "tokens of the patch grid"
        )
    raise CaptureError(
        f"{layer} holds {tuple(features.shape)}: a class activation map needs channels over a grid (B,D,h,w) "
        "or tokens (B,N,D)"
    )


def last_layer(model: nn.Module, images: Tensor) -> str:
    """Where Grad-CAM reads: the last attention of a transformer, else the last feature map before pooling."""
    return default_layers(model, images)[-1]


def default_layers(model: nn.Module, images: Tensor) -> list[str]:
    """The layers of a multi-layer map, shallow to deep: a transformer's attentions that end the quarters of its depth,
    else the last feature map of each resolution of a convolutional network.

    Raises:
        CaptureError: there is no feature map of more than one position.
    """
    if is_transformer(model, images):
        pooled = geometry(model, images.shape[-2], images.shape[-1]).rows == "pool"
        names = [name for name, _ in attentions(model) if pooled or not pools(name)]
        return [names[i] for i in sorted({max(0, len(names) * q // QUARTERS - 1) for q in (1, 2, 3, 4)})]
    convolutional = any(isinstance(module, nn.Conv2d) for module in model.modules())
    last: dict[tuple[int, int], str] = {}
    for layer, grid in _feature_maps(model, images[:1]) if convolutional else []:
        last.pop(grid, None)
        last[grid] = layer
    if not last:
        geometry(
            model, images.shape[-2], images.shape[-1]
        )  # where that cannot say either, its words are clearer
        raise CaptureError(f"{type(model).__name__} has no feature map of more than one position")
    return [last[grid] for grid in sorted(last, key=lambda grid: -grid[0] * grid[1])]


def is_transformer(model: nn.Module, images: Tensor) -> bool:
    """Whether the model attends over one known patch grid; where windows shrink it (Swin), its stages are read."""
    if next(attentions(model), None) is None or _channels_last(model):
        return False
    try:
        geometry(model, images.shape[-2], images.shape[-1])
    except CaptureError:
        return False
    return True


@torch.no_grad()
def _feature_maps(model: nn.Module, image: Tensor) -> list[tuple[str, tuple[int, int]]]:
    """Names and grids of the modules that give channels over a grid shaped like the photo, in the order they ran."""
    inside = tuple(f"{name}." for name, _ in attentions(model))
    ran: list[tuple[str, tuple[int, int]]] = []
    times: Counter[str] = Counter()
    last_channels = _channels_last(model)

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: object) -> None:
            times[name] += 1
            if not isinstance(output, Tensor) or output.ndim != 4 or len(output) != len(image):
                return
            height, width = output.shape[1:3] if last_channels else output.shape[2:]
            if _like_the_photo((height, width), (image.shape[-2], image.shape[-1])):
                ran.append((name, (height, width)))

        return hook

    with Hooks() as hooks:
        for name, module in model.named_modules():
            if name and not isinstance(module, POOLING) and not name.startswith(inside):
                hooks.after(module, note(name))
        with frozen(model):
            class_scores(model, image)
    return [(name, grid) for name, grid in ran if times[name] == 1]


def _like_the_photo(grid: tuple[int, int], photo: tuple[int, int]) -> bool:
    """Whether a grid of more than one position has the photo's shape, give or take two rows lost at borders."""
    if max(grid) == 1 or grid[0] > photo[0] or grid[1] > photo[1]:
        return False
    stride = max(photo[0] / grid[0], photo[1] / grid[1])
    return abs(photo[0] / stride - grid[0]) <= 2 and abs(photo[1] / stride - grid[1]) <= 2


def _channels_last(model: Any) -> bool:
    return str(getattr(model, "output_fmt", "NCHW")) in ("NHWC", "Format.NHWC")
