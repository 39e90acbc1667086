"""I2CRC (arXiv 2206.09554): a classifier whose class score map keeps to the saliency maps, and two segmenters after it.

Stage `classifier` learns from tags, and on photos of one tag from the saliency: salient pixels score alike, so do the
others, and the class scores higher where it is salient. Stage `labels` lets its maps and the saliency vote. Stage
`segmenter` learns from these labels as if they were masks; stage `labels-2` mends them by what it predicts, and stage
`segmenter-2` learns from those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from getam.data.collection import Collection
from getam.errors import WeightsError
from getam.label_numbers import IGNORE
from getam.labels.deep import label_among
from getam.labels.enlarge import enlarged
from getam.labels.fusion import LEAST_DOUBT, object_guided_refinement, saliency_fusion
from getam.labels.winner import winner
from getam.losses.classification import classification_loss
from getam.losses.saliency_relation import saliency_relation_losses
from getam.maps.methods.cam import cam
from getam.maps.multiscale import multiscale
from getam.nets.classifier import OUTPUT_STRIDE
from getam.nets.inference import photo_logits
from getam.nets.network import Network
from getam.nets.score_map import CLASS_MAP, ScoreMapClassifier, build_score_map
from getam.nets.segmenter import Segmenter
from getam.photo_size import fit_patches
from getam.recipes.base import EMBEDDED, CommonConfig, checked_options, require_saliency
from getam.recipes.stages import LabelStage, Networks, Stage, TrainStage
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import DEEPLAB
from getam.refine.scaled import shrunk

NAME = "i2crc"
FOREGROUND_WEIGHT, BACKGROUND_WEIGHT, BETWEEN_WEIGHT = 0.01, 0.025, 0.1  # reference: of L_f, L_b and L_d
DROP = 0.1  # reference: of the learning rate, at each share of `lr_drops`
CLASSIFIER, LABELS, SEGMENTER = "classifier", "labels", "segmenter"
LABELS_2, SEGMENTER_2 = "labels-2", "segmenter-2"


class RelationOptions(CommonConfig):
    """Options of the first stage beside the common ones."""

    output_stride: Literal[8, 16, 32] = OUTPUT_STRIDE  # of CNNs that timm can dilate; others keep their own
    head_width: int = Field(
        default=128, ge=1
    )  # of the three convolutions; the reference's 512 cost four times
    foreground_weight: float = Field(default=FOREGROUND_WEIGHT, ge=0)
    background_weight: float = Field(default=BACKGROUND_WEIGHT, ge=0)
    between_weight: float = Field(default=BETWEEN_WEIGHT, ge=0)
    lr_drops: tuple[float, ...] = ()  # shares of the steps from which the rate is a tenth

    def check_data(self, collection: Collection) -> None:
        """Raise `InputError` where a photo has no saliency map."""
        require_saliency(NAME, collection)


class RelationConfig(RelationOptions):
    """The first stage."""

    lr: float = Field(default=1e-3, gt=0)  # of the head: ten times the backbone's (reference)

    def build(self, classes: Sequence[str]) -> ScoreMapClassifier:
        """A timm CNN with a class score map.

        Raises:
            InputError: the backbone is no CNN, or `size` is no multiple of its stride.
            WeightsError: its weights could not be had, or are to be those of the embedded model.
        """
        _refuse_embedded(self)
        net = build_score_map(
            self.backbone, classes, self.head_width, weights=self.weights, output_stride=self.output_stride
        )
        self.require_multiple(net.patch)
        return net

    def lr_factor(self, progress: float) -> float:
        """As of every recipe, and a tenth of it from each drop on."""
        return super().lr_factor(progress) * DROP ** sum(progress >= share for share in self.lr_drops)


class RelationRecipe:
    """The first stage: tags and saliency in; a classifier out whose maps cover objects."""

    name = "i2crc-classifier"
    needs: tuple[str, ...] = ("saliency",)
    uses: tuple[str, ...] = ("saliency",)
    labelled_by = "cam:saliency-fusion"
    config_type = RelationConfig

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: RelationConfig
    ) -> dict[str, Tensor]:
        """L_cls + 0.01 L_f + 0.025 L_b + 0.1 L_d."""
        tags, known = batch["tags"], batch.get("known")
        score_map = net(batch["image"])
        found = saliency_relation_losses(score_map, batch["saliency"], batch["roi"], tags, known)
        return {
            "cls": classification_loss(score_map.mean((2, 3)), tags, known),
            "fg": config.foreground_weight * found.foreground,
            "bg": config.background_weight * found.background,
            "between": config.between_weight * found.between,
        }


class I2CRCConfig(RelationOptions, SupervisedConfig):
    """Options of the stages. Those that all trainings have hold for all, but for what `classifier` says."""

    classifier: dict[str, Any] = Field(default_factory=dict)  # options of the first training that differ
    go_on: bool = True  # the second segmenter goes on from the first; False: from the backbone's weights
    label_scales: tuple[int, ...] = Field(default=(224, 320), min_length=1)  # long sides in pixels
    label_flip: bool = True
    label_doubt: float = Field(
        default=0.5, ge=0, le=1
    )  # `doubt` of saliency_fusion; our maps are rarely black
    label_crf: int = Field(default=10, ge=0)  # mean-field iterations on predictions (reference); 0 for none

    @field_validator("classifier")
    @classmethod
    def _of_the_first_stage(cls, given: dict[str, Any]) -> dict[str, Any]:
        return checked_options(RelationConfig, given)

    def build(self, classes: Sequence[str]) -> Segmenter:
        """The segmenter of the later stages; errors as of every joint network, and as of the first stage."""
        _refuse_embedded(self)
        return super().build(classes)


# 30 epochs of 10,582 photos, 5 a step. The reference trains VGG16 without its last pooling, which timm does not dilate.
CLASSIFIER_PAPER: dict[str, Any] = {
    "backbone": "resnet50", "output_stride": 8, "head_width": 512, "size": 256, "zoom": (1.0, 1.0),
    "colour_jitter": True, "batch_size": 5, "steps": 63_480, "optimizer": "sgd", "lr": 1e-2, "pretrained_lr": 1e-3,
    "momentum": 0.9, "weight_decay": 5e-4, "warmup": 0.0, "poly_power": 0.0, "lr_drops": (5 / 30, 10 / 30),
}  # fmt: skip
PAPER: dict[str, Any] = {
    "backbone": "resnet101", "size": 320, "zoom": (0.5, 1.5), "batch_size": 10, "steps": 20_000, "optimizer": "sgd",
    "lr": 2.5e-3, "pretrained_lr": 2.5e-4, "momentum": 0.9, "weight_decay": 5e-4, "warmup": 0.0, "poly_power": 0.9,
    "channels": (256, 512, 768, 768), "width": 256, "enlarge": 2, "label_flip": False, "go_on": False,
    "label_scales": (256,), "label_doubt": LEAST_DOUBT,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {"light": {}, "paper-voc": {**PAPER, "classifier": CLASSIFIER_PAPER}}


class I2CRCRecipe:
    """Tags and saliency in; a segmenter out, in five stages."""

    name = NAME
    needs: tuple[str, ...] = ("saliency",)
    uses: tuple[str, ...] = ("saliency",)
    config_type = I2CRCConfig
    presets = PRESETS

    def stages(self, config: I2CRCConfig, collection: Collection) -> Sequence[Stage]:
        """classifier → labels → segmenter → labels-2 → segmenter-2.

        Raises:
            InputError: a photo has no saliency map.
        """
        config.check_data(collection)
        options = config.model_dump()
        decided = {name: value for name, value in options.items() if name.startswith("label_")}
        later = config.narrowed(SupervisedConfig)
        fused, refined = partial(fused_label, config), partial(refined_label, config)
        start = SEGMENTER if config.go_on else ""
        return (
            TrainStage(CLASSIFIER, RelationRecipe(), classifier_config(config)),
            LabelStage(LABELS, (CLASSIFIER,), fused, decided),
            TrainStage(SEGMENTER, SupervisedRecipe(), later, labels=LABELS),
            LabelStage(LABELS_2, (CLASSIFIER, SEGMENTER), refined, decided),
            TrainStage(SEGMENTER_2, SupervisedRecipe(), later, labels=LABELS_2, start=start),
        )


def classifier_config(config: I2CRCConfig) -> RelationConfig:
    """Options of the first stage: what was asked for, but for what `classifier` says; else its own defaults."""
    asked = {
        name: getattr(config, name) for name in RelationConfig.model_fields if name in config.model_fields_set
    }
    return RelationConfig(**{**asked, **config.classifier})


def fused_label(
    config: I2CRCConfig, nets: Networks, photo: Tensor, present: list[int], saliency: Tensor | None
) -> Tensor:
    """The rule of stage `labels`, after its first argument: maps and saliency of one photo vote.

    A photo without a tag is background, all of it.
    """
    image, salient, classes = _seen(nets[CLASSIFIER], photo, present, saliency)
    maps = class_maps(config, nets[CLASSIFIER], image, present)

    def made(own: Tensor) -> Tensor:
        return (
            saliency_fusion(maps, own, salient, doubt=config.label_doubt) if present else _background(salient)
        )

    return _named(made, nets[CLASSIFIER], classes, photo)


def refined_label(
    config: I2CRCConfig, nets: Networks, photo: Tensor, present: list[int], saliency: Tensor | None
) -> Tensor:
    """The rule of stage `labels-2`: what the segmenter predicts, mended by the tags and by the label it learned from.

    That label is made again, by the same network and rule.
    """
    image, salient, classes = _seen(nets[CLASSIFIER], photo, present, saliency)
    maps = class_maps(config, nets[CLASSIFIER], image, present)
    winner = predicted_slots(config, nets[SEGMENTER], image, present)

    def made(own: Tensor) -> Tensor:
        if not present:
            return _background(salient)
        names = torch.cat([own.new_zeros(1), own[0] + 1, own.new_full((1,), IGNORE)])
        initial = saliency_fusion(maps, own, salient, doubt=config.label_doubt)
        return object_guided_refinement(names[winner][None], initial, own)

    return _named(made, nets[CLASSIFIER], classes, photo)


def class_maps(config: I2CRCConfig, net: Network, image: Tensor, present: list[int]) -> Tensor:
    """relu(X) of the photo's classes, each divided by its peak, averaged over sizes: (1,K,h,w) of the photo's size."""
    if not present:
        return image.new_zeros(1, 0, *image.shape[-2:])
    sizes = [fit_patches(image.shape[-2], image.shape[-1], side, net.patch) for side in config.label_scales]
    found = multiscale(
        lambda resized: cam(net, resized, [present], layers=(CLASS_MAP,)),
        image,
        sizes,
        flip=config.label_flip,
    )
    return F.interpolate(found, size=image.shape[-2:], mode="bilinear", align_corners=False)


def predicted_slots(config: I2CRCConfig, net: Any, image: Tensor, present: list[int]) -> Tensor:
    """What a segmenter that is not told the tags predicts, after a dense CRF: (h,w) int64.

    0 background, k + 1 the k-th of the classes that are present, K + 1 any other class. The CRF knows the background,
    the photo's classes, and those that win a pixel before it: it costs by the class.
    """
    beliefs = photo_logits(net, image[0], config.label_scales, flip=config.label_flip).softmax(0)
    told = torch.tensor([0, *(c + 1 for c in present)], device=beliefs.device)
    winning = winner(beliefs).unique()
    chosen = torch.cat([told, winning[~torch.isin(winning, told)]])
    beliefs = beliefs[chosen]
    if config.label_crf:
        beliefs = dense_crf(image, beliefs[None], parameters=DEEPLAB, iterations=config.label_crf)[0]
    return winner(beliefs).clamp(max=len(told))


def _refuse_embedded(config: CommonConfig) -> None:
    if config.weights == EMBEDDED:
        raise WeightsError(
            f"recipe {NAME} begins with a classifier, and the embedded model holds no backbone for one: give the "
            "backbone's own file with --weights"
        )


def _seen(
    net: Network, photo: Tensor, present: list[int], saliency: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Photo (1,3,h,w), saliency (1,h,w), both at most 500 pixels long, and classes (1,K), where the network is."""
    assert saliency is not None  # of every photo, as `check_data` has made sure
    device = next(net.parameters()).device
    image = shrunk(photo.to(device, torch.float32)[None])
    salient = shrunk(saliency.to(device)[None, None])[:, 0].clamp(0, 1)
    return image, salient, torch.tensor([present], dtype=torch.int64, device=device)


def _background(saliency: Tensor) -> Tensor:
    return torch.zeros(saliency.shape, dtype=torch.uint8, device=saliency.device)


def _named(made: Callable[[Tensor], Tensor], net: Network, classes: Tensor, photo: Tensor) -> Tensor:
    """The label in the numbers of the network's class list, at the size of the photo."""
    return enlarged(label_among(len(net.classes), classes, made)[0], (photo.shape[-2], photo.shape[-1]))
