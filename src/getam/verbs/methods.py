"""`getam methods`: every map method and what it needs, from the registry."""

from __future__ import annotations

from getam.maps.registry import REGISTRY

HEADINGS = ("method", "model", "backward", "map per", "options", "source")


def methods() -> str:
    """List the map methods and what each needs.

    Returns:
        a table of one line per method: its name for `--method`, the kind of model it reads, whether it runs a backward
        pass, whether each class of a photo has a map of its own, its options, its source.
    """
    rows = [HEADINGS] + [
        (
            m.name,
            m.model,
            "yes" if m.gradients else "no",
            "class" if m.per_class else "photo",
            " ".join(f"--{option}" for option in m.options) or "—",
            m.source,
        )
        for m in REGISTRY.values()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows)
