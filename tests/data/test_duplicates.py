"""Copies are found however they were saved; photos of other things are not."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy.sparse.csgraph import connected_components

from getam.data import duplicates as module
from getam.data.duplicates import Glance, duplicates, glance


def scene(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Soft blobs of colour, others for another seed."""
    blobs = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(blobs).resize(size, Image.Resampling.BICUBIC)


def jpeg(photo: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def test_copies_that_were_saved_again() -> None:
    photo = scene(0)
    copies = [photo, jpeg(photo, 30), photo.resize((70, 50)), ImageEnhance.Brightness(photo).enhance(1.1)]
    others = [scene(1), photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), scene(2)]
    glances = [
        glance(each) for each in (others[0], copies[0], copies[1], others[1], copies[2], others[2], copies[3])
    ]
    assert duplicates(glances) == [[1, 2, 4, 6]]
    assert duplicates([]) == []


def test_a_glance_against_pillow_by_hand() -> None:
    photo = scene(3, (170, 160))
    grey = np.asarray(photo.convert("L"), float)
    small = grey.reshape(16, 10, 17, 10).mean((1, 3))
    found = glance(photo)
    np.testing.assert_allclose(found.grey, small, atol=1.0)
    sure = np.abs(np.diff(small)) > 2.1
    assert (found.bits[sure] == (np.diff(small) > 0)[sure]).all()


def flat(value: float, bits: int = 0, tilt: float = 0.0) -> Glance:
    signs = np.zeros((16, 16), bool)
    signs.ravel()[:bits] = True
    grey = np.full((16, 17), value, np.float32)
    grey[:8] += tilt
    return Glance(grey, signs)


@pytest.mark.parametrize(
    ("bits", "tilt", "same"), [(24, 0, True), (25, 0, False), (0, 15.9, True), (0, 16.1, False)]
)
def test_both_measures_have_their_limit(bits: int, tilt: float, same: bool) -> None:
    # half the rows `tilt` brighter: after the means, each is tilt / 2 away
    assert duplicates([flat(10), flat(90, bits, tilt)]) == ([[0, 1]] if same else [])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), max_size=12),
    st.sampled_from([1, 3, module.CHUNK]),
)
def test_groups_are_those_of_every_pair_compared(drawn: list[tuple[int, int]], chunk: int) -> None:
    glances = [flat(0, bits, tilt) for bits, tilt in drawn]
    pairs = np.array([
        [abs(a - b) < module.FAR_BITS and abs(s - t) / 2 < module.FAR_GREY for b, t in drawn] for a, s in drawn
    ]).reshape(len(drawn), len(drawn))  # fmt: skip
    count, labels = connected_components(pairs)
    groups = [np.flatnonzero(labels == number).tolist() for number in range(count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        assert duplicates(glances) == sorted(group for group in groups if len(group) > 1)


def test_groups_are_what_pairs_connect_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = [flat(0, 40), flat(0, 200), flat(0, 20), flat(0), flat(0, 210)]
    assert duplicates(chain) == [[0, 2, 3], [1, 4]]
    monkeypatch.setattr(module, "CHUNK", 2)
    assert duplicates(chain) == [[0, 2, 3], [1, 4]]
