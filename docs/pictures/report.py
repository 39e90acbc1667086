"""The picture of docs/look.md: a page of `getam report` in Chromium, of crops of scikit-image's photos.

python docs/pictures/report.py [FILE]    (report.jpg beside this when left out; a minute)
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

import skimage.data
from PIL import Image, ImageOps

import getam

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from browser import resize, start

CROPS = {"chelsea": 4, "astronaut": 3, "coffee": 2, "rocket": 2, "camera": 1}
SIZE = (1180, 760)


def main(out: Path) -> None:
    """Make the page, and a picture of it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "example"
        photos = folder / "photos"
        photos.mkdir(parents=True)
        for name, count in CROPS.items():
            whole = Image.fromarray(getattr(skimage.data, name)()).convert("RGB")
            for number in range(count):
                side = [round(length * (1 - 0.13 * number)) for length in whole.size]
                crop = whole.crop((0, 0, *side))
                (ImageOps.mirror(crop) if number % 2 else crop).save(
                    photos / f"{name} {number + 1}.jpg", quality=92
                )
        masks = getam.predict(photos, out=folder / "masks")
        coarse = getam.predict(photos, out=folder / "coarse", scales=(224,), crf=False)
        page = getam.gallery(masks, photos=photos, against=coarse, out=folder / "report")
        driver = start()
        try:
            resize(driver, SIZE)
            driver.get(page.as_uri())
            driver.execute_script(
                "const box = document.getElementById('sort'); box.value = 'other';"
                "box.dispatchEvent(new Event('change'));"
            )
            driver.execute_async_script("setTimeout(arguments[0], 4000)")
            picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
        finally:
            driver.quit()
    picture.save(out, quality=80, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("report.jpg"))
