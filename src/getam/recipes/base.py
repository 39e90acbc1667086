"""What a trained system is to the engine: a typed configuration, a network, and one step's losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, field_validator
from torch import Tensor, nn

from getam.data.augmentation import ZOOM
from getam.data.collection import Collection
from getam.data.tag_dataset import TagDataset
from getam.errors import InputError
from getam.nets.build import FROM_NOTHING, SMALL_HYBRID, build_segmenter
from getam.nets.embedded import embedded_model
from getam.nets.network import Network
from getam.nets.segmenter import Segmenter
from getam.nets.weights import load_body

Options = TypeVar("Options", bound="CommonConfig")
EMBEDDED = "embedded"  # `weights="embedded"`: encoder and decoder of the model that comes with the package


class CommonConfig(BaseModel):
    """Options every recipe has; recipes subclass it. Immutable, and strict about unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = "tf_efficientnet_lite0"
    weights: str | None = None  # local safetensors of the backbone, or "embedded"; None: timm's hub
    size: int = Field(default=224, ge=32)  # side of the square training crop, pixels
    zoom: tuple[PositiveFloat, PositiveFloat] = (
        ZOOM  # between which multiples of it a photo's long side is drawn
    )
    colour_jitter: bool = False
    batch_size: int = Field(default=16, ge=1)
    steps: int = Field(default=1000, ge=1)
    seed: int = Field(default=0, ge=0)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=5e-4, gt=0)  # of freshly initialised parameters
    pretrained_lr: float = Field(default=1e-4, gt=0)  # of the pretrained backbone
    weight_decay: float = Field(default=0.02, ge=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)  # SGD only
    warmup: float = Field(default=0.05, ge=0, lt=1)  # share of the steps
    poly_power: float = Field(default=0.9, ge=0)
    ema: float = Field(
        default=0.0, ge=0, lt=1
    )  # decay of a running average of the weights, which is kept; 0: none

    @field_validator("zoom")
    @classmethod
    def _ordered(cls, zoom: tuple[float, float]) -> tuple[float, float]:
        if zoom[0] > zoom[1]:
            raise ValueError("the first is larger than the second")
        return zoom

    @property
    def pretrained(self) -> bool:
        """Whether the backbone comes with weights."""
        return self.weights != FROM_NOTHING and self.backbone != SMALL_HYBRID

    def check_data(self, collection: Collection) -> None:
        """Refuse photos that this system cannot learn from, before any work; by default it can from all.

        Raises:
            InputError: what is missing, and what to do about it.
        """

    def crops(self, collection: Collection, *, masks: bool) -> TagDataset:
        """The augmented crops that are trained on, with the masks of the collection or without.

        Raises:
            InputError: no photos, masks are asked for and one is missing, or as `check_data`.
        """
        self.check_data(collection)
        return TagDataset(
            collection,
            self.size,
            seed=self.seed,
            with_masks=masks,
            zoom=self.zoom,
            colour_jitter=self.colour_jitter,
        )

    def whole_photos(self, collection: Collection) -> TagDataset:
        """The same photos whole, at the size of the crops and in their own colours, to be scored.

        Raises:
            InputError: no photos.
        """
        return TagDataset(collection, self.size, seed=self.seed, zoom=(1.0, 1.0))

    def facts(self, collection: Collection) -> Mapping[str, str]:
        """What else than the collection the crops are read from, by name and content: an interrupted run checks it."""
        return {}

    def build(self, classes: Sequence[str]) -> Network:
        """The network of this configuration, its pretrained weights loaded.

        Args:
            classes: their names, without the background.
        """
        raise NotImplementedError

    def narrowed(self, kind: type[Options]) -> Options:
        """The values that these options share with those of a stage's recipe, as its configuration."""
        return kind(**{name: getattr(self, name) for name in kind.model_fields})

    def lr_factor(self, progress: float) -> float:
        """Learning rate at `progress`, the share of the steps that are done, relative to the configured one."""
        return poly(progress, self.warmup, self.poly_power)

    def require_multiple(self, patch: int) -> None:
        """Raise `InputError` where `size` is no multiple of the network's patch."""
        if self.size % patch:
            near = max(1, round(self.size / patch)) * patch
            raise InputError(
                f"size {self.size} is not a multiple of the {patch}-pixel patches of {self.backbone}: use {near}"
            )


class Config(CommonConfig):
    """Options of the recipes that train the joint network: its decoder's sizes beside the common ones."""

    network: ClassVar[type[Segmenter]] = Segmenter
    channels: tuple[int, int, int, int] = (48, 64, 128, 192)  # reassembled maps of the decoder
    width: int = Field(default=64, ge=8)  # fusion width of the decoder
    enlarge: Literal[1, 2] = 1  # of the decoder's last fusion; the paper's head works at 2

    def build(self, classes: Sequence[str]) -> Segmenter:
        """The joint network of this configuration, backbone weights loaded; or those of the embedded model, but for its
        classes.

        Raises:
            InputError: the backbone does not exist, or `size` is no multiple of its patch.
            WeightsError: its weights could not be had, or the embedded model has another shape.
        """
        embedded = self.weights == EMBEDDED
        weights = FROM_NOTHING if embedded else self.weights
        net = build_segmenter(
            self.backbone,
            classes,
            self.channels,
            self.width,
            self.enlarge,
            weights=weights,
            network=self.network,
        )
        if embedded:
            load_body(net, embedded_model(), fresh=net.class_layers)
        self.require_multiple(net.patch)
        net.crop = self.size
        return net


class Recipe(Protocol):
    """A system that is trained. One file per system; `engine.loop.fit` knows nothing else of it.

    Its configuration, a `CommonConfig`, builds the network and gives the learning rate.
    """

    name: str
    needs: tuple[str, ...]  # keys of a batch beside image, tags, roi ("mask", …)
    uses: tuple[str, ...]  # keys it makes use of where they are there ("saliency")
    labelled_by: str  # METHOD+REFINER:LABELLER that makes its pseudo labels; of recipes that need masks ""

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: Any
    ) -> dict[str, Tensor]:
        """Weighted losses of one step by name; runs `net` once. `progress` ∈ [0,1) is the share of steps done."""
        ...


def poly(progress: float, warmup: float, power: float) -> float:
    """Linear warm-up over the first share, then (1 − progress)^power.

    >>> poly(0.5, warmup=0.0, power=1.0)
    0.5
    """
    ramp = min(1.0, (progress + 1e-3) / warmup) if warmup else 1.0
    return ramp * max(0.0, 1.0 - progress) ** power


def optimizer(net: Network, config: CommonConfig) -> torch.optim.Optimizer:
    """The configured optimiser; the pretrained backbone has its own rate, biases and norms no weight decay."""
    old = set(net.pretrained_parameters()) if config.pretrained else set()
    groups = []
    for fresh, lr in ((True, config.lr), (False, config.pretrained_lr)):
        chosen = [p for p in net.parameters() if p.requires_grad and (p not in old) == fresh]
        groups.append(
            {"params": [p for p in chosen if p.ndim > 1], "lr": lr, "weight_decay": config.weight_decay}
        )
        groups.append({"params": [p for p in chosen if p.ndim <= 1], "lr": lr, "weight_decay": 0.0})
    groups = [{**g, "initial_lr": g["lr"]} for g in groups if g["params"]]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum)
    return torch.optim.AdamW(groups)


def total(losses: Iterable[Tensor]) -> Tensor:
    """Sum of scalars."""
    return torch.stack(list(losses)).sum()


def require_saliency(recipe: str, collection: Collection) -> None:
    """Raise `InputError` where a photo has no saliency map, for a recipe that learns from them."""
    without = sum(sample.saliency is None for sample in collection.samples)
    if without:
        raise InputError(
            f"recipe {recipe} learns from saliency maps, and {without} of the {len(collection.samples)} photos have "
            "none: give --saliency a folder with one map per photo, or a provider that makes them, such as embedded"
        )


def checked_options(config_type: type[CommonConfig], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of another stage by name, as its configuration reads them; raises `ValueError` for what it refuses."""
    try:
        return config_type(**given).model_dump(include=set(given))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None


def unwrap(net: nn.Module) -> Any:
    """The module behind Fabric's and torch.compile's wrappers."""
    inner: Any = net
    while hasattr(inner, "module") or hasattr(inner, "_orig_mod"):
        inner = getattr(inner, "module", None) or inner._orig_mod
    return inner
