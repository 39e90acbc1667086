"""A mask as detections, against supervision's own boxes of the same pixels."""

from pathlib import Path

import numpy as np
import pytest

import getam
from getam.data.confidences import with_confidences
from getam.data.masks import encode_mask, write_classes, write_mask
from getam.errors import InputError

sv = pytest.importorskip("supervision", reason="comes with the extra supervision")
LABEL = np.array([[0, 3, 3, 255], [1, 0, 3, 0], [0, 0, 0, 0]], np.uint8)


def test_pixels_boxes_names_and_confidences(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "a.png"
    file.write_bytes(with_confidences(encode_mask(LABEL), {"dog": 0.5}))
    write_classes(tmp_path, ("cat", "cow", "dog"))
    found = getam.detections(file)
    assert isinstance(found, sv.Detections)
    np.testing.assert_array_equal(found.mask, [LABEL == 1, LABEL == 3])
    assert found.class_id.tolist() == [0, 2]
    assert found.data["class_name"].tolist() == ["cat", "dog"]
    np.testing.assert_array_equal(found.confidence, np.array([np.nan, 0.5], np.float32))
    assert found.xyxy.tolist() == [[0, 1, 1, 2], [1, 0, 3, 2]]
    inner = sv.mask_to_xyxy(found.mask)
    np.testing.assert_array_equal(inner[:, :2], found.xyxy[:, :2])
    assert found.area.tolist() == [1, 3]


def test_nothing_found_and_no_class_list(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", np.zeros((2, 3), np.uint8))
    with pytest.raises(InputError, match=r"classes\.txt"):
        getam.detections(tmp_path / "a.png")
    found = getam.detections(tmp_path / "a.png", classes=("cat",))
    assert (len(found), found.confidence) == (0, None)
    write_mask(tmp_path / "a.png", np.ones((2, 3), np.uint8))
    assert getam.detections(str(tmp_path / "a.png"), classes=("cat",)).data["class_name"].tolist() == ["cat"]


@pytest.mark.parametrize(("extra", "call"), [
    ("supervision", lambda folder: getam.detections(folder / "a.png")),
    ("coco", lambda folder: getam.convert(folder, to="coco", out=folder / "o", photos=folder)),
])  # fmt: skip
def test_without_the_extra_the_error_names_it(
    extra: str, call: object, tmp_path: Path, monkeypatch: object
) -> None:
    write_mask(tmp_path / "a.png", LABEL)
    write_classes(tmp_path, ("cat", "cow", "dog"))
    monkeypatch.setitem(__import__("sys").modules, {"coco": "pycocotools"}.get(extra, extra), None)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=rf"pip install 'getam\[{extra}\]'"):
        call(tmp_path)  # type: ignore[operator]
