"""A timm model, unmodified, with a class head for tags: the plain classifier that CAMs are made for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from getam.attention.geometry import Geometry, geometry
from getam.errors import InputError
from getam.nets.encoder import photo_statistics
from getam.nets.hub import from_hub
from getam.nets.network import Network
from getam.nets.weights import load_backbone

OUTPUT_STRIDE: Final = (
    16  # of the last feature map where timm can dilate: maps twice as fine as a CNN's own 32
)
ANY_SIZE = {"dynamic_img_size": True}  # lets timm's plain transformers take photos of any size


class Classifier(Network):
    """Photos in 0–255 → class scores, through timm's own pooling and linear head.

    Args:
        model: a timm model with `len(classes)` outputs. One that takes one photo size only gets every photo at it.
        classes: class names without background.

    Raises:
        InputError: the model does not say its stride.
    """

    kind: ClassVar[str] = "classifier"

    def __init__(self, model: nn.Module, classes: Sequence[str]) -> None:
        super().__init__(classes, *photo_statistics(getattr(model, "pretrained_cfg", None) or {}))
        self.model: Any = model
        self._patch = _stride(model)
        embed: Any = getattr(model, "patch_embed", None)
        self.fixed = tuple(embed.img_size) if getattr(embed, "strict_img_size", False) else None

    @property
    def patch(self) -> int:
        """As of every network."""
        return self._patch

    def pretrained_parameters(self) -> Iterator[nn.Parameter]:
        """All but the class head's."""
        found = self.model.get_classifier()
        heads = found if isinstance(found, tuple) else (found,)  # a distilled model has two
        head = {parameter for one in heads for parameter in one.parameters()}
        return (parameter for parameter in self.model.parameters() if parameter not in head)

    def geometry(self, height: int, width: int) -> Geometry:
        """Token geometry of a transformer (see `getam.attention.capture.geometry`, which raises for a CNN)."""
        return geometry(self.model, *(self.fixed or (height, width)))

    def class_scores(self, images: Tensor) -> Tensor:
        """As `forward`."""
        return self(images)

    def forward(self, images: Tensor) -> Tensor:
        """Photos (B,3,H,W) float in 0–255, H and W multiples of `patch` → class logits (B,C)."""
        if self.fixed is not None and images.shape[-2:] != self.fixed:
            images = F.interpolate(images, size=self.fixed, mode="bilinear", antialias=True)
        return self.model(self.normalised(images))


def build_classifier(
    backbone: str, classes: Sequence[str], *, weights: str | None = None, output_stride: int = OUTPUT_STRIDE
) -> Classifier:
    """A timm model with a fresh head for `classes`.

    Args:
        backbone: any timm name.
        classes: class names without background.
        weights: path of a local safetensors file with timm's names; None asks timm's hub; "" starts from nothing.
        output_stride: of a CNN's last feature map, by dilation; a model that timm cannot dilate keeps its own.

    Raises:
        WeightsError: no file was given and the hub cannot be reached, or the file is another model's.
        InputError: timm has no such model.
    """
    model = timm_body(backbone, weights=weights, output_stride=output_stride)
    model.reset_classifier(len(classes))
    return Classifier(model, classes)


def timm_body(backbone: str, *, weights: str | None = None, output_stride: int = OUTPUT_STRIDE) -> Any:
    """A timm model without a head, its weights loaded; args and errors as `build_classifier`."""
    if not timm.is_model(backbone.split(".")[0]):
        raise InputError(f"timm has no model {backbone!r}: see timm.list_models()")
    options = _options(backbone, output_stride)
    if weights is None:
        model = from_hub(
            lambda: timm.create_model(backbone, pretrained=True, num_classes=0, **options), backbone
        )
    else:
        model = timm.create_model(backbone, pretrained=False, num_classes=0, **options)
    if weights:
        load_backbone(model, weights)
    return model


def _options(backbone: str, output_stride: int) -> dict[str, Any]:
    """The first of: a dilated CNN, a transformer for any photo size, the model as it is, that timm can build."""
    for options in ({"output_stride": output_stride}, ANY_SIZE):
        with torch.device("meta"):  # structure without memory
            try:
                timm.create_model(backbone, pretrained=False, num_classes=0, **options)
                return options
            except (TypeError, AssertionError, NotImplementedError):  # how timm's families say no
                continue
            except RuntimeError as error:  # an unknown tag after the dot
                raise InputError(f"timm cannot build {backbone!r}: {error}") from None
    return {}


def _stride(model: Any) -> int:
    embed: Any = getattr(model, "patch_embed", None)
    if info := getattr(model, "feature_info", None):
        return int(info[-1]["reduction"])
    if callable(getattr(embed, "feat_ratio", None)):
        return int(embed.feat_ratio())
    raise InputError(f"{type(model).__name__} does not say its stride: choose another timm model")
