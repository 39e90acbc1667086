"""Two domains: which target photos have tags and which have none, and what an item draws from them."""

from pathlib import Path

import pytest
import torch
from torchvision.transforms import v2

import tiny
from getam.data.collection import Collection, load_collection
from getam.data.tag_dataset import TagDataset
from getam.data.two_domains import Target, TwoDomainDataset, load_target, strongly
from getam.errors import InputError

CLASSES = ("red", "blue")


def target_folder(folder: Path, rows: str) -> Path:
    """Six scenes, of which the table names some."""
    photos = tiny.write_scenes(folder) / "photos"
    (photos / "tags.csv").write_text("image,tags\n" + rows)
    return photos


@pytest.fixture
def source(scenes: Path) -> Collection:
    return load_collection(scenes / "photos", scenes / "tags.csv", classes=CLASSES)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    rows = "scene0.png,blue\nscene1.png,red\nscene3.png,red\nscene4.png,\n"
    return load_target(target_folder(tmp_path / "t", rows), CLASSES)


def names(collection: Collection) -> list[str]:
    return [sample.name for sample in collection.samples]


def dataset(source: Collection, target: Target, **options: object) -> TwoDomainDataset:
    given = {"strong_zoom": (1.0, 2.0), "seed": 3, "zoom": (1.0, 1.0), "colour_jitter": False, **options}
    return TwoDomainDataset(source, target, 32, **given)  # type: ignore[arg-type]


def test_photos_without_tags_and_those_beside_are_unlabelled(target: Target) -> None:
    assert names(target.shots) == ["scene0", "scene1", "scene3"]
    assert names(target.unlabelled) == ["scene4", "scene2", "scene5"]
    assert target.shots.classes == target.unlabelled.classes == CLASSES
    assert all(not sample.tags for sample in target.unlabelled.samples)


def test_only_the_classes_of_the_source_count(tmp_path: Path) -> None:
    """green is no class: alone it says nothing, and its photo is not without tags either."""
    found = load_target(target_folder(tmp_path, "scene0.png,green;red\nscene1.png,green\n"), CLASSES)
    assert [(sample.name, sample.tags) for sample in found.shots.samples] == [("scene0", ("red",))]
    assert names(found.unlabelled) == ["scene2", "scene3", "scene4", "scene5"]


def test_tags_are_in_the_order_of_the_source(tmp_path: Path) -> None:
    found = load_target(target_folder(tmp_path, "scene2.png,blue;red\n"), CLASSES)
    assert found.shots.samples[0].tags == CLASSES
    assert TagDataset(found.shots, 32)[0]["tags"].tolist() == [1, 1]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    photos = target_folder(tmp_path, "scene0.png,green\n")
    with pytest.raises(InputError, match="no photo has one of the tags red, blue: recipe ecacl needs a few"):
        load_target(photos, CLASSES)
    (photos / "tags.csv").write_text("image,tags\n" + "".join(f"scene{i}.png,red\n" for i in range(6)))
    with pytest.raises(
        InputError, match="every photo has tags: recipe ecacl learns from photos without tags"
    ):
        load_target(photos, CLASSES)
    with pytest.raises(InputError, match="does not exist"):
        load_target(tmp_path / "none", CLASSES)


def test_an_item_holds_both_domains(source: Collection, target: Target) -> None:
    data = dataset(source, target)
    alone = TagDataset(source, 32, seed=3, zoom=(1.0, 1.0))
    item = data[1]
    for name in ("image", "tags", "roi", "index"):
        assert torch.equal(item[name], alone[1][name])
    for name in ("shot_image", "weak_image", "strong_image"):
        assert (item[name].shape, item[name].dtype) == ((3, 32, 32), torch.float32)
        assert 0 <= item[name].min() <= item[name].max() <= 255
    shots = [TagDataset(target.shots, 32, seed=3, zoom=(1.0, 1.0))[i] for i in range(3)]
    assert any(
        torch.equal(item["shot_image"], s["image"]) and torch.equal(item["shot_tags"], s["tags"])
        for s in shots
    )
    weak = [TagDataset(target.unlabelled, 32, seed=3, zoom=(1.0, 1.0))[i]["image"] for i in range(3)]
    assert any(torch.equal(item["weak_image"], photo) for photo in weak)
    assert not torch.equal(item["weak_image"], item["strong_image"])


def test_items_depend_on_seed_epoch_and_index_alone(source: Collection, target: Target) -> None:
    data, again = dataset(source, target), dataset(source, target)
    torch.manual_seed(7)
    first = data[2]
    state = torch.get_rng_state()
    second = again[2]
    assert torch.equal(torch.get_rng_state(), state)  # torch's own numbers are left alone
    assert all(torch.equal(first[name], second[name]) for name in first)
    for other in (dataset(source, target, seed=4)[2], data[3]):
        assert not torch.equal(other["strong_image"], first["strong_image"])
    data.set_epoch(1)
    assert not torch.equal(data[2]["strong_image"], first["strong_image"])
    for part in (data.shots, data.weak, data.strong):
        assert int(part._epoch) == 1
    assert int(data._epoch) == 1


def test_classes_of_the_shots_come_up_alike(source: Collection, target: Target) -> None:
    """Two of three shots are red."""
    data = dataset(source, target)
    tags = []
    for epoch in range(12):
        data.set_epoch(epoch)
        tags += [data[index]["shot_tags"] for index in range(6)]
    share = float(torch.stack(tags)[:, 0].mean())
    assert 0.38 < share < 0.62


def test_the_strong_view_has_its_own_zoom(source: Collection, target: Target) -> None:
    data = dataset(source, target, strong_zoom=(2.0, 2.0))
    assert (data.strong.zoom, data.weak.zoom, data.shots.zoom) == ((2.0, 2.0), (1.0, 1.0), (1.0, 1.0))


def test_strong_augmentation_is_of_bytes() -> None:
    image = torch.tensor([-3.0, 0.4, 99.6, 300.0]).expand(3, 4, 4)
    found = strongly(v2.Identity(), image)
    assert found[0, 0].tolist() == [0, 0, 100, 255]
    assert found.dtype == torch.float32
    assert type(found) is torch.Tensor
