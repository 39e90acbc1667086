"""One network behind the service: uploads → prepared photos → masks of a batch, and maps of one photo."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from getam.data.masks import LabelMap
from getam.data.photos import as_tensor
from getam.engine.device import AUTO, choose_device
from getam.engine.model import load_segmenter
from getam.engine.weights_hash import weights_hash
from getam.label_numbers import Among
from getam.maps.registry import find_method
from getam.nets.embedded import embedded_model
from getam.nets.inference import batch_logits, shrunk_photo
from getam.nets.masks import decisive, named_mask
from getam.opened.subject import Subject
from getam.opened.usual_chain import usual_method
from getam.photo_size import WORK_SIDE, fit_patches, require_sides, seen_size
from getam.report.photo_maps import PhotoMaps
from getam.service.uploads import Limits, decode_upload

TIE = 1e-4
"""A photo of a batch is decided again alone where the two best values of a pixel are nearer than this: batched logits
differ in the last bits (3e-6 measured), after the CRF by up to 2e-5."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A photo to be segmented.

    Attributes:
        photo: (3,h,w) uint8, as `getam predict` looks at it.
        size: (height, width) of its mask.
        present: indices of the only classes that it may show; None: any.
    """

    photo: Tensor
    size: tuple[int, int]
    present: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Mask:
    """What `getam predict` writes of a photo.

    Attributes:
        label: (H,W) uint8: 0 background, class index + 1; uint16 beyond 254 classes.
        confidences: class name → mean probability of its pixels.
    """

    label: LabelMap
    confidences: dict[str, float]


class ServedNetwork:
    """A trained segmenter and how it is asked; its methods may be called by several threads at once.

    Args:
        model: run folder or model file; None for the embedded model.
        scales, flip, crf, device: as of `getam predict`.
        limits: of uploads.

    Attributes:
        classes: names without background.
        weights_sha256: of its tensors.

    Raises:
        InputError: no such model or device, one without masks, or scales that are none.
        WeightsError: the file is no model of getam.
    """

    def __init__(
        self,
        model: Path | None = None,
        *,
        scales: Sequence[int] | None = None,
        flip: bool = False,
        crf: bool = True,
        device: str = AUTO,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        if scales is not None:
            require_sides(scales)
        self._net = load_segmenter(model, device=choose_device(device))
        self._subject = Subject(self._net)
        self._method = find_method(usual_method(model))
        self._scales, self._flip, self._crf = tuple(scales or (self._net.side,)), flip, crf
        self.limits = limits
        self.classes = self._net.classes
        self.weights_sha256 = weights_hash(model or embedded_model())

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on the processor."""
        return self._subject.device.type == "cpu"

    def prepare(self, content: bytes, tags: Sequence[str] | None = None) -> Prepared:
        """An upload to be segmented, and what it shows, where that is known: no other class is looked for.

        Raises:
            RefusedError: it is not taken.
            InputError: a tag is none of the classes.
        """
        present = None if tags is None else tuple(map(self._subject.names().index, tags))
        largest = max(WORK_SIDE, *self._scales)
        photo, size = decode_upload(content, self.limits, largest)
        return Prepared(shrunk_photo(as_tensor(photo), largest), size, present)

    def key(self, prepared: Prepared) -> Hashable:
        """Photos of the same may share a batch: those the network sees at one size, and that are decided at their own.

        A mask that is enlarged has a border between any two classes where a rounding decides: such photos go alone.
        """
        height, width = prepared.photo.shape[-2:]
        if prepared.size != (seen_size(height, width) if self._crf else (height, width)):
            return prepared
        return tuple(fit_patches(height, width, side, self._net.patch) for side in self._scales)

    def masks(self, batch: Sequence[Prepared]) -> list[Mask | Exception]:
        """The masks of photos of one `key`, the same as `getam predict` makes of each alone."""
        photos = [each.photo for each in batch]
        masks: list[Mask | Exception] = []
        for each, logits in zip(batch, batch_logits(self._net, photos, self._scales, flip=self._flip)):
            among = Among(self.classes, each.present)
            beliefs, values = decisive(among.of(logits), each.photo, crf=self._crf)
            if len(batch) > 1 and has_ties(values):
                masks += self.masks([each])
                continue
            masks.append(Mask(*named_mask(beliefs, values, each.size, among)))
        return masks

    def prepare_whole(self, content: bytes) -> Tensor:
        """An upload to be explained: (3,h,w) uint8, as `getam explain` looks at it. Raises `RefusedError`."""
        photo, _ = decode_upload(content, self.limits, None)
        return shrunk_photo(as_tensor(photo), max(WORK_SIDE, self._subject.preprocessing.long_side))

    def maps(self, photo: Tensor, classes: Sequence[str], *, refine: bool) -> PhotoMaps:
        """Maps of a prepared photo, by the method the network's recipe is best read with, ready to be drawn.

        Args:
            photo: of `prepare_whole`.
            classes: names; none: those the network finds.
            refine: spread the pictures along the photo's edges.

        Raises:
            InputError: no such class.
        """
        names = self._subject.names()
        image = self._subject.prepare(photo)
        wanted = list(dict.fromkeys(map(names.index, classes))) or self._subject.present(image)[0]
        maps = PhotoMaps.of(self._method.make(self._net, image, [wanted]), names, photo)
        maps.heat(refine=refine)
        return maps


def has_ties(values: Tensor) -> bool:
    """Whether the two best of some pixel's values (C+1,h,w) are nearer than `TIE`.

    >>> import torch
    >>> has_ties(torch.tensor([[[0.3, 0.5]], [[0.7, 0.5]]])), has_ties(torch.tensor([[[0.3]], [[0.7]]]))
    (True, False)
    """
    best, second = values.topk(2, dim=0).values
    return bool((best - second < TIE).any())
