"""The embedded model on a made photo: does the whole of it work here, and how fast?"""

from __future__ import annotations

import time
from collections.abc import Iterator

from getam.verbs.doctor.finding import Finding

SIDE = 192


def trial() -> Iterator[Finding]:
    """Seconds to load the model that comes with the package, and to segment a photo with it."""
    import torch

    from getam.engine.model import load_segmenter
    from getam.nets.masks import segment

    began = time.monotonic()
    net = load_segmenter()
    loaded = time.monotonic()
    across = torch.linspace(0, 255, SIDE)
    colours = (
        across.expand(SIDE, SIDE),
        across[:, None].expand(SIDE, SIDE),
        across.flip(0).expand(SIDE, SIDE),
    )
    photo = torch.stack(colours)
    label = segment(net, photo.to(torch.uint8))
    done = time.monotonic()
    if label.shape != (SIDE, SIDE) or int(label.max()) > len(net.classes):
        raise RuntimeError(f"a photo of {SIDE}×{SIDE} has become a mask of {tuple(label.shape)}")
    yield Finding(
        "trial",
        "embedded model",
        f"loaded in {loaded - began:.1f} s, a photo segmented in {done - loaded:.1f} s",
    )
