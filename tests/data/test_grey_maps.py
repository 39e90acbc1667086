"""Saliency maps in the size of their photos."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from getam.data.collection import Sample
from getam.data.grey_maps import read_photo_and_saliency, saliency_of


def test_saliency_is_brought_to_the_size_of_the_photo(tmp_path: Path) -> None:
    small = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)
    Image.fromarray(small).save(tmp_path / "small.png")
    Image.new("RGB", (12, 8), (1, 2, 3)).save(tmp_path / "a.png")
    sample = Sample("a", tmp_path / "a.png", (), saliency=tmp_path / "small.png")
    found = saliency_of(sample, (8, 12))
    wanted = F.interpolate(torch.from_numpy(small).float()[None, None], size=(8, 12), mode="bilinear")
    torch.testing.assert_close(found, wanted[0, 0] / 255)
    assert (float(found.min()), float(found.max())) == (0.0, 1.0)
    photo, saliency = read_photo_and_saliency(sample)
    assert photo[:, 0, 0].tolist() == [1, 2, 3]
    assert saliency is not None
    assert torch.equal(saliency, found)
    assert read_photo_and_saliency(replace(sample, saliency=None))[1] is None
