"""Crops for training: everything moves together, the same numbers give the same crop."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from getam.data.augmentation import PAD_COLOUR, crop_generator, draw_augmentation
from getam.data.collection import Collection, Sample
from getam.data.masks import write_mask
from getam.data.tag_dataset import TagDataset
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


def test_empty_collections_and_crops_are_errors(collection: Collection) -> None:
    with pytest.raises(InputError, match="has no photos"):
        TagDataset(Collection(("cat",), ()), 32)
    with pytest.raises(InputError, match="crop size 0×0 is not positive"):
        TagDataset(collection, 0)
