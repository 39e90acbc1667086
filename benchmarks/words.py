"""What words reach against tags: two small networks on the demo's scenes, one taught by captions, one by tags.

    python benchmarks/words.py WORK --out docs/measured/words.json

Trains both (`captions.py`; 5 CPU minutes in all; WORK keeps the weights, and a second call only scores), then
measures maps of the digits of scenes that neither has seen, in four groups: pairs of digits that training scenes have
or have not, digits and textures of the training scenes or of the last writers and the right third of the photos.
Thresholds are chosen on other scenes of the group (`CrossFitted`); brackets are 95 % intervals over scenes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from captions import (
    BATCH,
    DIGITS,
    MEAN,
    PAPERS,
    SIDE,
    STD,
    STEPS,
    ImageText,
    Scene,
    relation,
    tokenise,
    tower,
    train,
)
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from getam.metrics.bootstrap import difference_interval, interval
from getam.metrics.confusion import confusion_matrix, hits_and_unions, mean_iou
from getam.metrics.crossed import CrossFitted
from getam.nets.classifier import Classifier
from getam.nets.network import Network
from getam.nets.words import word_classifier
from getam.pipeline import Pipeline
from getam.refine.scaled import refine_maps
from getam.report.overlay import heat_overlay

SCENES = 128  # of each group
SEED = 1  # scenes of training have seed 0
GROUPS = {
    "pairs and writers of training": ("train", False),
    "new pairs": ("train", True),
    "new writers": ("test", False),
    "new pairs, new writers": ("test", True),
}
TEMPLATES = ("{}", "a photo of {}", "a drawing of {}")
CHAINS = {
    "getam": Pipeline("getam", (), options={"coupling": "attn_grad", "start": 0}, scales=(SIDE,), flip=False),
    "gradcam": Pipeline("gradcam", (), scales=(SIDE,), flip=False),
}
ZOOM = 3  # of the picture
PAMR = 20  # iterations at the size of the scene, as in the demo; 0: the enlarged maps
OPPOSITE = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}


def networks(work: Path) -> dict[str, Network]:
    """The network of tags, and that of captions with and without the names of the textures as background words."""
    model = tower(len(DIGITS))
    model.load_state_dict(load_file(work / "tags.safetensors"))
    model.pretrained_cfg = {
        kind: [v / 255 for v in values] for kind, values in (("mean", MEAN), ("std", STD))
    }
    names = [f"a {digit}" for digit in DIGITS]
    both = image_text(work)
    words = {
        kind: word_classifier(
            both, tokenise, names, background=background, templates=TEMPLATES, side=SIDE, mean=MEAN, std=STD
        )
        for kind, background in (("words", ()), ("words, background", PAPERS))
    }
    return {kind: net.eval() for kind, net in {"tags": Classifier(model, DIGITS), **words}.items()}


def image_text(work: Path) -> ImageText:
    model = ImageText()
    model.load_state_dict(load_file(work / "words.safetensors"))
    return model.eval()


def scenes(split: Any, held_out: bool, number: int) -> list[Scene]:
    """The first scenes of two different digits that belong to a group."""
    endless = (Scene(split, SEED, index) for index in count())
    return list(islice((s for s in endless if s.pair and s.held_out == held_out), number))


def chains(
    nets: dict[str, Network], pixels: torch.Tensor, digits: list[int]
) -> dict[str, NDArray[np.float32]]:
    """Maps (2,S,S) in [0,1] of a scene's digits, by "network, method, refiners"."""
    found: dict[str, torch.Tensor] = {}
    for kind, net in nets.items():
        for method, plain in CHAINS.items():
            for refine in ((), ("class-aware",)):
                chain = Pipeline(method, refine, scales=plain.scales, flip=plain.flip, options=plain.options)
                found["+".join((f"{kind}: {method}", *refine))] = chain.maps(net, pixels, digits)
    stacked, image = torch.cat(list(found.values()), 1), pixels.float()[None]
    result: dict[str, NDArray[np.float32]] = {}
    for suffix, iterations in (("", 0), ("+pamr", PAMR)):
        refined = refine_maps(image, stacked, iterations=iterations)[0].clamp(0, 1).numpy()
        result |= {f"{name}{suffix}": maps for name, maps in zip(found, refined.reshape(-1, 2, SIDE, SIDE))}
    return result


def score_maps(
    maps: Sequence[NDArray[np.float32]], ids: list[list[int]], truths: list[NDArray[np.uint8]]
) -> Any:
    """Hits and unions (N,2,C+1) of every scene at the threshold that the other half has chosen, and both thresholds."""
    sweep = CrossFitted(len(DIGITS))
    for number, (its, labels, truth) in enumerate(zip(maps, ids, truths)):
        sweep.update(number, its, labels, truth)
    thresholds = sweep.compute().thresholds
    counts = []
    for number, (its, labels, truth) in enumerate(zip(maps, ids, truths)):
        label = np.where(its.max(0) >= thresholds[number % 2], np.array(labels)[its.argmax(0)], 0)
        counts.append(hits_and_unions(confusion_matrix(label, truth, len(DIGITS))))
    return np.stack(counts), thresholds


@torch.no_grad()
def recognised(nets: dict[str, Network], model: ImageText, group: list[Scene]) -> dict[str, float]:
    """Share of scenes whose two digits have the two highest scores; and whose order the caption model reads."""
    painted = [scene.paint() for scene in group]
    images = torch.from_numpy(np.stack([pixels for pixels, _ in painted])).float()
    wanted = torch.tensor([sorted(scene.digits) for scene in group])
    found = {}
    for kind in ("tags", "words"):
        best = nets[kind](images).topk(2).indices.sort(1).values
        found[f"both digits, {kind}"] = float((best == wanted).all(1).float().mean())
    told = []
    for scene, (_, mask) in zip(group, painted):
        first, second = scene.digits
        word = relation(mask, first, second)
        told += [f"a {DIGITS[first]} {how} a {DIGITS[second]}" for how in (word, OPPOSITE[word])]
    photo = F.normalize(model.encode_image((images - MEAN[0]) / STD[0]), dim=-1)
    text = F.normalize(model.encode_text(tokenise(told)), dim=-1).unflatten(0, (-1, 2))
    right, wrong = (text * photo[:, None]).sum(-1).T
    found["order of the digits, words"] = float((right > wrong).float().mean())
    return found


def score_group(
    nets: dict[str, Network], model: ImageText, split: Any, held_out: bool, number: int
) -> dict[str, Any]:
    group = scenes(split, held_out, number)
    rows: dict[str, list[NDArray[np.float32]]] = {}
    ids, truths = [], []
    for scene in group:
        pixels, mask = scene.paint()
        for name, maps in chains(nets, torch.from_numpy(pixels), scene.digits).items():
            rows.setdefault(name, []).append(maps)
        ids.append([digit + 1 for digit in scene.digits])
        truths.append(mask)
    counts = {name: score_maps(maps, ids, truths) for name, maps in rows.items()}
    result: dict[str, Any] = recognised(nets, model, group)
    for name, (own, thresholds) in counts.items():
        kind, chain = name.split(": ")
        result[name] = {
            "miou": float(mean_iou(own.sum(0))),
            "interval": interval(own),
            "thresholds": thresholds,
        }
        if kind != "tags":
            tags = counts[f"tags: {chain}"][0]
            result[name]["minus tags"] = result[name]["miou"] - float(mean_iou(tags.sum(0)))
            result[name]["minus tags interval"] = difference_interval(own, tags)
    return result


def picture(nets: dict[str, Network], file: Path, shown: int = 4) -> None:
    """Scenes of new pairs by new writers, and where the words for their digits are, one scene a row."""
    group = scenes("test", True, shown)
    sheet = Image.new("RGB", (3 * ZOOM * SIDE + 20, shown * (ZOOM * SIDE + 24)), "white")
    write = ImageDraw.Draw(sheet)
    for row, scene in enumerate(group):
        pixels, mask = scene.paint()
        heat = chains({"words": nets["words"]}, torch.from_numpy(pixels), scene.digits)["words: getam+pamr"]
        photo = pixels.transpose(1, 2, 0)
        first, second = scene.digits
        told = f"a {DIGITS[first]} {relation(mask, first, second)} a {DIGITS[second]}"
        tiles = [
            (photo, told),
            *((heat_overlay(photo, its), f"a {DIGITS[d]}") for its, d in zip(heat, scene.digits)),
        ]
        for column, (tile, title) in enumerate(tiles):
            place = (column * (ZOOM * SIDE + 10), row * (ZOOM * SIDE + 24))
            sheet.paste(
                Image.fromarray(tile).resize((ZOOM * SIDE,) * 2, Image.Resampling.NEAREST),
                (place[0], place[1] + 16),
            )
            write.text(place, title, "black")
    sheet.save(file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "work", type=Path, help="folder for the weights; those that are there are not trained again"
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for kind in ("words", "tags"):
        file = options.work / f"{kind}.safetensors"
        if not file.exists():
            train(kind, file, options.steps)
    torch.set_num_threads(1)
    training = {kind: json.loads((options.work / f"{kind}.json").read_text()) for kind in ("words", "tags")}
    protocol = {"scenes": options.scenes, "seed": SEED, "size": SIDE, "batch": BATCH, "templates": TEMPLATES,
                "pamr_iterations": PAMR, "training": training}  # fmt: skip
    result: dict[str, Any] = {"protocol": protocol}
    nets, model = networks(options.work), image_text(options.work)
    picture(nets, options.out.with_suffix(".png"))
    for name, (split, held_out) in GROUPS.items():
        result[name] = score_group(nets, model, split, held_out, options.scenes)
        options.out.write_text(json.dumps(result, indent=1) + "\n")  # kept after every group
        print(
            name,
            {
                row: round(its["miou"], 3) if isinstance(its, dict) else its
                for row, its in result[name].items()
            },
        )


if __name__ == "__main__":
    main()
