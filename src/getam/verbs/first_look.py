"""What `label` and `predict` end with: what was covered, what looks wrong, and a page of the masks to look at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from getam.data.confidences import read_confidences
from getam.data.masks import LabelMap, read_mask
from getam.data.overlap import read_ahead
from getam.data.photos import read_photo_near
from getam.metrics.plausibility import NOTHING, Plausibility, plausibility
from getam.outputs.folder import Job, OutputFolder, refuse_input
from getam.photo_size import WORK_SIDE, fit_long_side
from getam.report.gallery import ReportRow, render
from getam.report.overlay import Photo
from getam.whole_files import write_atomically

PAGE = "first-look.html"
SHOWN = 10
Kind = Literal["prediction", "pseudo_label"]
"""What the masks are, as `report.gallery.ReportRow` calls them."""


@dataclass(frozen=True)
class FirstLook:
    """What the masks of a folder say about themselves.

    Attributes:
        judged: job and judgement of each photo: those with most doubts first, then those whose least sure class is
            least sure, if masks note that; then those most worth a look.
        class_names: C names without background.
        confidences: of each class, those its photos note (`getam.data.confidences`).
    """

    judged: tuple[tuple[Job, Plausibility], ...]
    class_names: tuple[str, ...]
    confidences: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def doubtful(self) -> int:
        """Number of photos that look wrong."""
        return sum(bool(found.doubts) for _, found in self.judged)

    def table(self) -> list[dict[str, object]]:
        """A line for each class that was found, background first: photos with it, and the share it covers of those.

        Where masks note how sure they are, with the median of their confidences.
        """
        lines: list[dict[str, object]] = []
        for label, name in enumerate(("background", *self.class_names)):
            shares = [found.covered[label] for _, found in self.judged if found.covered[label] >= NOTHING]
            if shares:
                line: dict[str, object] = {"class": name, "photos": len(shares)}
                line["covers on average"] = float(np.mean(shares))
                if label and (sure := self.confidences.get(name)):
                    line["median confidence"] = float(np.median(sure))
                lines.append(line)
        if undecided := [found.undecided for _, found in self.judged if found.undecided]:
            mean = float(np.mean(undecided))
            lines.append({"class": "undecided", "photos": len(undecided), "covers on average": mean})
        return lines

    def sentence(self) -> str:
        """How many photos there are and how many look wrong, in one line."""
        photos = f"{len(self.judged)} photo{'' if len(self.judged) == 1 else 's'}"
        return (
            f"{photos}, {self.doubtful} of them look wrong"
            if self.doubtful
            else f"{photos}, none looks wrong"
        )


def look(
    jobs: Sequence[Job],
    folder: OutputFolder,
    class_names: Sequence[str],
    tags: Mapping[str, Sequence[int]] | None = None,
) -> FirstLook:
    """Judge the masks of jobs that are done.

    Args:
        jobs: whose first result is a mask.
        folder: where they are.
        class_names: C names without background.
        tags: name of a job → indices of its photo's classes; None: not known.
    """

    def judge(job: Job) -> tuple[Plausibility, dict[str, float]]:
        its, mask = None if tags is None else tags[job.name], folder.path / job.results[0]
        return plausibility(read_mask(mask), class_names, its), read_confidences(mask)

    judged: list[tuple[Job, Plausibility]] = []
    sure: dict[str, list[float]] = {}
    least: dict[str, float] = {}
    for job, (found, noted) in read_ahead(jobs, judge):
        judged.append((job, found))
        least[job.name] = min(noted.values(), default=1.0)
        for name, confidence in noted.items():
            sure.setdefault(name, []).append(confidence)
    # Among photos of as many doubts the least sure first: their mIoU follows that, and not what they cover (results.md)
    judged.sort(
        key=lambda pair: (
            -len(pair[1].doubts), least[pair[0].name], -pair[1].worth_a_look, pair[0].name,
        )
    )  # fmt: skip
    return FirstLook(tuple(judged), tuple(class_names), sure)


def end_with_first_look(
    folder: OutputFolder,
    class_names: Sequence[str],
    *,
    skipped: Mapping[str, object],
    tags: Mapping[str, Sequence[int]] | None = None,
    kind: Kind = "prediction",
) -> FirstLook:
    """Judge all masks of a finished call, write the page, and say it on stderr.

    Args:
        folder: all of whose jobs are done, but for those skipped.
        class_names: C names without background.
        skipped: names of jobs without a result.
        tags: as `look`.
        kind: what the page calls the masks.
    """
    found = look([job for job in folder.jobs if job.name not in skipped], folder, class_names, tags)
    page = folder.path / PAGE
    refuse_input(page, folder.read)
    # Names that are not UTF-8 keep their bytes, as everywhere; a browser shows them as it can.
    write_atomically(page, render_page(found, folder, kind).encode(errors="surrogateescape"))
    table = Table(
        title=found.sentence(), caption=f"the {min(SHOWN, len(found.judged))} to look at first: {page}"
    )
    lines = found.table()
    columns = ["class", "photos", "covers on average", *(["median confidence"] if found.confidences else [])]
    for column in columns:
        table.add_column(column, justify="left" if column == "class" else "right")
    for line in lines:
        sure = f"{line['median confidence']:.2f}" if "median confidence" in line else ""
        cells = (str(line["class"]), str(line["photos"]), f"{line['covers on average']:.0%}", sure)
        table.add_row(*cells[: len(columns)])
    Console(stderr=True, soft_wrap=True).print(table, markup=False)
    return found


def render_page(found: FirstLook, folder: OutputFolder, kind: Kind) -> str:
    """One self-contained page: the table, and photos beside their masks."""
    rows = []
    for job, its in found.judged[:SHOWN]:
        photo, mask = _shown(job.sources[0], folder.path / job.results[0])
        why = "; ".join(its.doubts) or "nothing looks wrong"
        label, predicted = (mask, None) if kind == "pseudo_label" else (None, mask)
        caption = f"{job.name}: {why}"
        rows.append(ReportRow(photo, pseudo_label=label, prediction=predicted, caption=caption))
    return render(
        title=f"{min(SHOWN, len(found.judged))} masks to look at first",
        rows=rows,
        class_names=found.class_names,
        table=found.table(),
        notes=[
            f"{found.sentence()}. A mask looks wrong when it covers the whole photo, finds nothing, misses a tag or is "
            "mostly undecided; nobody has compared it with the truth.",
        ],
    )


def _shown(photo: Path, mask: Path) -> tuple[Photo, LabelMap]:
    """A photo and its mask, both shrunk where they are beyond 1,000 pixels: the page has ten of them in memory."""
    image, size = read_photo_near(photo, WORK_SIDE)
    height, width = fit_long_side(*size, WORK_SIDE)
    label = Image.fromarray(read_mask(mask)).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)), np.asarray(label)
