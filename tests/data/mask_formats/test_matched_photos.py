"""Masks find their photos by path, by file name, and behind what Label Studio puts before uploaded ones."""

from __future__ import annotations

import pytest

from getam.data.mask_formats.photo_files import by_name, match
from getam.errors import InputError

PHOTOS = by_name(["a/b/cat.jpg", "a/dog.jpg", "b/dog.jpg", "cow-1.png"])


@pytest.mark.parametrize(
    ("mask", "photo"),
    [
        ("a/b/cat", "a/b/cat.jpg"),
        ("cat", "a/b/cat.jpg"),
        ("upload/3/cat", "a/b/cat.jpg"),
        ("upload/3/1a2b3c4d-cat", "a/b/cat.jpg"),
        ("a/dog", "a/dog.jpg"),  # its path decides between two of one name
        ("1a2b3c4d-cow-1", "cow-1.png"),
    ],
)
def test_the_photo_of_a_mask(mask: str, photo: str) -> None:
    assert match(mask, PHOTOS) == photo


def test_two_photos_of_one_name_and_none() -> None:
    with pytest.raises(
        InputError, match=r"2 photos could belong to the mask 'x/dog': a/dog\.jpg, b/dog\.jpg"
    ):
        match("x/dog", PHOTOS)
    with pytest.raises(InputError, match="no photo belongs to the mask 'a/b/cta'; did you mean 'a/b/cat'"):
        match("a/b/cta", PHOTOS)
