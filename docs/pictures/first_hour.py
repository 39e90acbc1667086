"""The curve of "The first hour" (docs/results.md): python docs/pictures/first_hour.py, from the measured numbers."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from getam.report.palette import LINE_COLOURS

HERE = Path(__file__).resolve().parent
GROUPS = {
    "bird,boat,face,sign": "bird, boat, face, sign",
    "cow,sheep,car": "cow, sheep, car",
    "bird,boat,cow,sheep,car,face,sign": "the seven of both",
}


def main() -> None:
    """A dot per run of the embedded start with its own saliency, a line through the means."""
    mpl.rcParams.update({"svg.hashsalt": "first hour", "svg.fonttype": "none", "font.size": 9})
    rows = json.loads((HERE.parent / "measured" / "first_hour.json").read_text())
    figure = Figure(figsize=(7.2, 2.9), layout="constrained")
    for axes, what in zip(figure.subplots(1, 2, sharey=True), ("labels", "segmentation")):
        for colour, (classes, name) in zip(LINE_COLOURS, GROUPS.items()):
            found: dict[int, list[float]] = {}
            for row in rows:
                # "embedded" is what "auto" was in these runs
                usual = row["weights"] == "embedded" and row["saliency"] in ("auto", "embedded")
                usual &= row.get("recipe", "getam") == "getam"
                if row["classes"] == classes and usual:
                    value = (row.get(f"{what} at 320") or row[what])["miou"]
                    found.setdefault(row["trained on"], []).append(value)
            counts = sorted(found)
            axes.plot(counts, [sum(found[n]) / len(found[n]) for n in counts], "-", color=colour, label=name)
            for count in counts:
                axes.plot(
                    [count] * len(found[count]), found[count], "o", color=colour, markersize=4, alpha=0.7
                )
        axes.set(title=what, xlabel="photos trained on", ylim=(0.4, 1), xlim=(0, 190))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("mIoU with background")
    figure.axes[0].legend(loc="lower right")
    figure.savefig(HERE / "first_hour.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
