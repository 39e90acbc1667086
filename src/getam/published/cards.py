"""The cards of a model and of its Space: what the file of the network says of itself, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import ModelCardData, SpaceCardData

TOLD = {  # entries of a run's configuration that a reader asks for
    "recipe": "recipe", "backbone": "backbone", "weights": "started from", "size": "photo side in training",
    "batch_size": "batch", "steps": "steps", "coupling": "coupling", "seed": "seed",
}  # fmt: skip
TAGS = ("getam", "weakly-supervised-segmentation", "semantic-segmentation", "class-activation-map")
PAPER = "https://arxiv.org/abs/2112.02841"


@dataclass(frozen=True)
class Published:
    """What is published.

    Attributes:
        name: for people.
        licence: of the weights, as the hub calls it.
        kind: of network, as in its file.
        classes: names without background.
        config: what it was trained with.
        version: of getam.
        masks: whether it has a decoder, so that `getam predict` takes it.
    """

    name: str
    licence: str
    kind: str
    classes: tuple[str, ...]
    config: Mapping[str, Any]
    version: str
    masks: bool


def model_card(about: Published) -> str:
    """README.md of the model's repository: YAML that the hub reads, then text."""
    data = ModelCardData(
        license=about.licence, library_name="getam", tags=list(TAGS), model_name=about.name,
        pipeline_tag="image-segmentation" if about.masks else "image-classification",
    )  # fmt: skip
    told = [(said, about.config[key]) for key, said in TOLD.items() if about.config.get(key) is not None]
    photos = about.config.get("data")
    if isinstance(photos, Mapping) and isinstance(photos.get("photos"), int):
        told.append(("photos", photos["photos"]))
    use = (
        "getam predict photos --model . --out masks     # masks\n"
        if about.masks
        else "getam label --data photos --tags tags.csv --model . --out labels     # masks of tagged photos\n"
    )
    return _page(
        data,
        f"# {about.name}",
        f"A network of [getam]({PAPER}) that was trained from image tags and "
        f"{'makes masks of photos without tags' if about.masks else 'says which pixels carry each tag'}.",
        "## Use\n\nIn this folder, with getam installed:\n\n```bash\n"
        f"{use}getam explain photo.jpg --model .     # which pixels carry each class\n```\n\n"
        "```python\nimport getam\n\nmaps = getam.explain(\"PATH/OF/THIS/FOLDER\", \"photo.jpg\")\n```",
        f"## Classes\n\n{len(about.classes)}, besides background: {', '.join(map(_plain, about.classes))}.",
        "## Training\n\n" + _table([("network", about.kind), *told, ("getam", about.version)]),
        "## Limits\n\nIt knows the classes above: anything else is called one of them, or background. Masks learned "
        "from tags are softer at outlines than those learned from masks. Nothing is claimed here about its accuracy: "
        "`getam evaluate` measures it on photos with true masks of yours.",
    )  # fmt: skip


def space_card(about: Published) -> str:
    """README.md of the Space."""
    data = SpaceCardData(
        title=about.name, sdk="gradio", app_file="app.py", license=about.licence, tags=list(TAGS), emoji="🖼️",
        colorFrom="blue", colorTo="yellow", pinned=False,
    )  # fmt: skip
    return _page(
        data,
        f"# {about.name}",
        f"Photos in, maps and masks of {', '.join(map(_plain, about.classes))} out, by [getam]({PAPER}).",
    )


def _page(data: ModelCardData | SpaceCardData, *parts: str) -> str:
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"


def _table(rows: Sequence[tuple[str, Any]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {_plain(value)} |" for name, value in rows)])


def _plain(value: Any) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>#|" else letter for letter in str(value))
