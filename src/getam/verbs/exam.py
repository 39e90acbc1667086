"""What `getam train` says of the photos it held out: which classes are learned, and which are not told apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from getam.data.tag_dataset import TagDataset
from getam.engine.held_out import held_out_scores
from getam.metrics.tag_accuracy import TagAccuracy, tag_accuracy
from getam.nets.network import Network
from getam.outputs.progress import say
from getam.recipes.base import CommonConfig
from getam.recipes.schedule import start_of
from getam.whole_files import write_atomically

TAGS = "tags.json"


@dataclass(frozen=True)
class Exam:
    """The photos that were held out.

    Attributes:
        crops: of them.
        batch_size: photos scored at once.
    """

    crops: TagDataset
    batch_size: int

    def accuracy(self, net: Network) -> TagAccuracy:
        """What the network gets right of the tags."""
        return tag_accuracy(*held_out_scores(net, self.crops, self.batch_size), net.classes)

    def mean_ranked(self, net: Network) -> Mapping[str, float]:
        """One number to follow while training: the mean over classes of the share of photos ranked right."""
        mean = self.accuracy(net).mean_ranked
        return {} if mean is None else {"tags right": mean}

    def end(self, net: Network, folder: Path) -> TagAccuracy:
        """Write tags.json into the run folder, and say on stderr what is learned and what is not."""
        found = self.accuracy(net)
        write_atomically(folder / TAGS, (json.dumps(asdict(found), indent=1) + "\n").encode())
        table = Table(
            title=f"tags of {len(self.crops)} photos that were held out", caption=str(folder / TAGS)
        )
        for column in ("class", "photos", "found", "seen where it is not", "ranked right"):
            table.add_column(column, justify="left" if column == "class" else "right")
        for one in found.classes:
            ranked = "" if one.ranked is None else f"{one.ranked:.0%}"
            table.add_row(one.name, str(one.photos), str(one.found), f"{one.seen} of {one.others}", ranked)
        Console(stderr=True, soft_wrap=True).print(table, markup=False)
        for doubt in found.doubts():
            say(f"{doubt}: add photos, or steps")
        return found


def plan(recipe: str, config: CommonConfig, photos: int, held: int) -> str:
    """What a training will do, in one line.

    >>> plan("getam", CommonConfig(steps=194), 54, 6)
    'getam: 194 steps of 16 photos, 57.5 passes over 54 photos (6 more are held out), from pretrained weights'
    """
    batch = min(config.batch_size, photos)
    passes = config.steps * batch / photos
    start = {"embedded": "the embedded model", "pretrained": "pretrained weights", "nothing": "nothing"}
    spared = f" ({held} more are held out)" if held else ""
    return (
        f"{recipe}: {config.steps} steps of {batch} photos, {passes:.3g} passes over {photos} photos{spared}, from "
        f"{start[start_of(config)]}"
    )


def say_pace(what: str) -> Callable[[float], None]:
    """Seconds → a line on stderr that says how long something takes."""
    return lambda seconds: say(f"{what} about {in_time(seconds)} on this machine")


def in_time(seconds: float) -> str:
    """Seconds as people say them.

    >>> in_time(42), in_time(354), in_time(9000)
    ('42 s', '6 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
