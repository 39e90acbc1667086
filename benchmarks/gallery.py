"""What `getam report` costs: seconds to make a page of 2,000 photos, its first paint, its longest task while scrolling.

python benchmarks/gallery.py DATA [--photos 2000] [--out FOLDER]    DATA: photos in VOC's layout with SegmentationClass

The photos are those of DATA over and over, mirrored, darkened and cropped, at a long side of 320 pixels; the masks are
the true ones, grown or shrunk and sometimes of a wrong class. Chromium runs without a window. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import grey_dilation, grey_erosion

import getam
from getam.data.confidences import with_confidences
from getam.data.mask_folder import VOC_CLASSES
from getam.data.masks import encode_mask, write_classes, write_mask

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from browser import DESKTOP, resize, start

SIDE = 320
SCROLL = """
const done = arguments[0], end = document.body.scrollHeight;
const tasks = [];
new PerformanceObserver((list) => tasks.push(...list.getEntries().map((each) => each.duration)))
  .observe({ entryTypes: ["longtask"] });
let at = 0, frames = 0;
const began = performance.now();
const step = () => {
  scrollTo(0, at += 90); frames++;
  if (at < end) requestAnimationFrame(step);
  else setTimeout(() => done({ tasks, frames, seconds: (performance.now() - began) / 1000 }), 500);
};
requestAnimationFrame(step);
"""
JUMPS = SCROLL.replace("at += 90", "at = (frames * 7919) % end").replace("at < end", "frames < 120")
SORT = """
const done = arguments[0], box = document.getElementById("sort");
const began = performance.now();
box.value = "truth"; box.dispatchEvent(new Event("change"));
requestAnimationFrame(() => setTimeout(() => done(performance.now() - began), 0));
"""


def write_data(data: Path, out: Path, count: int) -> None:
    """photos/, truth/, masks/ and other/ in `out`."""
    chance = random.Random(0)
    names = sorted(path.stem for path in (data / "SegmentationClass").glob("*.png"))
    (out / "photos").mkdir(parents=True)
    for folder in ("truth", "masks", "other"):
        write_classes(out / folder, VOC_CLASSES)
    for number in range(count):
        name = names[number % len(names)]
        photo = Image.open(data / "JPEGImages" / f"{name}.jpg").convert("RGB")
        truth: Image.Image = Image.open(data / "SegmentationClass" / f"{name}.png")
        left, top = (chance.uniform(0, 0.15) * side for side in photo.size)
        right, bottom = (int(side * chance.uniform(0.85, 1)) for side in photo.size)
        box = (int(left), int(top), right, bottom)
        photo, truth = photo.crop(box), truth.crop(box)
        if chance.random() < 0.5:
            photo, truth = ImageOps.mirror(photo), ImageOps.mirror(truth)
        photo.thumbnail((SIDE, SIDE))
        truth = truth.resize(photo.size, Image.Resampling.NEAREST)
        ImageEnhance.Brightness(photo).enhance(chance.uniform(0.6, 1.3)).save(
            out / "photos" / f"{number:05}.jpg", quality=85
        )
        true = np.asarray(truth)
        write_mask(out / "truth" / f"{number:05}.png", true)
        for folder in ("masks", "other"):
            mask = _altered(np.where(true == 255, 0, true).astype(np.uint8), chance)
            sure = {
                VOC_CLASSES[label - 1]: chance.uniform(0.4, 1) for label in np.unique(mask).tolist() if label
            }
            (out / folder / f"{number:05}.png").write_bytes(with_confidences(encode_mask(mask), sure))


def _altered(mask: np.ndarray[Any, Any], chance: random.Random) -> np.ndarray[Any, Any]:
    size = chance.choice((3, 7, 15))
    grown = chance.choice((grey_dilation, grey_erosion))(mask, size=(size, size))
    return np.where(grown == 8, 12, grown).astype(np.uint8) if chance.random() < 0.2 else grown


def measure(page: Path) -> dict[str, Any]:
    """First paint of three loads, and the longest task of scrolling from top to bottom, of jumps, and of sorting.

    Tasks are in milliseconds of the clock, as the page sees them (`PerformanceObserver`); the longest of all, loading
    included, in those of the processor, as Chromium's tracing has them: on a busy machine the clock counts more.
    """
    driver = start(trace="toplevel")
    try:
        resize(driver, DESKTOP)
        paints = []
        for _ in range(3):
            driver.get(page.resolve().as_uri())
            driver.execute_async_script("setTimeout(arguments[0], 1500)")
            paints.append(
                driver.execute_script(
                    "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
                )
            )
        driver.set_script_timeout(300)
        scrolled, jumped = driver.execute_async_script(SCROLL), driver.execute_async_script(JUMPS)
        sorts = driver.execute_async_script(SORT)
        tiles = driver.execute_script("return document.querySelectorAll('.tile').length")
        longest = longest_task(driver)
    finally:
        driver.quit()
    return {
        "first paint, ms": [round(paint) for paint in paints],
        "longest task scrolling, ms": round(max(scrolled["tasks"], default=0)),
        "frames a second": round(scrolled["frames"] / (scrolled["seconds"] - 0.5), 1),
        "longest task jumping, ms": round(max(jumped["tasks"], default=0)),
        "sorting, ms": round(sorts),
        "longest task of all, processor ms": longest,
        "tiles in the page": tiles,
    }


def longest_task(driver: Any) -> int:
    """Processor milliseconds of the longest task that the pages' main threads have had."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    traced = [event["params"] for event in events if event["method"] == "Tracing.dataCollected"]
    threads = {
        (event["pid"], event["tid"])
        for event in traced
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    found = [
        event["tdur"]
        for event in traced
        if "tdur" in event and "RunTask" in event["name"] and (event["pid"], event["tid"]) in threads
    ]
    return round(max(found) / 1000)


def main() -> None:
    """Make the data, the page, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="keep everything there")
    parser.add_argument("--page", type=Path, help="measure this page, and make none")
    given = parser.parse_args()
    if given.page:
        print(json.dumps(measure(given.page), indent=1))
        return
    with tempfile.TemporaryDirectory() as scratch:
        out = given.out or Path(scratch)
        if not (out / "photos").is_dir():
            write_data(given.data, out, given.photos)
        began = time.monotonic()
        page = getam.gallery(
            out / "masks", photos=out / "photos", truth=out / "truth", against=out / "other", out=out / "report",
            overwrite=True,
        )  # fmt: skip
        seconds = time.monotonic() - began
        size = sum(file.stat().st_size for file in page.parent.rglob("*.*"))
        made = {
            "photos": given.photos,
            "seconds to make": round(seconds, 1),
            "megabytes": round(size / 1e6, 1),
            "index.html, kilobytes": round(page.stat().st_size / 1e3),
        }
        print(json.dumps({**made, **measure(page)}, indent=1))


if __name__ == "__main__":
    main()
