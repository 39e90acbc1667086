"""A folder of masks as samples of FiftyOne; needs fiftyone (no extra of ours), and no database."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import getam
from getam.data.confidences import with_confidences
from getam.data.masks import encode_mask, write_classes
from getam.errors import InputError

LABEL = np.array([[0, 1, 255], [2, 2, 0]], np.uint8)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    masks, photos = tmp_path / "masks", tmp_path / "photos"
    for folder in (masks, photos):
        (folder / "sub").mkdir(parents=True)
    write_classes(masks, ("cat", "dog"))
    for name, sure in (("a", {"cat": 0.75, "dog": 0.5}), ("sub/b", {})):
        (masks / f"{name}.png").write_bytes(with_confidences(encode_mask(LABEL), sure))
        Image.new("RGB", (3, 2)).save(photos / f"{name}.jpg")
    return masks, photos


def test_samples_have_photo_mask_and_confidence(folders: tuple[Path, Path]) -> None:
    fiftyone = pytest.importorskip("fiftyone", reason="heavy: run where it is installed")
    masks, photos = folders
    samples, targets = getam.fiftyone_samples(masks, photos)
    assert targets == {0: "background", 1: "cat", 2: "dog", 255: "undecided"}
    assert all(isinstance(sample, fiftyone.Sample) for sample in samples)
    assert [sample.filepath for sample in samples] == [str(photos / "a.jpg"), str(photos / "sub" / "b.jpg")]
    for sample in samples:
        np.testing.assert_array_equal(sample.masks.mask, LABEL)
    assert samples[0].confidence == 0.5
    assert "confidence" not in samples[1].field_names


def test_more_classes_than_a_byte_holds(tmp_path: Path) -> None:
    pytest.importorskip("fiftyone", reason="heavy: run where it is installed")
    write_classes(tmp_path / "masks", [f"c{number}" for number in range(255)])
    label = np.array([[255, 65535, 1]], np.uint16)
    Image.fromarray(label).save(tmp_path / "masks" / "a.png")
    Image.new("RGB", (3, 1)).save(tmp_path / "a.jpg")
    (sample,), targets = getam.fiftyone_samples(tmp_path / "masks", tmp_path)
    assert sample.masks.mask.tolist() == label.tolist()
    assert (targets[255], targets[65535], len(targets)) == ("c254", "undecided", 257)


def test_without_fiftyone_the_error_says_what_to_install(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fiftyone", None)
    with pytest.raises(InputError, match="pip install fiftyone"):
        getam.fiftyone_samples(*folders)
