"""MDBA, end to end from saliency (arXiv 2305.05154): without maps; what is salient in a photo of one tag is that tag.

Such photos are "simple", those of several tags "complex". Pixels learn from simple photos, and less and less where the
network contradicts; complex photos teach their tags, and their masks are to look to a discriminator as labels do.
CutMix makes complex photos out of simple ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from getam.data.collection import Collection
from getam.data.cut_mix import cut_mix, draw_box
from getam.errors import InputError
from getam.label_numbers import ignore_label
from getam.labels.deep import label_among
from getam.labels.single_tag import HIGH, LOW, saliency_label, single_tagged
from getam.losses.adversarial import judgement_loss, one_hot_label
from getam.losses.classification import classification_loss
from getam.losses.noisy_labels import noise_threshold, online_noise_filter, progressive_noise_loss
from getam.maps.base import class_slots
from getam.nets.adversarial import AdversarialSegmenter
from getam.nets.segmenter import Segmenter
from getam.recipes.base import Config, require_saliency, unwrap

NAME = "mdba"
# The reference's thousand steps are a whole light training. Sooner, pixels pass for noise before they are learned: with
# C classes a cross-entropy begins near log(C + 1), above the threshold.
NOISE_FROM = 0.5
LEAST_IOU = 0.5  # the reference's numbers for the classes of VOC have this mean
# reference: τ by class of VOC where it is another
VOC_LEAST_IOU = {
    "aeroplane": 0.4, "bus": 0.6, "car": 0.6, "cat": 0.6, "chair": 0.4, "cow": 0.6, "diningtable": 0.0, "dog": 0.7,
    "horse": 0.6, "person": 0.6, "pottedplant": 0.4, "sheep": 0.6, "sofa": 0.4, "tvmonitor": 0.4,
}  # fmt: skip


class MDBAConfig(Config):
    """Options of the MDBA recipe beside the common ones."""

    network: ClassVar[type[Segmenter]] = AdversarialSegmenter
    high: float = Field(default=HIGH, ge=0, le=1)  # saliency above it is the tag
    low: float = Field(default=LOW, ge=0, le=1)  # saliency below it is background
    noise_from: float = Field(default=NOISE_FROM, ge=0, le=1)  # share of the steps that believes all labels
    noise_until: float = Field(default=11 / 12, ge=0, le=1)  # where the threshold of pixels is at its last
    first_threshold: float = Field(default=1.2, ge=0)  # of a pixel's cross-entropy
    last_threshold: float = Field(default=0.8, ge=0)
    least_iou: float = Field(default=LEAST_IOU, ge=0, lt=1)  # τ: photos below it are not believed
    class_least_iou: dict[str, float] = Field(default_factory=dict)  # by name, where τ is another
    always: tuple[str, ...] = ()  # classes whose pixels are never dropped
    cut_mix: float = Field(default=0.5, ge=0, le=1)  # share of the steps
    adversarial_weight: float = Field(default=0.001, ge=0)  # λ; 0: no discriminator

    @model_validator(mode="after")
    def _levels_and_phases(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if self.noise_until < self.noise_from:
            raise ValueError(f"noise_until {self.noise_until} is before noise_from {self.noise_from}")
        return self

    def check_data(self, collection: Collection) -> None:
        """Raise `InputError` where a photo has no saliency map, or none is known to show one class alone."""
        require_saliency(NAME, collection)
        samples = collection.samples
        if samples and not any(len(sample.tags) == 1 and not sample.unknown for sample in samples):
            raise InputError(
                f"recipe {NAME} learns masks from photos that show one class alone, and none of the {len(samples)} "
                "photos is known to: add photos with a single tag, or train with --recipe getam"
            )


# Not the paper's: ResNet-101 starts from ImageNet, and our decoder stands for ASPP.
PAPER_VOC: dict[str, Any] = {
    "backbone": "resnet101", "size": 320, "zoom": (0.5, 1.6), "batch_size": 10, "steps": 12_000, "optimizer": "sgd",
    "lr": 2.5e-3, "pretrained_lr": 2.5e-4, "momentum": 0.9, "weight_decay": 5e-4, "warmup": 0.0, "poly_power": 0.9,
    "channels": (256, 512, 768, 768), "width": 256, "enlarge": 2,
    "noise_from": 1 / 12, "class_least_iou": VOC_LEAST_IOU, "always": ("diningtable",),
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {"light": {}, "paper-voc": PAPER_VOC}


class Sorted(NamedTuple):
    """(B,) bool each, no photo in two: one tag; no tag, all background; all others, of which pixels say nothing."""

    simple: Tensor
    empty: Tensor
    complex: Tensor


class MDBARecipe:
    """Tags and saliency in; a segmenter out."""

    name = NAME
    needs: tuple[str, ...] = ("saliency",)
    uses: tuple[str, ...] = ("saliency",)
    labelled_by = "cam[layers=[decoder.head.4]]+pamr:completion"
    config_type = MDBAConfig
    presets = PRESETS

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: MDBAConfig
    ) -> dict[str, Tensor]:
        """L_cls + L_pixel + λ L_adv for the segmenter, and L_disc for the discriminator."""
        images, tags, known, roi = batch["image"], batch["tags"], batch.get("known"), batch["roi"]
        own: AdversarialSegmenter = unwrap(net)
        scores, logits = net(images)
        assert logits is not None
        kinds = sort_photos(tags, known)
        label = pseudo_labels(batch, kinds, config)
        believed = kinds.simple
        threshold = noise_threshold(
            progress, start=config.noise_from, end=config.noise_until, first=config.first_threshold,
            last=config.last_threshold,
        )  # fmt: skip
        if threshold is not None and bool(believed.any()):
            believed = believed_photos(own.classes, logits, label, tags, kinds.simple, config)
        learned = believed | kinds.empty
        mixing = config.cut_mix > 0 and int(learned.sum()) > 1 and float(torch.rand(())) < config.cut_mix
        if mixing:
            mixed, target = cut_mix(images[learned], label[learned], draw_box(*images.shape[-2:]))
            found = own(mixed).logits
            assert found is not None
        else:
            found, target = logits[learned], label[learned]
        always = [own.classes.index(name) + 1 for name in config.always if name in own.classes]
        losses = {
            "cls": classification_loss(scores, tags, known),
            "pixel": progressive_noise_loss(found, target, threshold, always),
        }
        if config.adversarial_weight:
            adversarial, discriminator = adversarial_losses(
                own, logits, label, roi, kinds, believed, mixing=mixing
            )
            losses["adv"] = config.adversarial_weight * adversarial
            losses["disc"] = discriminator
        return losses


def sort_photos(tags: Tensor, known: Tensor | None) -> Sorted:
    """Which photos of tags (B,C) are of which kind; with an unknown class a photo is neither simple nor empty."""
    simple, empty = single_tagged(tags, known), ~(tags > 0).any(1)
    if known is not None:
        empty = empty & known.all(1)
    return Sorted(simple, empty, ~(simple | empty))


def pseudo_labels(batch: Mapping[str, Tensor], kinds: Sorted, config: MDBAConfig) -> Tensor:
    """(B,H,W): of simple photos by their saliency, of empty ones background, of all others undecided; so is padding.

    uint8, or int32 beyond 254 classes.
    """
    saliency, tags = batch["saliency"], batch["tags"]
    ignore = ignore_label(tags.shape[1])
    slots, _ = class_slots(tags * kinds.simple[:, None], len(tags), tags.shape[1], tags.device)

    def made(own: Tensor) -> Tensor:
        return saliency_label(saliency.clamp(0, 1), own, high=config.high, low=config.low)

    label = label_among(tags.shape[1], slots, made).masked_fill(kinds.empty[:, None, None], 0)
    return label.masked_fill(~batch["roi"], ignore)


def believed_photos(
    classes: Sequence[str], logits: Tensor, label: Tensor, tags: Tensor, simple: Tensor, config: MDBAConfig
) -> Tensor:
    """(B,) bool: the simple photos, of which there is one at least, whose foreground the network finds as well."""
    least = torch.tensor([config.class_least_iou.get(name, config.least_iou) for name in classes])
    of_photo = least.to(tags.device)[tags[simple].argmax(1)]
    kept = online_noise_filter(
        logits[simple].argmax(1) != 0, label[simple], of_photo, ignore_label(len(classes))
    )
    believed = torch.zeros_like(simple)
    believed[simple] = kept
    return believed


def adversarial_losses(
    net: AdversarialSegmenter,
    logits: Tensor,
    label: Tensor,
    roi: Tensor,
    kinds: Sorted,
    believed: Tensor,
    *,
    mixing: bool,
) -> tuple[Tensor, Tensor]:
    """What the segmenter is asked, to be taken for labels, and what the discriminator is asked, to tell them apart.

    The first reaches the segmenter alone: masks of complex photos, and of simple ones where no CutMix made others of
    them, are to be judged real. The second reaches the discriminator alone: ½ for all these masks as not real, ½ for
    the believed labels as real. Empty photos take no part.

    Args:
        logits: (B,C+1,H,W) of the photos as they are.
        label: as `pseudo_labels` gives it; roi (B,H,W) bool.
        believed: (B,) bool, simple photos whose labels are believed.
        mixing: whether this step learns pixels from mixed photos.
    """

    def on(photos: Tensor, pixels: Tensor) -> Tensor:
        return photos[:, None, None] & pixels

    decided = label != ignore_label(logits.shape[1] - 1)
    masks = logits.softmax(1)
    seen = net.judged(masks, frozen=True)
    adversarial = judgement_loss(seen, on(kinds.complex, roi), real=True)
    # of no photo where they are mixed: another process may not mix, and all count as often
    adversarial = adversarial + judgement_loss(seen, on(believed & (not mixing), decided), real=True)
    fake = net.judged(masks.detach(), frozen=False)
    real = net.judged(one_hot_label(label, logits.shape[1] - 1), frozen=False)
    discriminator = judgement_loss(fake, on(kinds.simple | kinds.complex, roi), real=False) / 2
    return adversarial, discriminator + judgement_loss(real, on(believed, decided), real=True) / 2
