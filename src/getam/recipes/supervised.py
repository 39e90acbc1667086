"""True masks of all photos, the ceiling of what tags alone can do; or of some, and the tags of all.

A photo without a mask has no decided pixel: it teaches its tags, and the means over pixels do not count it, unless
undecided pixels have partial labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from getam.data.class_mix import class_mix
from getam.losses.classification import classification_loss
from getam.losses.cross_entropy import pixel_loss
from getam.recipes.base import Config


class SupervisedConfig(Config):
    """Options of learning from masks beside the common ones."""

    gce: float = Field(default=0.0, ge=0, le=1)  # q of the generalised cross-entropy; 0 is the cross-entropy
    class_mix: float = Field(default=0.0, ge=0, le=1)  # share of the photos that get objects of another one
    partial_labels: bool = False  # undecided pixels are background or of one of the photo's tags, and count


class SupervisedRecipe:
    """Masks in, a segmenter out: cross-entropy over the labelled pixels, and the class score from the tags."""

    name = "supervised"
    needs: tuple[str, ...] = ("mask",)
    uses: tuple[str, ...] = ()
    labelled_by = ""
    config_type = SupervisedConfig
    presets: dict[str, dict[str, Any]] = {"light": {}}  # noqa: RUF012

    def losses(
        self, net: nn.Module, batch: Mapping[str, Tensor], progress: float, config: SupervisedConfig
    ) -> dict[str, Tensor]:
        """Pixel cross-entropy over what the masks decide, 0 where that is nothing, plus L_cls of every photo.

        With `partial_labels` also over what they leave undecided: nothing untagged is there.
        """
        images, masks, tags, known = batch["image"], batch["mask"], batch["tags"], batch.get("known")
        compared = known  # with which classes the pixels of a photo were compared
        if config.class_mix:
            images, masks, tags = class_mix(images, masks, tags, config.class_mix)
            if known is not None:
                pasted = (masks != batch["mask"]).flatten(1).any(1)
                compared = known & (known.roll(1, 0) | ~pasted[:, None])  # of the photo and of what is pasted
                known = known | (tags > 0)  # what was pasted is there
        possible = tags > 0 if known is None else (tags > 0) | ~known
        scores, logits = net(images)
        return {
            "cls": classification_loss(scores, tags, known),
            "pixel": pixel_loss(
                logits,
                masks,
                config.gce,
                compared,
                (possible, batch["roi"]) if config.partial_labels else None,
            ),
        }
