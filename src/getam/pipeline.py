"""One method's maps → refiners → pseudo label: what `getam label` and `getam bench` compose by name."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from getam.data.confidences import confidences
from getam.errors import InputError
from getam.labels.confidence import label_beliefs, slots_of
from getam.labels.deep import torch_label_dtype
from getam.labels.enlarge import enlarged
from getam.labels.registry import LABELLERS, check_label_options, find_labeller, label_with
from getam.maps.methods.multi_layer import min_max
from getam.maps.multiscale import multiscale
from getam.maps.registry import REGISTRY, check_options, find_method
from getam.named import write_named
from getam.photo_size import fit_patches, require_sides, seen_size
from getam.pipeline_patches import FOLLOWED, followed_by, refine_patches, require_attention
from getam.refine.inputs import require_finite
from getam.refine.neighbours import photo_sized
from getam.refine.registry import find_chain, find_refiner, refine
from getam.refine.scaled import refine_at_scale, scale_to_peak, shrunk

LABEL_SCALES = (224, 320)  # long sides in pixels
# Where labelling has found better than a method's own default: attn_grad is flatter than the paper's attn_grad2, so
# less is left undecided (docs/results.md). Of ad-cam it was chosen on photos that no result is of.
LABEL_OPTIONS: dict[str, dict[str, Any]] = {name: {"coupling": "attn_grad"} for name in ("getam", "ad-cam")}
# Background levels of "free" by method, of a belief against maps that peak at 1; other methods have the rule's own.
# LayerCAM's maps, refined, are broad: 0.35 to 0.45 are alike on the photos of `tune` (docs/decisions/002).
FREE_LEVELS = {"layercam": 0.4}
LEVELS = ("foreground", "background")  # what "free" calls them: equal, nothing is undecided
PAMR_SCALE = 0.5  # PAMR on photos at half size reaches twice as far (docs/results.md); so do the others
SALIENT = 127 / 255  # of completion; what is above it is salient: half of an 8-bit map's range, not tuned
MADE = ("maps", "images", "saliency")  # what a labeller can be given here


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evidence:
    """What labels of one photo are decided on; h × w is the photo's size, or that of its copy of 500.

    Attributes:
        classes: (1,K) int64 class indices.
        image: (1,3,h,w) float32 in 0–255.
        maps: (1,K,h,w) float32 in [0,1], or None where the labeller needs none.
        saliency: (1,h,w) float32 in [0,1], or None.
        count: length of the class list.
    """

    classes: Tensor
    image: Tensor
    maps: Tensor | None
    saliency: Tensor | None
    count: int


@dataclass(frozen=True)
class Pipeline:
    """Maps of one method → refiners in order → pseudo label; a nonsensical combination says why.

    Attributes:
        method: of `getam.maps.registry`.
        refine: of `getam.refine.registry`, in order; () for none. Those that work on patches follow the net's
            own attention on the patch grid; walk-afa and walk-irn the affinity that it has learned, where it has, and
            walk-irn learned class boundaries before that. Those that look at the photo see it at half size; a photo
            larger than 500 as its copy of 500, on which labels are made too.
        labels: of `getam.labels.registry`. "completion" needs saliency to tell background; where there is none, it is
            "free", its twin that does without.
        scales: long sides in pixels; maps are averaged over them.
        flip: average with the mirrored photo.
        options: of the map method; `LABEL_OPTIONS` where one is not given.
        label_options: of the labeller, such as thresholds; its defaults where one is not given.

    >>> str(Pipeline("gradcam", ("walk-afa", "par"), "irn"))
    'gradcam+walk-afa+par:irn'
    """

    method: str = "getam"
    refine: tuple[str, ...] = ("pamr",)
    labels: str = "completion"
    scales: tuple[int, ...] = LABEL_SCALES
    flip: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    label_options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """METHOD[OPTION=VALUE,…][+REFINER…]:LABELLER[OPTION=VALUE,…], which `parse_pipeline` reads."""
        return (
            "+".join((f"{self.method}{write_named(self.options)}", *self.refine))
            + f":{self.labels}{write_named(self.label_options)}"
        )

    @property
    def method_options(self) -> dict[str, Any]:
        """All options the map method is called with, besides its own defaults."""
        return {**LABEL_OPTIONS.get(self.method, {}), **self.options}

    @property
    def uses_saliency(self) -> bool:
        """Whether the rule for labels makes use of saliency maps.

        Raises:
            InputError: there is no such rule.
        """
        return "saliency" in find_labeller(self.labels).needs

    def labeller(self, *, saliency: bool) -> str:
        """The name of the labeller that is used, with or without saliency."""
        return "free" if self.labels == "completion" and not saliency else self.labels

    def check(
        self,
        *,
        saliency: bool,
        several_tags: bool = False,
        net: nn.Module | None = None,
        boundaries: nn.Module | None = None,
    ) -> None:
        """Refuse what cannot work before any photo is read.

        Args:
            saliency: whether photos come with saliency maps.
            several_tags: whether a photo has more than one tag: then a map per photo is not enough.
            net: the network; given, the maps are tried on a square of noise, at the smallest scale.
            boundaries: as of `maps`.

        Raises:
            InputError: an unknown name, or a combination that makes no sense: the message says why, and what to do.
            CaptureError: the method cannot read the network.
        """
        chosen = find_method(self.method)
        check_options(chosen, dict(self.options))
        find_chain(self.refine)
        labeller = find_labeller(self.labeller(saliency=saliency))
        check_label_options(self.labeller(saliency=saliency), self.label_options)
        if beyond := [need for need in labeller.needs if need not in MADE]:
            raise InputError(
                f"the labels {self.labels!r} start from {' and '.join(beyond)}, masks of a trained segmenter, which "
                "are not made from maps: label with another rule, train and predict, then call "
                "getam.labels.fusion.object_guided_refinement"
            )
        if "saliency" in labeller.needs and not saliency:
            without = [name for name, its in LABELLERS.items() if set(its.needs) <= {"maps", "images"}]
            raise InputError(
                f"the labels {self.labels!r} need saliency maps: give them with --saliency, or choose one of "
                f"{', '.join(without)}"
            )
        if several_tags and not chosen.per_class and "maps" in labeller.needs:
            telling = [name for name, its in REGISTRY.items() if its.per_class]
            raise InputError(
                f"{self.method} gives all tags of a photo the same map, so it cannot tell which pixels are whose, and "
                f"some photos have several tags: choose one of {', '.join(telling)}"
            )
        require_sides(self.scales)
        if net is not None:
            for name in self.refine:
                refiner = find_refiner(name)
                if refiner.learned and followed_by(refiner, net, boundaries) == refiner.needs:
                    logger.warning(
                        "%s follows the attention of this network as it is, which has learned no affinity: train one "
                        "that has with --recipe afa",
                        name,
                    )
        if net is not None and "maps" in labeller.needs:
            # also of the refiners, which the trial leaves out
            require_attention(self.method, self.refine, net, boundaries)
            side = min(self.scales)
            noise = torch.randint(256, (3, side, side), generator=torch.Generator().manual_seed(0))
            trial = replace(self, refine=(), scales=(side,), flip=False)
            trial.maps(net, noise.to(torch.uint8), [0])

    def maps(
        self, net: nn.Module, photo: Tensor, present: list[int], *, boundaries: nn.Module | None = None
    ) -> Tensor:
        """Refined maps of one photo's classes, each divided by its own peak.

        Where the paper of the method, or of the last refiner on patches, says so, the minimum is subtracted first.

        Args:
            net: a network of ours: photos in 0–255, with `patch`, of which photo sides are made multiples.
            photo: (3,H,W) uint8.
            present: class indices, K of them.
            boundaries: a network that has learned class boundaries, which walk-irn follows; None: `net`, if it has.

        Returns:
            (1,K,h,w) float32 in [0,1] on the network's device: h × w is the grid of the maps, or after a refiner that
            looks at the photo the size of the photo, or of its copy of 500 if it is larger.

        Raises:
            InputError: as `check`; or an affinity is asked of a network without attention.
            CaptureError: the method cannot read the network.
        """
        if not present:
            size = seen_size(photo.shape[-2], photo.shape[-1])
            return torch.zeros(1, 0, *size, device=next(net.parameters()).device)
        require_attention(self.method, self.refine, net, boundaries)
        if callable(told := getattr(net, "told", None)):  # scores are shares among the words of a photo
            net, present = told(present)
        network: Any = net
        chosen, chain = find_method(self.method), find_chain(self.refine)
        image = photo.to(next(net.parameters()).device, torch.float32)[None]
        sizes = [fit_patches(photo.shape[-2], photo.shape[-1], side, network.patch) for side in self.scales]
        found = multiscale(
            lambda resized: chosen.make(net, resized, [present], **self.method_options),
            image, sizes, flip=self.flip,
        )  # fmt: skip
        if chosen.from_zero:
            found = min_max(found)
        on_patches = [name for name, refiner in zip(self.refine, chain) if refiner.needs in FOLLOWED]
        on_photo = self.refine[len(on_patches) :]  # `find_chain` has put them last
        if on_patches:
            found = refine_patches(
                on_patches, net, image, found, longest=max(self.scales), boundaries=boundaries
            )
        if not on_photo:
            return scale_to_peak(found)
        return refine_at_scale(
            lambda small, maps: refine(on_photo, maps, images=small), shrunk(image), found, scale=PAMR_SCALE
        )

    def label(
        self,
        net: nn.Module,
        photo: Tensor,
        present: list[int],
        saliency: Tensor | None,
        *,
        boundaries: nn.Module | None = None,
    ) -> Tensor:
        """Pseudo label of one photo whose tags are known; without a tag all of it is background.

        A photo larger than 500 is labelled as its copy of 500, and the label enlarged: numbers of refiners and rules
        that are pixels mean the same on every photo, and memory hardly grows with its size.

        Args:
            net, photo, present, boundaries: as `maps`.
            saliency: (H,W) float in [0,1], or None.

        Returns:
            (H,W) uint8: 0 background, class index + 1, 255 undecided; int32 beyond 254 classes, 65535 undecided.

        Raises:
            InputError, CaptureError: as `maps` and `check`; or saliency that is not finite.
        """
        if not present:
            classes: Any = net.classes
            return torch.zeros(photo.shape[-2:], dtype=torch_label_dtype(len(classes)))
        found = self.evidence(net, photo, present, saliency, boundaries=boundaries)
        return enlarged(self.decide(found), (photo.shape[-2], photo.shape[-1]))

    def evidence(
        self,
        net: nn.Module,
        photo: Tensor,
        present: list[int],
        saliency: Tensor | None,
        *,
        boundaries: nn.Module | None = None,
    ) -> Evidence:
        """What the labeller decides on, made once however many thresholds are tried; `present` has a class at least.

        Arguments and errors as `label`.
        """
        require_finite(saliency=saliency)  # before a comparison makes background of NaN
        name = self.labeller(saliency=saliency is not None)
        image = shrunk(photo.to(next(net.parameters()).device, torch.float32)[None])
        salient = None if saliency is None else shrunk(saliency.to(image.device)[None, None])[:, 0]
        maps = None
        if "maps" in find_labeller(name).needs:
            maps = self.maps(net, photo, present, boundaries=boundaries)
            if maps.shape[-2:] != image.shape[-2:]:
                maps = refine_at_scale(photo_sized, image, maps)
        classes = torch.tensor([present], device=image.device)
        known: Any = net.classes
        return Evidence(classes, image, maps, salient, len(known))

    def decide(self, found: Evidence) -> Tensor:
        """The labeller on evidence, with its options: (h,w) of the evidence's size, uint8 or as `label_among` says."""
        name = self.labeller(saliency=found.saliency is not None)
        return label_with(
            name, found.classes, count=found.count, maps=found.maps, images=found.image, saliency=found.saliency,
            options=self.all_label_options(saliency=found.saliency is not None),
        )[0]  # fmt: skip

    def confidences(self, found: Evidence, label: Tensor, classes: Sequence[str]) -> dict[str, float]:
        """Class name → how sure the rule is of the pixels it painted so, in [0,1]: `getam.labels.confidence`.

        Args:
            found: the evidence.
            label: (h,w) uint8, what `decide` made of it.
            classes: names of all classes.
        """
        saliency, own = found.saliency, found.classes[0]
        if found.maps is None and len(own) != 1:
            return {}  # saliency alone says nothing of several classes
        beliefs = label_beliefs(
            self.labeller(saliency=saliency is not None),
            None if found.maps is None else found.maps[0],
            None if saliency is None else saliency[0],
            self.all_label_options(saliency=saliency is not None),
        )
        return confidences(
            beliefs.cpu(), slots_of(label, own).cpu(), [classes[number] for number in own.tolist()]
        )

    def all_label_options(self, *, saliency: bool) -> dict[str, Any]:
        """The options the labeller is called with, besides its own defaults."""
        name, own = self.labeller(saliency=saliency), {}
        if name == "completion":
            own = {"salient": SALIENT}
        elif name == "free" and self.method in FREE_LEVELS and not {*LEVELS} & {*self.label_options}:
            own = dict.fromkeys(LEVELS, FREE_LEVELS[self.method])
        return {**own, **self.label_options}
