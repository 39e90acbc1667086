"""Maps that draw themselves, held against overlay and refiner called one by one; files; what a notebook gets."""

from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from getam.errors import InputError
from getam.maps.base import Maps
from getam.nets.class_names import ClassNames
from getam.refine.scaled import refine_maps
from getam.report.overlay import heat_overlay
from getam.report.photo_maps import PhotoMaps, PhotoMapsList, photo_tensor

NAMES = ClassNames({0: "cat", 1: "a <b>, c", 2: "dog/wolf"})


def photo(height: int = 40, width: int = 48) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def raw(batch: int = 1, classes: tuple[int, ...] = (0, 2)) -> Maps:
    slots = torch.tensor([classes] * batch)
    values = torch.rand(batch, len(classes), 5, 6, generator=torch.Generator().manual_seed(3)) * 1e-3
    values[slots < 0] = 0
    scores = torch.arange(slots.numel()).view(slots.shape) * (slots >= 0) / 2
    return Maps(values, slots >= 0, slots, scores.float(), "made", (5, 6), "cls")


def one(height: int = 40, width: int = 48, title: str = "photo") -> PhotoMaps:
    return PhotoMaps.of(raw(), NAMES, photo(height, width), title)


def pixels(picture: Image.Image) -> Any:
    return np.asarray(picture)


def hwc(image: Tensor) -> Any:
    return image.permute(1, 2, 0).numpy()


# Pictures


@pytest.mark.parametrize("refine", [True, False])
def test_an_overlay_is_the_refined_map_over_the_photo(refine: bool) -> None:
    maps = one()
    heat = refine_maps(photo()[None].float(), raw().values, iterations=10 if refine else 0)[0]
    torch.testing.assert_close(maps.heat(refine=refine), heat)
    for slot, name in enumerate(("cat", "dog/wolf")):
        wanted = heat_overlay(hwc(photo()), heat[slot].numpy())
        np.testing.assert_array_equal(pixels(maps.overlay(which=slot, refine=refine)), wanted)
        np.testing.assert_array_equal(pixels(maps.overlay(which=name, refine=refine)), wanted)
    np.testing.assert_array_equal(pixels(maps.overlay()), pixels(maps.overlay(None, 0, refine=True)))
    assert not np.array_equal(pixels(maps.overlay()), pixels(maps.overlay(refine=False)))


def test_the_photo_may_be_given() -> None:
    other = photo(60, 72)
    batch = PhotoMaps.of(raw(2), NAMES)
    for index in (0, 1, -1):
        heat = refine_maps(other[None].float(), raw(2).values[index][None])[0]
        for picture in (hwc(other), Image.fromarray(hwc(other))):
            found = batch.overlay(picture, 1, index=index)
            assert found.size == (72, 60)
            np.testing.assert_array_equal(pixels(found), heat_overlay(hwc(other), heat[1].numpy()))
    over = one().overlay(hwc(other), "dog/wolf")
    heat = refine_maps(other[None].float(), raw().values)[0]
    np.testing.assert_array_equal(pixels(over), heat_overlay(hwc(other), heat[1].numpy()))
    plain = refine_maps(other[None].float(), raw().values, iterations=0)[0]
    over = one().overlay(hwc(other), refine=False)
    np.testing.assert_array_equal(pixels(over), heat_overlay(hwc(other), plain[0].numpy()))
    with pytest.raises(InputError, match="know no photo: give one"):
        batch.overlay()


@pytest.mark.parametrize("which", [2, -1, "horse"])
def test_maps_that_are_not_there(which: Any) -> None:
    with pytest.raises(InputError, match=rf"no map {which!r}: choose a slot of 0\.\.1, or cat, dog/wolf"):
        one().overlay(which=which)
    with pytest.raises(InputError, match="it has none"):
        PhotoMaps.of(raw(classes=()), NAMES, photo()).overlay()


def test_large_photos_are_refined_at_500_and_drawn_whole() -> None:
    maps = one(20, 1000)
    assert maps.heat().shape == (2, 10, 500)
    assert maps.overlay().size == (1000, 20)
    small = F.interpolate(photo(20, 1000)[None], size=(10, 500), mode="bilinear", antialias=True).float()
    torch.testing.assert_close(maps.heat(), refine_maps(small, raw().values)[0])
    assert maps.to_masks(0.5).shape == (1, 2, 20, 1000)


# Parts


def test_photos_of_a_batch_one_by_one() -> None:
    batch = PhotoMaps.of(raw(3), NAMES, title="made")
    assert len(batch) == 3
    assert [maps.title for maps in batch] == ["made0", "made1", "made2"]
    assert torch.equal(batch[-1].values, raw(3).values[2:])
    assert batch[1].found() == batch.found(1) == [("cat", 1.0), ("dog/wolf", 1.5)]
    assert batch[2].scores.tolist() == [[2.0, 2.5]]
    assert batch[0].valid.shape == batch[0].classes.shape == (1, 2)
    with pytest.raises(IndexError):
        batch[3]
    assert repr(PhotoMaps.of(raw(2), NAMES, title="a")) == (
        "<maps of a0: cat 0.00, dog/wolf 0.50; a1: cat 1.00, dog/wolf 1.50>"
    )
    padded = PhotoMaps.of(raw(classes=(2, -1)), NAMES)
    assert padded.found() == [("dog/wolf", 0.0)]


def test_top_forgets_no_photo() -> None:
    maps = one(title="a")
    before = maps.heat()
    best = maps.top(1)
    assert best.found() == [("dog/wolf", 0.5)]
    assert (best.title, best.photo is maps.photo) == ("a", True)
    torch.testing.assert_close(best.heat(), before[1:])


# Masks


def test_masks_have_the_size_of_the_photo() -> None:
    maps = one()
    for refine in (True, False):
        heat = refine_maps(photo()[None].float(), raw().values, iterations=10 if refine else 0)[0]
        wanted = heat > 0.6 * heat.amax((1, 2), keepdim=True)
        assert torch.equal(maps.to_masks(0.6, refine=refine)[0], wanted)
    assert torch.equal(maps.to_masks(0.6), maps.to_masks(0.6, refine=True))
    assert maps.to_masks(0.6, size=(7, 9)).shape == (1, 2, 7, 9)
    batch = PhotoMaps.of(raw(2), NAMES)
    assert torch.equal(batch.to_masks(0.6), raw(2).to_masks(0.6))
    assert torch.equal(batch.to_masks(0.6, size=(9, 9)), raw(2).to_masks(0.6, size=(9, 9)))
    for bad in (1.0, -1.0):
        with pytest.raises(InputError, match="threshold"):
            maps.to_masks(bad)


# Files


def test_files_are_the_pictures_and_the_raw_maps(tmp_path: Path) -> None:
    maps = one(title="sub/a")
    assert maps.save(tmp_path / "new", refine=False) == tmp_path / "new"
    folder = tmp_path / "new" / "sub"
    assert {file.name for file in folder.iterdir()} == {"a.cat.png", "a.dog-wolf.png", "a.npz"}
    with Image.open(folder / "a.dog-wolf.png") as picture:
        np.testing.assert_array_equal(pixels(picture), pixels(maps.overlay(which=1, refine=False)))
    stored = np.load(folder / "a.npz")
    np.testing.assert_array_equal(stored["values"], raw().values[0].numpy())
    np.testing.assert_array_equal(stored["scores"], raw().scores[0].numpy())
    assert stored["classes"].tolist() == ["cat", "dog/wolf"]
    assert (str(stored["method"]), str(stored["rows"])) == ("made", "cls")
    refined = maps.save(str(tmp_path / "fine"))
    with Image.open(refined / "sub" / "a.cat.png") as picture:
        np.testing.assert_array_equal(pixels(picture), pixels(maps.overlay()))


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    both = PhotoMapsList([one(title="a"), one(title="b")])
    (tmp_path / "b.npz").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"b\.npz exists: .*overwrite=True"):
        both.save(tmp_path)
    with pytest.raises(InputError, match=r"b\.npz exists"):
        both[1].save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["b.npz"]
    assert both.save(tmp_path, overwrite=True, refine=False) == tmp_path
    assert len(list(tmp_path.iterdir())) == 6
    with Image.open(tmp_path / "a.cat.png") as picture:
        np.testing.assert_array_equal(pixels(picture), pixels(both[0].overlay(refine=False)))
    both[1].save(tmp_path, overwrite=True)


def test_slots_that_are_not_valid_have_no_files() -> None:
    found = PhotoMaps.of(raw(2, classes=(1, -1)), NAMES, title="t").files()
    assert set(found) == {"t0.a <b>, c.png", "t0.npz", "t1.a <b>, c.png", "t1.npz"}
    assert np.load(io.BytesIO(found["t1.npz"]))["values"].shape == (1, 5, 6)
    assert np.load(io.BytesIO(found["t1.npz"]))["scores"].shape == (1,)


# Notebooks


def shown(page: str) -> list[Any]:
    return [
        pixels(Image.open(io.BytesIO(base64.b64decode(code))))
        for code in re.findall(r"base64,([^\"]+)", page)
    ]


def test_a_notebook_shows_a_picture_a_class_with_name_and_score() -> None:
    maps = PhotoMaps.of(raw(classes=(0, 1)), NAMES, photo(400, 800))
    pictures = shown(maps._repr_html_())
    assert [picture.shape for picture in pictures] == [(160, 320, 3)] * 2
    wanted = maps.overlay(which=1)
    wanted.thumbnail((320, 320))
    np.testing.assert_array_equal(pictures[1], pixels(wanted))
    captions = re.findall("<figcaption>(.*?)</figcaption>", maps._repr_html_())
    assert captions == ["cat (0.00)", "a &lt;b&gt;, c (0.50)"]
    assert PhotoMapsList([maps, maps])._repr_html_() == maps._repr_html_() * 2


def test_maps_of_tensors_show_their_heat_alone() -> None:
    batch = PhotoMaps.of(raw(2), NAMES)
    page = batch._repr_html_()
    assert page.count("<div>") == 2
    pictures = shown(page)
    assert [picture.shape for picture in pictures] == [(267, 320, 3)] * 4
    brightest = np.unravel_index(pictures[3].sum(2).argmax(), (267, 320))
    peak = np.unravel_index(int(raw(2).values[1, 1].argmax()), (5, 6))
    assert (brightest[0] * 5 // 267, brightest[1] * 6 // 320) == peak


def test_show_draws_in_a_notebook_and_else_in_a_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    maps = PhotoMapsList([one(), one(90, 30)])
    for session, there in ((object(), True), (None, False)):
        python = SimpleNamespace(
            get_ipython=lambda s=session: s, display=SimpleNamespace(display=drawn.append)
        )
        monkeypatch.setitem(sys.modules, "IPython", python)  # type: ignore[arg-type]
        monkeypatch.setattr(Image.Image, "show", lambda picture: drawn.append(picture))
        maps.show()
        if there:
            assert drawn.pop() is maps
    sheet = drawn.pop()
    assert sheet.size == (48 + 48 + 30 + 30, 320)
    np.testing.assert_array_equal(pixels(sheet)[:40, 48:96], pixels(maps[0].overlay(which=1)))
    np.testing.assert_array_equal(pixels(sheet)[:90, 126:156], pixels(maps[1].overlay(which=1)))
    assert (pixels(sheet)[90:] == 255).all()
    monkeypatch.delitem(sys.modules, "IPython")
    one().show()
    assert drawn.pop().size == (96, 320)


# Several


def test_a_list_behaves_like_one() -> None:
    several = PhotoMapsList([one(title="a"), one(20, 30, "b"), one(title="c")])
    assert (len(several), several[1].title, several[-1].title) == (3, "b", "c")
    assert [maps.title for maps in several[1:]] == ["b", "c"]
    assert isinstance(several[:1], PhotoMapsList)
    assert repr(several) == "<maps of 3 photos: a, b, c>"
    assert [maps.found() for maps in several.top(1)] == [[("dog/wolf", 0.5)]] * 3
    masks = several.to_masks(0.3, refine=False)
    assert [mask.shape[-2:] for mask in masks] == [(40, 48), (20, 30), (40, 48)]
    assert torch.equal(masks[1], several[1].to_masks(0.3, refine=False))
    assert torch.equal(several.to_masks(0.3)[1], several[1].to_masks(0.3))


# Photos


def test_photos_as_people_hold_them() -> None:
    image = photo(4, 6)
    assert torch.equal(photo_tensor(hwc(image), "x"), image)
    assert torch.equal(photo_tensor(Image.fromarray(hwc(image)), "x"), image)
    grey = Image.fromarray(hwc(image)[..., 0])
    assert torch.equal(photo_tensor(grey, "x"), image[:1].expand(3, 4, 6))
    turned = Image.fromarray(hwc(image))
    turned.getexif()[0x0112] = 3
    assert torch.equal(photo_tensor(turned, "x"), image.flip(1, 2))
    wide = Image.fromarray(hwc(image)[..., 0].astype(np.uint16) * 257)
    assert torch.equal(photo_tensor(wide, "x"), image[:1].expand(3, 4, 6))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((4, 6, 3)), r"photo number 3 is an array \(4, 6, 3\) float64: give \(H, W, 3\) uint8"),
        (np.zeros((3, 4, 6), np.uint8), r"array \(3, 4, 6\) uint8"),
        (np.zeros((4, 6), np.uint8), r"array \(4, 6\) uint8"),
        (np.zeros((0, 6, 3), np.uint8), r"array \(0, 6, 3\) uint8"),
        (Image.new("F", (2, 2)), "number 3 holds floating-point"),
        (torch.zeros(3, 4, 4), r"photo number 3 is a Tensor: .*batch a tensor \(B, 3, H, W\)"),
        (7, "photo number 3 is a int"),
    ],
)
def test_what_is_no_photo(given: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        photo_tensor(given, "number 3")


def test_a_photo_that_pillow_opened_but_cannot_read(tmp_path: Path) -> None:
    Image.fromarray(hwc(photo(64, 64))).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-900])
    with (
        Image.open(tmp_path / "a.jpg") as broken,
        pytest.raises(InputError, match=r"given cannot be read.*truncated"),
    ):
        photo_tensor(broken, "given")
