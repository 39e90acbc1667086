"""The verbs as the parser sees them: where each lives, what it says in a line, how it is called.

`getam --help` needs the summaries only, `getam VERB --help` a signature read from source: torch, which takes seconds to
load, is there when a verb runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from getam.cli_groups import in_groups
from getam.cli_signature import declared


@dataclass(frozen=True)
class Verb:
    """One verb.

    Attributes:
        module, function: where it is.
        summary: the first line of its docstring.
        examples: command lines, each with what it does.
    """

    module: str
    function: str
    summary: str
    examples: tuple[tuple[str, str], ...]

    def declared(self) -> Callable[..., Any]:
        """Its signature and docstring, as a function that does nothing."""
        return declared(self.module, self.function)

    def load(self) -> Callable[..., Any]:
        """The function itself."""
        return getattr(import_module(self.module), self.function)

    def help_end(self) -> str:
        """What its help ends with."""
        lines = (f"  # {what}\n  {line}\n" for line, what in self.examples)
        return "Examples:\n" + "\n".join(lines)


VERBS: dict[str, Verb] = {
    "demo": Verb(
        "getam.verbs.demo.run", "demo",
        "Train on scenes of handwritten digits from tags alone, score everything, write report/index.html.",
        (("getam demo --out report", "five minutes; then open report/index.html"),),
    ),
    "data-check": Verb(
        "getam.verbs.data_check", "data_check",
        "Read photos, tags and masks once and list every problem, with its file and what to do.",
        (
            ("getam data check photos --tags tags.csv", "a folder of photos and a table of tags"),
            ("getam data check photos --tags splits/train.csv splits/val.csv", "two splits, and what they share"),
        ),
    ),
    "data-split": Verb(
        "getam.verbs.data_split", "data_split",
        "Divide tagged photos into splits that have their share of every class each.",
        (
            ("getam data split --data photos --tags tags.csv --out splits", "splits/train.csv and splits/val.csv"),
            ("getam data split --data photos --out splits --shares train=0.8 val=0.1 test=0.1", "three splits"),
        ),
    ),
    "data-voc": Verb(
        "getam.verbs.data_voc", "data_voc",
        "Prepare PASCAL VOC 2012 with SBD's masks: photos, tags, SegmentationClassAug and the split train_aug.",
        (
            ("getam data voc --from archives --out voc", "from archives that are there, or what they hold"),
            ("getam data voc --from archives --download --out voc", "fetches what is not there first"),
        ),
    ),
    "data-coco": Verb(
        "getam.verbs.data_coco", "data_coco",
        "Prepare COCO: photos, tags and semantic masks painted by a fixed rule, with their hash.",
        (("getam data coco --from archives --year 2017 --out coco", "masks of 2017's photos, and their hash"),),
    ),
    "train": Verb(
        "getam.verbs.train", "train", "Train a network from photos and their tags.",
        (
            ("getam train --data photos --tags tags.csv --out runs/a",
             "as many steps as suit the photos; repeated, it continues"),
            ("getam train --data photos --recipe self-training --steps 600 --size 160 --out runs/b",
             "label the photos with the network and train on the labels"),
            ("getam train --data photos --recipe classifier --preset vit --backbone vit_tiny_patch16_224 --out runs/c",
             "a network for maps: use explain and label"),
        ),
    ),
    "explain": Verb(
        "getam.verbs.explain", "explain_photos", "Draw which pixels of a photo carry each class.",
        (
            ("getam explain photo.jpg --classes cat,dog", "maps/photo.cat.png and maps/photo.dog.png"),
            ("getam explain photos --model vit_base_patch16_224 --method legrad --out legrad",
             "any timm model, another method"),
            ('getam explain a.jpg --model open_clip:ViT-B-16 --weights c.safetensors --words "a red bicycle, a road"',
             "any words, with an image–text model"),
        ),
    ),
    "label": Verb(
        "getam.verbs.label", "label",
        "Turn tags into masks: maps of each photo's tags → refiners → pseudo labels.",
        (
            ("getam label --data photos --tags tags.csv --model runs/a --out labels",
             "with a network that `getam train` made"),
            ("getam label --data photos --method gradcam --refine walk-afa,par --labels irn", "another chain"),
            ("getam label --data photos --classes cat,dog --to coco", "two of the tags, and masks for another tool"),
        ),
    ),
    "predict": Verb(
        "getam.verbs.predict", "predict", "Segment photos with a trained network; no tags are needed.",
        (
            ("getam predict new_photos --model runs/a --out masks", "a folder"),
            ("getam predict photo.jpg --scales 224,320 --flip", "slower, a little better"),
            ("getam predict photos --tags tags.csv --model runs/a", "better, of photos whose tags are known"),
            ("getam predict new_photos --to label-studio", "to be corrected by hand"),
        ),
    ),
    "serve": Verb(
        "getam.verbs.serve", "serve", "Answer photos with masks and maps over HTTP until it is told to stop.",
        (
            ("getam serve --model runs/a", "on http://127.0.0.1:8000, for this machine only"),
            ("getam serve --host 0.0.0.0 --port 80 --megapixels 12", "for others too: put a gate in front"),
        ),
    ),
    "publish": Verb(
        "getam.verbs.publish", "publish",
        "Write a network as a Hugging Face model repository and a Space, to be uploaded as they are.",
        (("getam publish runs/a --licence mit --out published", "published/model and published/space"),),
    ),
    "evaluate": Verb(
        "getam.verbs.evaluate", "evaluate",
        "Score predicted masks against true ones: IoU, Dice and HD95 per class, and mIoU with a 95 % interval.",
        (
            ("getam evaluate masks truth", "folders of masks, matched by name"),
            ("getam evaluate masks truth --against other_masks --out scores.json", "is one better than the other?"),
        ),
    ),
    "report": Verb(
        "getam.verbs.report", "gallery",
        "Make a page of photos and their masks, to sort, filter and compare, and of what a training has learned.",
        (
            ("getam report masks --truth truth --against other_masks", "report/index.html"),
            ("getam report runs/a --photos photos --tags tags.csv --out look",
             "what a network makes of photos, and where its masks and its maps disagree"),
            ("getam report runs/a --out curves", "its learning curves"),
        ),
    ),
    "convert": Verb(
        "getam.verbs.convert", "convert",
        "Bring masks into another tool's import format, or back into palette PNGs.",
        (
            ("getam convert masks --to cvat --photos photos --out for-cvat", "there"),
            ("getam convert export.json --from label-studio --photos photos --out corrected", "and back"),
        ),
    ),
    "app": Verb(
        "getam.verbs.app", "app",
        "Look at maps and masks in the browser, mend them with a brush, and keep those that are right.",
        (
            ("getam app", "then open http://127.0.0.1:7860 and drop a photo"),
            ("getam app --folder photos --model runs/a --keep kept", "mend the masks of a folder"),
            ("getam app --model vit_tiny_patch16_224=vit.safetensors", "maps of a timm model, its weights from a file"),
        ),
    ),
    "export": Verb(
        "getam.verbs.export_model", "export",
        "Write a trained segmenter as one file that runs without getam: ONNX, or a program of torch.export.",
        (
            ("getam export runs/a --photos photos", "a.onnx, for getam predict --model a.onnx, without torch"),
            ("getam export embedded --to torch --out animals.pt2", "for torch.export.load"),
        ),
    ),
    "saliency": Verb(
        "getam.verbs.saliency", "saliency",
        "Write one saliency map per photo: to look at, to repair, and to pass as `--saliency FOLDER`.",
        (
            ("getam saliency photos --provider auto", "saliency/NAME.png"),
            ("getam saliency photos --provider attention --model runs/a --out seen", "of a network of yours"),
        ),
    ),
    "methods": Verb(
        "getam.verbs.methods", "methods",
        "List map methods, refiners, rules for labels and sources of saliency, and what each needs.",
        (("getam methods", "what --method, --refine, --labels and --saliency take"),),
    ),
    "models": Verb(
        "getam.verbs.models", "models",
        "List the models that have maps, by family: what to type, licence and size, and how each was checked.",
        (("getam models", "what --model and --backbone take"),),
    ),
    "bench": Verb(
        "getam.verbs.bench", "bench",
        "Compare map methods and chains: as masks, as explanations, in seconds and in memory.",
        (
            ("getam bench --data photos --truth masks --compare getam,gradcam,getam+pamr:irn",
             "three rows of bench/bench.md"),
        ),
    ),
    "localise": Verb(
        "getam.verbs.localise", "localise",
        "Score the boxes around what maps are high on: weakly supervised object localisation.",
        (
            ("getam localise --data photos --truth masks --model runs/bas --compare bas layercam",
             "boxes of the masks, two rows of localise/localise.md"),
            ("getam localise --data photos --boxes boxes.csv --classes cat dog", "boxes of a table, every map method"),
        ),
    ),
    "leaderboard": Verb(
        "getam.verbs.leaderboard", "leaderboard",
        "Compare trained systems: the pseudo labels each comes to, and what the same segmenter learns from them.",
        (
            ("getam leaderboard --data voc --split train --test-split val --budget 20m",
             "every recipe, 20 minutes each"),
            ("getam leaderboard --data photos --tags train.csv --test-tags test.csv --truth masks --recipes supervised "
             "getam classifier/layercam+pamr:free", "three rows of leaderboard/leaderboard.md"),
        ),
    ),
    "doctor": Verb(
        "getam.verbs.doctor.run", "doctor",
        "Look at this machine and this installation, and say what is in the way of getam and what to do about it.",
        (
            ("getam doctor", "nothing is contacted"),
            ("getam doctor --network", "asks the hub too, where backbones' weights come from"),
        ),
    ),
    "completion": Verb(
        "getam.cli_completion", "completion", "Print a script by which a shell completes verbs and options.",
        (
            ("getam completion bash > ~/.local/share/bash-completion/completions/getam",
             "bash, from its next start on"),
            ("getam completion zsh > ~/.zfunc/_getam", "zsh, where ~/.zfunc is in fpath before compinit"),
            ("getam completion fish > ~/.config/fish/completions/getam.fish", "fish"),
        ),
    ),
}  # fmt: skip


def parsed(name: str, verb: Verb) -> Callable[..., Any]:
    """A verb as the parser sees it: called, it only keeps its arguments, so that parsing and running stay apart."""
    return in_groups(name, verb.declared(), lambda *args, **options: verb.load()(*args, **options))


def unloaded(verb: Verb) -> Callable[..., Any]:
    """A verb that was not asked for: its summary."""

    def nothing() -> None: ...

    nothing.__doc__ = verb.summary
    return nothing
