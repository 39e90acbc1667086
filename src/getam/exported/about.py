"""What an exported network says about itself in its file: all that is needed to use it without getam."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from getam.errors import WeightsError
from getam.photo_size import SINGLE_SCALE

FORMAT = "getam-exported-1"
"""Under `format`: how the other keys are to be read."""

INPUT = "images (N,3,H,W) float32: RGB in 0 to 255, upright; H and W multiples of the patch; the network normalises"
OUTPUT = (
    "logits (N,C+1,H,W) of pixels in the order of labels, of which the largest is a pixel's; scores (N,C) of the "
    "classes without background, above 0 where a class is more likely in the photo than not"
)
RESIZING = (
    "shrink the photo to a long side of at most 1000, then to the long side wanted (`long_side` is getam's), shape "
    "kept, both sides rounded to multiples of the patch, each time bilinearly with antialiasing; enlarge the logits "
    "bilinearly (pixel centres aligned) to the photo"
)
UNKNOWN_LICENCE = "not stated"


@dataclass(frozen=True)
class About:
    """One network's metadata.

    Attributes:
        labels: what the channels of the logits mean, "background" first.
        patch: both sides of a photo are multiples of this many pixels.
        mean, std: of the red, green and blue that the network normalises with, in 0–255; it does so itself.
        version: of getam.
        weights_sha256: of the tensors it was made from, as `getam.engine.weights_hash.weights_hash` has it.
        licence: of the weights.
        quantised: how its numbers were rounded; empty: not at all.
        side: long side at which it sees a photo unless told otherwise.
    """

    labels: tuple[str, ...]
    patch: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    version: str
    weights_sha256: str
    licence: str = UNKNOWN_LICENCE
    quantised: str = ""
    side: int = SINGLE_SCALE[0]

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels without background."""
        return self.labels[1:]

    def as_metadata(self) -> dict[str, str]:
        """Key → text, as files keep it; what is no text is JSON."""
        return {
            "format": FORMAT,
            "getam_version": self.version,
            "labels": json.dumps(list(self.labels), ensure_ascii=False),
            "input": INPUT,
            "output": OUTPUT,
            "patch": str(self.patch),
            "mean": json.dumps(list(self.mean)),
            "std": json.dumps(list(self.std)),
            "resizing": RESIZING,
            "long_side": str(self.side),
            "licence": self.licence,
            "weights_sha256": self.weights_sha256,
            "quantised": self.quantised,
        }

    @classmethod
    def from_metadata(cls, found: Mapping[str, str], name: str) -> About:
        """The inverse of `as_metadata`.

        Args:
            found: key → text.
            name: what the error calls the file.

        Raises:
            WeightsError: not written by `getam export`, or damaged.
        """
        if found.get("format") != FORMAT:
            raise WeightsError(
                f"{name} is no network that getam has exported (no {FORMAT} in its metadata): make one with `getam "
                "export`"
            )
        try:
            about = cls(
                tuple(map(str, json.loads(found["labels"]))), int(found["patch"]),
                tuple(map(float, json.loads(found["mean"]))), tuple(map(float, json.loads(found["std"]))),
                found["getam_version"], found["weights_sha256"], found["licence"], found["quantised"],
                int(found.get("long_side", SINGLE_SCALE[0])),  # which files of before do not name
            )  # fmt: skip
        except (KeyError, ValueError, TypeError) as error:
            raise WeightsError(
                f"the metadata of {name} are incomplete or damaged ({error}): export the network again"
            ) from None
        if len(about.labels) < 2 or min(about.patch, about.side) < 1:
            raise WeightsError(
                f"the metadata of {name} name {len(about.labels)} labels, a patch of {about.patch} and a long side of "
                f"{about.side}: export the network again"
            )
        return about
