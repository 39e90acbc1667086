"""Segmenting a folder: against a bare forward with reading and writing, and with the CRF against without it."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from label import write_folder
from PIL import Image
from rows import Row
from scene import Scale

import getam
from getam.engine.model import load_segmenter

BAR = 1.3


def measure(scale: Scale) -> list[Row]:
    """Rows: `predict` without and with the CRF, against the bare loop over the same photos, in turns."""
    count = 2 * scale.folder
    found: dict[str, list[float]] = {"bare": [], "predict": [], "CRF": []}
    with tempfile.TemporaryDirectory() as temporary:
        photos = Path(temporary) / "photos"
        photos.mkdir()
        write_folder(photos, count, scale.photo, ("cat", "dog"))
        for turn in range(scale.repeats + 1):  # the first warms up
            out = Path(temporary) / f"out{turn}"
            seconds = {
                "bare": _timed(bare, photos, out / "bare"),
                "predict": _timed(getam.predict, photos, out=out / "plain", crf=False),
                "CRF": _timed(getam.predict, photos, out=out / "crf", crf=True),
            }
            print(
                f"  {turn}/{scale.repeats} " + ", ".join(f"{n} {s:.2f} s" for n, s in seconds.items()),
                flush=True,
            )
            for name, its in seconds.items():
                found[name].extend([its] if turn else [])
    each = {name: median(its) / count for name, its in found.items()}
    size = f"{scale.photo[0]}×{scale.photo[1]}"
    return [
        Row("predict", f"predict: {count} photos of {size}, against a bare forward with reading and writing",
            each["predict"] / each["bare"], bar=BAR,
            detail=f"{each['predict']:.3g} s / {each['bare']:.3g} s a photo, model and summary included"),
        Row("predict", "predict: the same with the CRF, against without it", each["CRF"] / each["predict"],
            detail=f"{each['CRF']:.3g} s / {each['predict']:.3g} s a photo"),
    ]  # fmt: skip


@torch.no_grad()
def bare(photos: Path, out: Path) -> None:
    """The shortest honest loop: read, resize, forward, enlarge, arg-max, write."""
    net = load_segmenter()
    out.mkdir(parents=True)
    for file in sorted(photos.glob("*.jpg")):
        with Image.open(file) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float()
        height, width = pixels.shape[-2:]
        scale = net.side / max(height, width)
        size = [round(side * scale / net.patch) * net.patch for side in (height, width)]
        logits = net(F.interpolate(pixels, size=size, mode="bilinear", antialias=True)).logits
        assert logits is not None
        label = F.interpolate(logits, size=(height, width), mode="bilinear")[0].argmax(0)
        Image.fromarray(label.numpy().astype(np.uint8)).save(out / f"{file.stem}.png")


def _timed(call: Callable[..., object], *given: object, **options: object) -> float:
    began = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):
        call(*given, **options)
    return time.perf_counter() - began
