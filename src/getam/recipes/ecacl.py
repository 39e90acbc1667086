"""ECACL (arXiv 2104.09136): a classifier for photos of another domain, of which a few have tags and many have none.

A step sees source photos, tagged target photos, and two views of target photos without tags, all in one forward. Where
a photo has several tags, they do not compete in the softmax, as in recipe bas; prototypes are made from photos of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from getam.data.collection import Collection
from getam.data.fingerprint import take_fingerprint
from getam.data.tag_dataset import TagDataset
from getam.data.two_domains import Target, TwoDomainDataset, load_target
from getam.errors import InputError
from getam.losses.bas import tags_loss
from getam.losses.domain import (
    class_prototypes,
    masked_consistency,
    negative_entropy,
    prototype_alignment,
    reverse_gradient,
)
from getam.nets.classifier import OUTPUT_STRIDE
from getam.nets.cosine import BOTTLENECK, CosineClassifier, build_cosine
from getam.recipes.base import CommonConfig, unwrap


class ECACLConfig(CommonConfig):
    """Options of the ECACL recipe beside the common ones."""

    target: str = ""  # folder of the target's photos, with tags of a few
    lr: float = Field(default=1e-3, gt=0)  # of the head: ten times the backbone's (reference)
    output_stride: Literal[8, 16, 32] = OUTPUT_STRIDE  # of CNNs that timm can dilate; others keep their own
    bottleneck: int = Field(default=BOTTLENECK, ge=0)  # width of the layer before the cosines; 0: none
    strong_zoom: tuple[PositiveFloat, PositiveFloat] = (0.9, 2.0)  # as zoom, of the strong view
    threshold: float = Field(default=0.8, ge=0)  # of L_con: how sure the weak view is
    uniform: float = Field(default=0.1, ge=0)  # of L_con: towards equal shares
    con_weight: float = Field(default=1.0, ge=0)
    proto_weight: float = Field(default=0.1, ge=0)
    entropy_weight: float = Field(default=0.1, ge=0)
    decay: Literal["poly", "inverse"] = "poly"  # inverse: (1 + 1e-4 step)^−0.75 (reference)

    def build(self, classes: Sequence[str]) -> CosineClassifier:
        """A timm model with a cosine head.

        Raises:
            InputError: there is one class only, the backbone does not do, or `size` is no multiple of its patch.
        """
        if len(classes) < 2:
            raise InputError(
                f"recipe ecacl compares the classes of a photo and learns nothing from one ({', '.join(classes)}): add "
                "photos of another class"
            )
        net = build_cosine(
            self.backbone,
            classes,
            weights=self.weights,
            output_stride=self.output_stride,
            bottleneck=self.bottleneck,
        )
        self.require_multiple(net.patch)
        return net

    def crops(self, collection: Collection, *, masks: bool) -> TagDataset:
        """Crops of both domains.

        Raises:
            InputError: no target, or it has no photos with or without tags.
        """
        return TwoDomainDataset(
            collection, self.read_target(collection), self.size, seed=self.seed, zoom=self.zoom,
            colour_jitter=self.colour_jitter, strong_zoom=self.strong_zoom,
        )  # fmt: skip

    def whole_photos(self, collection: Collection) -> TagDataset:
        """Of the collection alone."""
        return TagDataset(collection, self.size, seed=self.seed, zoom=(1.0, 1.0))

    def facts(self, collection: Collection) -> Mapping[str, str]:
        """What the target's photos and tags are, by content."""
        target = self.read_target(collection)
        return {
            f"{what} {kind} of the target": str(take_fingerprint(part, masks=False).digests()[kind])
            for what, part in (("tagged", target.shots), ("untagged", target.unlabelled))
            for kind in ("photos", "tags")
        }

    def read_target(self, collection: Collection) -> Target:
        """The target domain in the classes of the source; errors as `crops`."""
        if not self.target:
            raise InputError(
                "recipe ecacl needs a second domain: --data has the source, --options target=FOLDER a folder of other "
                "photos, a few of them with tags of the same classes"
            )
        return load_target(Path(self.target), collection.classes)

    def lr_factor(self, progress: float) -> float:
        """As of every recipe, or the reference's."""
        if self.decay == "inverse":
            return (1 + 1e-4 * progress * self.steps) ** -0.75
        return super().lr_factor(progress)


PRESETS: dict[str, dict[str, Any]] = {
    "light": {},
    # DomainNet, VisDA2017. 0.01 for the head and a tenth for the rest; this one's momentum is real.
    "paper": {
        "backbone": "resnet34", "output_stride": 32, "size": 224, "zoom": (256 / 224, 256 / 224), "batch_size": 32,
        "steps": 50_000, "optimizer": "sgd", "momentum": 0.9, "lr": 0.01, "pretrained_lr": 0.001,
        "weight_decay": 5e-4, "decay": "inverse",
    },
}  # fmt: skip


class ECACLRecipe:
    """Tagged photos, and a few of another domain; a classifier for that domain out."""

    name = "ecacl"
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    labelled_by = "layercam+pamr:completion"
    config_type = ECACLConfig
    presets = PRESETS

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: ECACLConfig
    ) -> dict[str, Tensor]:
        """L_ce + L_con + 0.1 L_proto + 0.1 Σ p log p, the last one reversed before the head."""
        views = [batch[name] for name in ("image", "shot_image", "weak_image", "strong_image")]
        found = net(torch.cat(views))
        parts = [len(view) for view in views]
        source, shots, weak, strong = found.scores.split(parts)
        features = F.normalize(found.features, dim=1).split(parts)
        tags, shot_tags, known = batch["tags"], batch["shot_tags"], batch.get("known")
        prototypes, there = class_prototypes(features[1], only_tag(shot_tags), tags.shape[1])
        game = unwrap(net).head(reverse_gradient(found.features.split(parts)[2]))
        if known is not None:
            known = torch.cat([known, torch.ones_like(shot_tags, dtype=torch.bool)])
        return {
            "cls": tags_loss(torch.cat([source, shots]), torch.cat([tags, shot_tags]), known),
            "con": config.con_weight
            * masked_consistency(weak, strong, threshold=config.threshold, uniform=config.uniform),
            "proto": config.proto_weight
            * prototype_alignment(features[0], only_tag(tags), prototypes, there),
            "entropy": config.entropy_weight * negative_entropy(game),
        }


def only_tag(tags: Tensor) -> Tensor:
    """The class of photos that have one tag, −1 of others: (B,) int64 of tags (B,C).

    >>> only_tag(torch.tensor([[0, 1, 0], [1, 1, 0], [0, 0, 0]])).tolist()
    [1, -1, -1]
    """
    present = tags > 0
    return torch.where(present.sum(1) == 1, present.int().argmax(1), -1)
