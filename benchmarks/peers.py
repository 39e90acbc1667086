"""Maps against the reference-style loop, and against other libraries' methods: same weights, photos and classes.

grad-cam's methods run on the timm model. torchcam's LeGrad takes torchvision's vision transformer only: it gets one
with the same weights, whose scores are checked to be the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from clock import ratio, rounds, spread
from reference_loop import loop
from rows import Row
from scene import Scale, class_lists, normal_photos, vit
from torch import Tensor, nn

from getam.maps.methods.getam import getam

BATCH, CLASSES = 4, 2
LARGE_BATCH = 8  # every backward of the loop runs through all photos: what it loses grows with them
LOOP, LOOP_BAR = "reference-style loop", 15.0
BARS = {
    LOOP: LOOP_BAR,
    "grad-cam's GradCAM": 2.5,
    "grad-cam's LayerCAM": 1.0,
    "torchcam's LeGrad": 1.0,
}


def measure(scale: Scale) -> list[Row]:
    """Rows: the loop, GradCAM, LayerCAM, LeGrad; each as many times slower than `getam`; the loop on more photos."""
    model = vit(scale)
    images, lists = normal_photos(BATCH, scale.side), class_lists(BATCH, CLASSES)
    one = getam(model, images[:1], [lists[0][:1]]).values[0, 0].flatten()
    wanted = loop(model, images[:1], [lists[0][:1]])[0][0]
    torch.testing.assert_close(
        one / wanted.max(), wanted / wanted.max(), rtol=1e-3, atol=1e-4
    )  # the same maps
    calls: dict[str, Callable[[], object]] = {
        "getam": lambda: getam(model, images, lists),
        LOOP: lambda: loop(model, images, lists),
        "grad-cam's GradCAM": grad_cam("GradCAM", model, images, lists),
        "grad-cam's LayerCAM": grad_cam("LayerCAM", model, images, lists),
        "torchcam's LeGrad": legrad(model, images, lists),
    }
    seconds = rounds(calls, scale.repeats)
    rows = [_row(seconds, name, BATCH, bar) for name, bar in BARS.items()]
    return [*rows, loop_on_more_photos(model, scale)]


def loop_on_more_photos(model: nn.Module, scale: Scale) -> Row:
    """The loop once more, with `LARGE_BATCH` photos."""
    images, lists = normal_photos(LARGE_BATCH, scale.side), class_lists(LARGE_BATCH, CLASSES)
    calls = {"getam": lambda: getam(model, images, lists), LOOP: lambda: loop(model, images, lists)}
    return _row(rounds(calls, scale.repeats), LOOP, LARGE_BATCH, LOOP_BAR)


def _row(seconds: dict[str, list[float]], name: str, batch: int, bar: float) -> Row:
    what = f"{name}, {batch} photos × {CLASSES} classes, as many times slower than getam"
    return Row("peers", what, ratio(seconds, name, "getam"), bar=bar, at_least=True,
               detail=spread(seconds, name, "getam"))  # fmt: skip


def grad_cam(name: str, model: nn.Module, images: Tensor, lists: list[list[int]]) -> Callable[[], object]:
    """A method of grad-cam as its documentation uses it on vision transformers: last block's first norm."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    tokens: Any = model
    height, width = tokens.patch_embed.grid_size

    def as_planes(found: Tensor) -> Tensor:
        return found[:, tokens.num_prefix_tokens :].unflatten(1, (height, width)).permute(0, 3, 1, 2)

    cam = getattr(pytorch_grad_cam, name)(model, [tokens.blocks[-1].norm1], reshape_transform=as_planes)
    cam.activations_and_grads.release()  # its hooks belong to its own turns only, not to everyone's

    def run() -> list[Any]:
        turns = pytorch_grad_cam.ActivationsAndGradients(model, cam.target_layers, as_planes)
        cam.activations_and_grads = turns
        try:
            return [
                cam(images, [ClassifierOutputTarget(row[k]) for row in lists]) for k in range(len(lists[0]))
            ]
        finally:
            turns.release()
            model.zero_grad()

    return run


def legrad(model: nn.Module, images: Tensor, lists: list[list[int]]) -> Callable[[], object]:
    """torchcam's LeGrad over the blocks getam reads, one forward and K gradients of every block's own score."""
    from torchcam.methods import LeGrad

    twin = torchvision_twin(model, images.shape[-1])
    with torch.no_grad():
        torch.testing.assert_close(twin(images), model(images), rtol=1e-3, atol=1e-4)
    layers = list(twin.encoder.layers)
    cam = LeGrad(twin, layers[len(layers) // 2 :], enable_hooks=False)

    def run() -> list[Any]:
        cam.enable_hooks()
        try:
            twin(images)
            count = len(lists[0])
            return [
                cam.compute_cams([row[k] for row in lists], retain_graph=k + 1 < count) for k in range(count)
            ]
        finally:
            cam.disable_hooks()
            cam.reset_hooks()

    return run


def torchvision_twin(model: Any, side: int) -> Any:
    """torchvision's vision transformer with the weights of a timm one: the same function under other names."""
    from torchvision.models import VisionTransformer

    block = model.blocks[0]
    twin: Any = VisionTransformer(
        image_size=side, patch_size=model.patch_embed.patch_size[0], num_layers=len(model.blocks),
        num_heads=block.attn.num_heads, hidden_dim=model.embed_dim, mlp_dim=block.mlp.fc1.out_features,
        num_classes=model.num_classes,
    ).eval()  # fmt: skip
    names = {
        "cls_token": "class_token", "pos_embed": "encoder.pos_embedding", "patch_embed.proj": "conv_proj",
        "norm": "encoder.ln", "head": "heads.head",
    }  # fmt: skip
    inside = {
        "norm1": "ln_1", "norm2": "ln_2", "attn.qkv": "self_attention.in_proj", "attn.proj": "self_attention.out_proj",
        "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.3",
    }  # fmt: skip
    state = {}
    for name, value in model.state_dict().items():
        stem, _, leaf = name.rpartition(".")
        if stem.startswith("blocks."):
            _, number, part = stem.split(".", 2)
            joint = "_" if part == "attn.qkv" else "."  # in_proj_weight, but out_proj.weight
            state[f"encoder.layers.encoder_layer_{number}.{inside[part]}{joint}{leaf}"] = value
        else:
            state[names[name] if name in names else f"{names[stem]}.{leaf}"] = value
    twin.load_state_dict(state)
    return twin
