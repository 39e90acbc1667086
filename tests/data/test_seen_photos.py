"""What is said of files that can be read, and what is not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam.data.collection import Sample
from getam.data.duplicates import Glance
from getam.data.seen_photos import LARGE, Seen, remarks, see
from getam.errors import InputError

GLANCE = Glance(np.zeros((16, 17), np.float32), np.zeros((16, 16), bool))


def seen(name: str, height: int = 60, width: int = 80, pages: int = 1) -> Seen:
    return Seen(Sample(name, Path(name), ()), GLANCE, (height, width), pages)


def test_a_photo_is_seen_as_it_is_read(tmp_path: Path) -> None:
    sample = Sample("a", tmp_path / "a.tif", ("cat",))
    with pytest.raises(InputError, match="does not exist"):
        see(sample)
    page = Image.linear_gradient("L").resize((80, 60))
    page.save(sample.photo, save_all=True, append_images=[page])
    found = see(sample)
    assert (found.sample, found.size, found.pages) == (sample, (60, 80), 2)
    assert found.glance.grey.shape == (16, 17)


def test_stacks_are_counted() -> None:
    (line,) = remarks([seen("a.tif"), seen("b.tif", pages=3), seen("c.tif", pages=2)])
    assert line.startswith("TIFF files with several pictures, of which the first is read: 2 (b.tif); ")


def test_large_photos_that_decoders_cannot_shrink_are_counted() -> None:
    assert (
        remarks([seen("a.jpg", 3000, 4000), seen("b.JPEG", 3000, 4000), seen("c.png", LARGE // 1000, 1000)])
        == []
    )
    (line,) = remarks([seen("c.png", LARGE // 1000, 1001), seen("d.TIF", 3000, 4000), seen("e.png")])
    assert line.startswith("large photos that are no JPEGs: 2 (c.png, 1001×4000); ")
