"""`getam methods`: every map method, refiner, labeller and source of saliency, and what each needs."""

from __future__ import annotations

from getam.labels.registry import LABELLERS
from getam.labels.saliency import SALIENCY_PROVIDERS
from getam.maps.registry import REGISTRY
from getam.refine.registry import REFINERS

Row = tuple[str, ...]

NEEDS = {  # of refiners, and where the refined maps lie
    "images": ("the photo", "photo"),
    "affinity": ("attention, before those that need the photo", "patch grid"),
    "attention": ("attention, before those that need the photo", "patch grid"),
}

TABLES: dict[str, list[Row]] = {  # by the option of `getam label`: headings, then one row per name
    "--method": [
        ("method", "model", "backward", "map per", "options", "source"),
        *(
            (
                name,
                method.model,
                "yes" if method.gradients else "no",
                "class" if method.per_class else "photo",
                " ".join(f"--{option}" for option in method.options) or "—",
                method.source,
            )
            for name, method in REGISTRY.items()
        ),
    ],
    "--refine": [
        ("refiner", "needs", "maps at", "source"),
        *((name, *NEEDS[refiner.needs], refiner.source) for name, refiner in REFINERS.items()),
    ],
    "--labels": [
        ("labels", "need", "source"),
        *((name, ", ".join(labeller.needs), labeller.source) for name, labeller in LABELLERS.items()),
    ],
    "--saliency": [
        ("saliency", "needs", "source"),
        *((name, provider.needs, provider.source) for name, provider in SALIENCY_PROVIDERS.items()),
    ],
}


def methods() -> str:
    """List map methods, refiners, rules for labels and sources of saliency, and what each needs.

    Returns:
        a table each, a line per name. For `--method`: the kind of model it reads, whether it runs a backward pass,
        whether each class of a photo has a map of its own, its options, its source. For `--refine`: what it looks at
        and where its maps lie. For `--labels`: what they are made of. For `--saliency`: what has to be there.
    """
    return "\n\n".join(table(rows) for rows in TABLES.values())


def table(rows: list[Row]) -> str:
    """Columns as wide as their widest cell, two spaces between them."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows)
