"""Maps of K classes per photo against one forward without a graph. The arithmetic is in docs/performance.md."""

from __future__ import annotations

import torch
from clock import ratio, rounds, spread
from rows import Row
from scene import Scale, class_lists, normal_photos, vit

from getam.maps.methods.getam import getam

BATCH = 4
BARS = {1: 1.6, 2: 2.2, 4: 3.2}


def measure(scale: Scale) -> list[Row]:
    """Rows for K = 1, 2, 4."""
    model, images = vit(scale), normal_photos(BATCH, scale.side)

    def forward() -> None:
        with torch.no_grad():
            model(images)

    lists = {count: class_lists(BATCH, count) for count in BARS}
    calls = {f"K={count}": lambda count=count: getam(model, images, lists[count]) for count in BARS}
    seconds = rounds({"forward": forward, **calls}, scale.repeats)
    what = f"maps of {{}} class{{}} per photo, {scale.backbone} at {scale.side}², batch {BATCH}, against a forward"
    return [
        Row("maps", what.format(count, "es" if count > 1 else ""), ratio(seconds, f"K={count}", "forward"), bar=bar,
            detail=f"{spread(seconds, f'K={count}', 'forward')}; arithmetic {0.94 + count / 3:.3g}")
        for count, bar in BARS.items()
    ]  # fmt: skip
