"""Crops for training: everything moves together, the same numbers give the same crop."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from getam.data.collection import Collection, Sample
from getam.data.masks import write_mask
from getam.data.transforms import (
    PAD_COLOUR,
    Augmentation,
    TagDataset,
    augment,
    crop_generator,
    draw_augmentation,
    fit_long_side,
    read_photo_and_saliency,
    resize_photo,
    saliency_of,
)
from getam.errors import InputError


def make_collection(folder: Path, sizes: list[tuple[int, int]], scale: float = 1.0) -> Collection:
    """Photos whose red, mask and saliency show the same disc: red 255, label 1, saliency 255 inside."""
    samples = []
    for number, (height, width) in enumerate(sizes):
        y, x = np.mgrid[:height, :width]
        inside = (y - height * 0.4) ** 2 + (x - width * 0.6) ** 2 < (min(height, width) * 0.3) ** 2
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[..., 0] = inside * 255
        name = f"p{number}"
        Image.fromarray(pixels).save(folder / f"{name}.png")
        write_mask(folder / "masks" / f"{name}.png", inside.astype(np.uint8))
        small = Image.fromarray((inside * 255).astype(np.uint8))
        small = small.resize((round(width * scale), round(height * scale)), Image.Resampling.BOX)
        (folder / "saliency").mkdir(exist_ok=True)
        small.save(folder / "saliency" / f"{name}.png")
        tags = ("disc",) if number % 2 == 0 else ("disc", "other")
        samples.append(
            Sample(
                name,
                folder / f"{name}.png",
                tags,
                mask=folder / "masks" / f"{name}.png",
                saliency=folder / "saliency" / f"{name}.png",
            )
        )
    return Collection(("disc", "other"), tuple(samples), ("disc", "other"))


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return make_collection(tmp_path, [(60, 90), (100, 50), (48, 48), (500, 700)])


@pytest.mark.parametrize(("size", "shape"), [(64, (64, 64)), ((40, 72), (40, 72))])
def test_item_has_the_promised_shapes(
    collection: Collection, size: int | tuple[int, int], shape: tuple
) -> None:
    dataset = TagDataset(collection, size, with_masks=True)
    assert len(dataset) == 4
    item = dataset[1]
    expected = {
        "image": ((3, *shape), torch.float32),
        "tags": ((2,), torch.float32),
        "roi": (shape, torch.bool),
        "saliency": (shape, torch.float32),
        "mask": (shape, torch.int64),
        "index": ((), torch.int64),
    }
    assert {key: (tuple(value.shape), value.dtype) for key, value in item.items()} == expected
    assert all(type(value) is torch.Tensor for value in item.values())
    assert item["tags"].tolist() == [1, 1]
    assert dataset[0]["tags"].tolist() == [1, 0]
    assert int(item["index"]) == 1


def test_optional_keys_are_absent_without_their_source(collection: Collection) -> None:
    samples = tuple(replace(sample, saliency=None, mask=None) for sample in collection.samples)
    bare = replace(collection, samples=samples)
    assert set(TagDataset(bare, 32)[0]) == {"image", "tags", "roi", "index"}
    with pytest.raises(InputError, match=r"none of the photos has one, such as p0\.png for .*p0\.png"):
        TagDataset(bare, 32, with_masks=True)


@pytest.mark.parametrize(
    ("classes", "undecided"), [(("disc", "other"), 255), (tuple(map(str, range(255))), 65535)]
)
def test_of_a_photo_without_a_mask_every_pixel_is_undecided(
    collection: Collection, classes: tuple[str, ...], undecided: int
) -> None:
    first = replace(collection.samples[0], mask=None, tags=(classes[0],))
    mixed = replace(collection, classes=classes, samples=(first, replace(collection.samples[2], tags=())))
    dataset = TagDataset(mixed, 32, with_masks=True)
    assert dataset[0]["mask"].unique().tolist() == [undecided]
    assert dataset[0]["mask"].dtype == dataset[1]["mask"].dtype == torch.int64
    assert 0 in dataset[1]["mask"]
    assert dataset[0]["tags"].sum() == 1
    torch.testing.assert_close(dataset[0]["image"], TagDataset(mixed, 32)[0]["image"])


def test_image_mask_and_saliency_move_together(collection: Collection) -> None:
    dataset = TagDataset(collection, 64, with_masks=True)
    for epoch in range(6):
        dataset.set_epoch(epoch)
        for index in range(len(dataset)):
            item = dataset[index]
            roi, mask = item["roi"], item["mask"]
            assert (mask[~roi] == 255).all()
            assert (mask[roi] <= 1).all()
            assert (item["saliency"][~roi] == 0).all()
            for channel, colour in enumerate(PAD_COLOUR):
                assert (item["image"][channel][~roi] == colour).all()
            red, salient = item["image"][0][roi] / 255, item["saliency"][roi]
            assert 0.04 < red.mean() < 0.6
            assert item["saliency"].max() == 1
            assert (red - salient).abs().max() < 0.02
            disagree = (red > 0.5) != (mask[roi] == 1)
            assert disagree.float().mean() < 0.02  # only along the edge of the disc


def test_smaller_saliency_maps_are_scaled_up(tmp_path: Path) -> None:
    collection = make_collection(tmp_path, [(80, 120)], scale=0.5)
    item = TagDataset(collection, 96)[0]
    assert ((item["image"][0] / 255)[item["roi"]] - item["saliency"][item["roi"]]).abs().mean() < 0.03


def test_beliefs_move_with_the_photo_where_masks_do(collection: Collection, tmp_path: Path) -> None:
    """Here they are what the saliency maps are; beside masks that are not asked for, nobody reads them."""
    samples = tuple(replace(sample, belief=sample.saliency) for sample in collection.samples)
    believed = replace(collection, samples=samples)
    dataset = TagDataset(believed, 64, with_masks=True, zoom=(0.6, 0.9))
    for index in range(len(dataset)):
        item = dataset[index]
        assert torch.equal(item["belief"], item["saliency"])
        assert (item["belief"][~item["roi"]] == 0).all()
        assert item["belief"].max() == 1
    assert "belief" not in TagDataset(believed, 32)[0]
    some = replace(collection, samples=(samples[0], *collection.samples[1:]))
    assert "belief" not in TagDataset(some, 32, with_masks=True)[0]
    Image.new("L", (60, 90)).save(tmp_path / "saliency" / "p0.png")
    only = replace(believed, samples=(replace(samples[0], saliency=None),))
    with pytest.raises(InputError, match=r"belief map .*p0\.png is 60×90 but its photo is 90×60"):
        TagDataset(only, 32, with_masks=True)[0]


def test_saliency_of_another_shape_is_an_error(collection: Collection, tmp_path: Path) -> None:
    Image.new("L", (60, 90)).save(tmp_path / "saliency" / "p0.png")
    with pytest.raises(InputError, match=r"p0\.png is 60×90 but its photo is 90×60"):
        TagDataset(collection, 32)[0]


def test_mask_of_another_size_is_an_error(collection: Collection, tmp_path: Path) -> None:
    write_mask(tmp_path / "masks" / "p0.png", np.zeros((30, 45), np.uint8))
    with pytest.raises(InputError, match=r"p0\.png is 45×30 but its photo is 90×60"):
        TagDataset(collection, 32, with_masks=True)[0]


def test_crops_depend_on_seed_epoch_and_index_only(collection: Collection) -> None:
    first, second = (TagDataset(collection, 32, seed=5) for _ in range(2))
    for dataset in (first, second):
        dataset.set_epoch(3)
    torch.manual_seed(0)
    forwards = [first[index]["image"] for index in range(4)]
    torch.manual_seed(99)
    backwards = [second[index]["image"] for index in (3, 2, 1, 0)][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert torch.equal(one, other)
    second.set_epoch(4)
    assert any(not torch.equal(forwards[index], second[index]["image"]) for index in range(4))
    other_seed = TagDataset(collection, 32, seed=6)
    other_seed.set_epoch(3)
    assert any(not torch.equal(forwards[index], other_seed[index]["image"]) for index in range(4))


def test_workers_that_live_on_see_the_new_epoch(collection: Collection) -> None:
    dataset = TagDataset(collection, 32)
    loader = DataLoader(dataset, batch_size=4, num_workers=1, persistent_workers=True)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        batch = next(iter(loader))
        expected = torch.stack([dataset[index]["image"] for index in range(4)])
        assert torch.equal(batch["image"], expected)
        assert batch["index"].tolist() == [0, 1, 2, 3]


def test_drawn_numbers_cover_the_range_of_the_paper() -> None:
    drawn = [draw_augmentation((256, 256), crop_generator(0, 0, index)) for index in range(2000)]
    sides = np.array([each.long_side for each in drawn])
    low, high = 0.9 * 256, 256 / 0.875
    assert sides.min() == round(low)
    assert sides.max() == round(high)
    assert abs(sides.mean() - (low + high) / 2) < 2
    assert abs(np.mean([each.flip for each in drawn]) - 0.5) < 0.05
    assert abs(np.mean([each.offset for each in drawn]) - 0.5) < 0.03
    assert {each.brightness for each in drawn} == {1.0}


def test_zoom_is_a_multiple_of_the_crop(collection: Collection) -> None:
    drawn = [draw_augmentation((100, 40), crop_generator(0, 0, n), zoom=(0.5, 2.0)) for n in range(500)]
    sides = [each.long_side for each in drawn]
    assert 50 <= min(sides) < 60
    assert 190 < max(sides) <= 200
    halved = TagDataset(collection, 64, zoom=(0.5, 0.5))[0]
    assert halved["roi"].any(1).sum() * halved["roi"].any(0).sum() == halved["roi"].sum() == 32 * 21


def test_colour_jitter_is_mild_and_leaves_the_padding(collection: Collection) -> None:
    plain = TagDataset(collection, 64)[0]
    jittered = TagDataset(collection, 64, colour_jitter=True)[0]
    assert torch.equal(plain["roi"], jittered["roi"])
    assert torch.equal(plain["saliency"], jittered["saliency"])
    assert not torch.equal(plain["image"], jittered["image"])
    assert jittered["image"].min() >= 0
    assert jittered["image"].max() <= 255
    assert (jittered["image"] - plain["image"]).abs().mean() < 60
    assert torch.equal(plain["image"][:, ~plain["roi"]], jittered["image"][:, ~plain["roi"]])


def test_gains_are_of_the_drawn_size() -> None:
    layers = {"image": tv_tensors.Image(torch.full((3, 8, 8), 100, dtype=torch.uint8))}
    brighter = augment(layers, (8, 8), (8, 8), Augmentation(8, (0.0, 0.0), False, brightness=1.2))
    assert torch.allclose(brighter["image"], torch.tensor(120.0), atol=0.01)


def crop_slowly(
    photo: np.ndarray, size: tuple[int, int], drawn: Augmentation
) -> tuple[np.ndarray, np.ndarray]:
    """Oracle for a photo that is not resized: every pixel of the crop is looked up in plain Python."""
    height, width = photo.shape[:2]
    top, left = (round((size[k] - photo.shape[k]) * drawn.offset[k]) for k in range(2))
    image, roi = np.empty((*size, 3)), np.zeros(size, bool)
    for y in range(size[0]):
        for x in range(size[1]):
            source_y, source_x = y - top, (size[1] - 1 - x if drawn.flip else x) - left
            roi[y, x] = 0 <= source_y < height and 0 <= source_x < width
            image[y, x] = photo[source_y, source_x] if roi[y, x] else PAD_COLOUR
    return image, roi


@settings(max_examples=60, deadline=None)
@given(
    photo_size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    offset=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    flip=st.booleans(),
)
def test_crop_pad_and_flip_agree_with_the_slow_way(
    photo_size: tuple[int, int], size: tuple[int, int], offset: tuple[float, float], flip: bool
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*photo_size, 3), np.uint8)
    drawn = Augmentation(max(photo_size), offset, flip)
    layers = {"image": tv_tensors.Image(torch.from_numpy(photo).permute(2, 0, 1))}
    moved = augment(layers, photo_size, size, drawn)
    image, roi = crop_slowly(photo, size, drawn)
    np.testing.assert_allclose(moved["image"].permute(1, 2, 0).numpy(), image, atol=1e-4)
    np.testing.assert_array_equal(moved["roi"][0].bool().numpy(), roi)


def test_labels_are_taken_from_the_middle_of_the_pixels_they_replace() -> None:
    rows = torch.arange(9, dtype=torch.uint8).repeat_interleave(9).reshape(1, 9, 9)
    layers = {
        "image": tv_tensors.Image(rows.expand(3, 9, 9)),
        "mask": tv_tensors.Mask(rows),
    }
    moved = augment(layers, (9, 9), (3, 3), Augmentation(3, (0.0, 0.0), False))
    assert moved["mask"][0, :, 0].tolist() == [1, 4, 7]
    assert moved["image"][0, 1, 1] == 4


def test_the_long_side_follows_the_longer_side_of_the_crop() -> None:
    sides = [draw_augmentation((40, 200), crop_generator(0, 0, index)).long_side for index in range(200)]
    assert min(sides) >= 180
    assert max(sides) <= 229


@given(size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)), long_side=st.integers(1, 2000))
def test_fitting_keeps_the_long_side_and_the_shape(size: tuple[int, int], long_side: int) -> None:
    height, width = fit_long_side(size, long_side)
    assert max(height, width) == long_side
    assert min(height, width) >= 1
    assert abs(height - size[0] * long_side / max(size)) <= 1
    assert abs(width - size[1] * long_side / max(size)) <= 1


def test_eval_item_is_the_whole_photo(collection: Collection) -> None:
    dataset = TagDataset(collection, 32)
    item = dataset.eval_item(1, long_side=64)
    assert tuple(item["image"].shape) == (3, 64, 32)
    assert item["size"].tolist() == [100, 50]
    assert tuple(dataset.eval_item(1, square=48)["image"].shape) == (3, 48, 48)
    with Image.open(collection.samples[1].photo) as image:
        np.testing.assert_array_equal(dataset.eval_item(1)["image"].permute(1, 2, 0).numpy(), np.array(image))


def test_resize_photo_takes_one_target() -> None:
    with pytest.raises(ValueError, match=r"long_side \(4\) or square \(5\)"):
        resize_photo(torch.zeros(3, 8, 8, dtype=torch.uint8), long_side=4, square=5)


def test_resized_photos_agree_with_pillow() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (60, 90, 3), np.uint8)
    resized = resize_photo(torch.from_numpy(pixels).permute(2, 0, 1), long_side=45)
    expected = np.array(Image.fromarray(pixels).resize((45, 30), Image.Resampling.BILINEAR))
    assert np.abs(resized.permute(1, 2, 0).numpy() - expected).max() <= 1


def test_empty_collections_and_crops_are_errors(collection: Collection) -> None:
    with pytest.raises(InputError, match="has no photos"):
        TagDataset(Collection(("cat",), ()), 32)
    with pytest.raises(InputError, match="crop size 0×0 is not positive"):
        TagDataset(collection, 0)


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
