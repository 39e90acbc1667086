"""The demo's scenes with captions, and two small networks taught by them: one by the captions, one by tags.

A caption says "a three above a seven on bricks" of a scene, or less of it. Pairs of digits whose sum is a multiple of
five are in no training scene.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from timm.layers import HybridEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from getam.verbs.demo.digit_bank import Split, ink_bank, stream_number, textures
from getam.verbs.demo.digits import DRAWS, compose

SIDE, BATCH, STEPS, LR = 64, 32, 1600, 1e-3
ALONE = 0.3  # of the scenes, the first, show one digit: without them the captions' textures are learned, no digits
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PAPERS = ("temple", "flower", "astronaut", "bricks", "cameraman", "coffee", "coins", "grass", "gravel", "tissue",
          "rocket")  # fmt: skip
"""What the textures of `digit_bank` show, in its order."""
FIRST = ("a photo of", "a drawing of")  # half of the captions begin so
GRAMMAR = ("a", "and", "above", "below", "left", "right", "of", "on", "photo", "drawing")
VOCABULARY = ("", *GRAMMAR, *DIGITS, *PAPERS)
LENGTH = 12  # words of the longest caption, and one to spare
DIM = 64  # of the shared embeddings
MEAN, STD = (60.0,) * 3, (60.0,) * 3  # about those of the scenes


class Scene:
    """One scene with two digits or one: pixels, which digits, where, on what."""

    def __init__(self, split: Split, seed: int, index: int) -> None:
        stream = np.random.PCG64([stream_number(split), seed, index])
        self.draws = np.random.Generator(stream).random(sum(DRAWS.values()))
        self.split = split
        self.index = index
        first = DRAWS["background"]
        count = 2 if self.draws[5] < 0.5 else 1
        self.digits = [int(self.draws[first + 5 * i] * 10) for i in range(count)]
        self.paper = PAPERS[int(self.draws[0] * len(PAPERS))]

    @property
    def pair(self) -> bool:
        return len(set(self.digits)) == 2

    @property
    def held_out(self) -> bool:
        """Whether no training scene has these two digits together."""
        return self.pair and sum(self.digits) % 5 == 0

    def paint(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Pixels (3,S,S) and mask (S,S)."""
        found = compose(ink_bank(self.split, SIDE), textures(self.split), SIDE, self.draws)
        return found.image, found.mask


def relation(mask: NDArray[np.uint8], first: int, second: int) -> str:
    """How the first digit lies to the second, along the axis on which they are further apart."""
    centres = [np.argwhere(mask == digit + 1).mean(0) for digit in (first, second)]
    down, across = centres[0] - centres[1]
    if abs(down) > abs(across):
        return "above" if down < 0 else "below"
    return "left of" if across < 0 else "right of"


def caption(scene: Scene, mask: NDArray[np.uint8], random: np.random.Generator) -> str:
    """What is written about a scene: its digits or one of them, mostly how they lie, sometimes on what."""
    digits = [scene.digits[i] for i in random.permutation(len(scene.digits))]
    names = [f"a {DIGITS[digit]}" for digit in digits]
    text = names[0]
    if len(names) == 2 and random.random() < 0.7:
        told = scene.pair and random.random() < 0.7
        text = f"{names[0]} {relation(mask, *digits) if told else 'and'} {names[1]}"
    if random.random() < 0.3:
        text = f"{FIRST[int(random.integers(len(FIRST)))]} {text}"
    if random.random() < 0.25:
        text = f"{text} on {scene.paper}"
    return text


def tokenise(texts: Sequence[str]) -> Tensor:
    """(T, LENGTH) int64, 0 after the last word."""
    rows = [[VOCABULARY.index(word) for word in text.split()] for text in texts]
    return torch.tensor([row + [0] * (LENGTH - len(row)) for row in rows])


def training_scenes(seed: int, alone: int) -> Iterator[tuple[NDArray[np.uint8], list[int], str]]:
    """Pixels, digits and caption of scene after scene, without the held-out pairs; the first `alone` show one digit."""
    random = np.random.default_rng(seed)
    shown = 0
    for index in count():
        scene = Scene("train", seed, index)
        if scene.held_out or (shown < alone and len(scene.digits) > 1):
            continue
        pixels, mask = scene.paint()
        shown += 1
        yield pixels, scene.digits, caption(scene, mask, random)


def tower(outputs: int) -> VisionTransformer:
    """Five convolutions, so that a patch sees a whole digit, then 3 blocks of width 64 over 8×8 patches."""
    layers = ((3, 24, 2), (24, 48, 2), (48, 64, 2), (64, 64, 1), (64, 64, 1))  # channels in and out, stride
    stem = nn.Sequential(
        *(
            nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b, stride in layers
        )
    )
    return VisionTransformer(
        img_size=SIDE, patch_size=1, embed_dim=64, depth=3, num_heads=4, num_classes=outputs,
        embed_layer=partial(HybridEmbed, backbone=stem),
    )  # fmt: skip


class ImageText(nn.Module):
    """The image side and a transformer of two layers over the words of a caption."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = tower(DIM)
        self.words = nn.Embedding(len(VOCABULARY), 64)
        self.places = nn.Parameter(torch.randn(LENGTH, 64) * 0.1)
        layer = nn.TransformerEncoderLayer(64, 4, 128, 0.0, "gelu", batch_first=True, norm_first=True)
        self.text = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.project = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, DIM))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, images: Tensor) -> Tensor:
        return self.visual(images)

    def encode_text(self, tokens: Tensor) -> Tensor:
        empty = tokens == 0
        read = self.text(self.words(tokens) + self.places, src_key_padding_mask=empty)
        present = (~empty)[..., None].float()
        return self.project((read * present).sum(1) / present.sum(1))

    def loss(self, images: Tensor, captions: list[str]) -> Tensor:
        """Symmetric cross-entropy over the batch (CLIP); scenes with the same caption share it."""
        kinds = sorted(set(captions))
        photo = F.normalize(self.encode_image(images), dim=-1)
        text = F.normalize(self.encode_text(tokenise(kinds)), dim=-1)[[kinds.index(c) for c in captions]]
        logits = self.logit_scale.clamp(max=math.log(100)).exp() * photo @ text.T
        same = torch.tensor([[float(a == b) for b in captions] for a in captions])
        target = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def normalised(pixels: Sequence[NDArray[np.uint8]]) -> Tensor:
    return (torch.from_numpy(np.stack(pixels)).float() - MEAN[0]) / STD[0]


def train(kind: str, file: Path, steps: int) -> dict[str, Any]:
    """Train one of the two on the same scenes in the same order; weights go to `file`."""
    torch.manual_seed(0)
    model: Any = ImageText() if kind == "words" else tower(len(DIGITS))
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=LR, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=steps, pct_start=0.03)
    scenes = training_scenes(0, int(ALONE * steps * BATCH))
    began, clock, losses = time.process_time(), time.monotonic(), []
    for step in range(steps):
        pixels, digits, captions = zip(*islice(scenes, BATCH))
        images = normalised(pixels)
        if kind == "words":
            loss = model.loss(images, list(captions))
        else:
            tags = torch.zeros(BATCH, len(DIGITS))
            for row, shown in zip(tags, digits):
                row[shown] = 1
            loss = F.binary_cross_entropy_with_logits(model(images), tags)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            spent = time.process_time() - began
            print(
                f"{kind} {step + 1}/{steps} loss {np.mean(losses[-100:]):.3f} CPU {spent:.0f} s", flush=True
            )
    save_file(model.state_dict(), file)
    record = {"steps": steps, "batch": BATCH, "cpu_s": round(time.process_time() - began),
              "clock_s": round(time.monotonic() - clock), "loss": float(np.mean(losses[-100:]))}  # fmt: skip
    file.with_suffix(".json").write_text(json.dumps(record))
    return record
