"""Both layouts are gathered and checked before anything runs; what is missing is named with its line."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam.data.collection import load_collection, load_sample_mask
from getam.data.masks import write_classes, write_mask
from getam.errors import InputError

SHARED = Path(__file__).parents[2].parent / "shared"


def photo(path: Path, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (100, 150, 200)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos in two folders and their tags."""
    for name in ("a.jpg", "b.png", "deep/c.JPG"):
        photo(tmp_path / name)
    (tmp_path / "tags.csv").write_text("image,tags\nb.png,dog;bird\na.jpg,cat\ndeep/c.JPG,\n")
    return tmp_path


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """The VOC layout: two ids in train, one in val, masks with labels 8 (cat), 12 (dog) and 15 (person)."""
    for name in ("2007_1", "2007_2", "2007_3"):
        photo(tmp_path / "JPEGImages" / f"{name}.jpg")
        label = np.zeros((6, 8), np.uint8)
        label[1], label[2], label[3], label[4] = 8, 12, 15, 255
        write_mask(tmp_path / "SegmentationClass" / f"{name}.png", label)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_1\n2007_3\n")
    (lists / "val.txt").write_text("2007_2\n")
    (lists / "empty.txt").write_text("\n")
    (lists / "unknown.txt").write_text("2007_1\n2007_9\n2007_8\n")
    (lists / "twice.txt").write_text("2007_1\n2007_1\n")
    (tmp_path / "tags.csv").write_text(
        "image,tags\nJPEGImages/2007_1.jpg,cat;dog\n2007_2.jpg,dog\n2007_3,person;cat\n"
    )
    return tmp_path


def test_folder_of_photos(folder: Path) -> None:
    collection = load_collection(folder)
    assert collection.classes == ("bird", "cat", "dog")
    assert [sample.name for sample in collection.samples] == ["b", "a", "deep/c"]
    assert collection.samples[0].tags == ("bird", "dog")
    assert collection.samples[2].photo == folder / "deep" / "c.JPG"
    assert not collection.has_masks
    assert not collection.has_saliency
    assert collection.mask_classes == ()


def test_photos_may_lie_beside_the_tags_file(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    photo(elsewhere / "d.jpg")
    (elsewhere / "mine.csv").write_text("image,tags\nd.jpg,cat\na.jpg,dog\n")
    collection = load_collection(folder, elsewhere / "mine.csv")
    assert [sample.photo for sample in collection.samples] == [elsewhere / "d.jpg", folder / "a.jpg"]


def test_split_of_a_folder(folder: Path) -> None:
    (folder / "held_out.txt").write_text("deep/c\na\n")
    collection = load_collection(folder, split="held_out")
    assert [sample.name for sample in collection.samples] == ["deep/c", "a"]
    assert collection.split == "held_out"
    assert collection.classes == ("bird", "cat", "dog")


def test_voc_layout(voc: Path) -> None:
    train = load_collection(voc, split="train")
    assert [sample.name for sample in train.samples] == ["2007_1", "2007_3"]
    assert [sample.photo.name for sample in train.samples] == ["2007_1.jpg", "2007_3.jpg"]
    assert train.classes == ("cat", "dog", "person")
    assert train.mask_classes[7] == "cat"
    assert train.mask_classes[19] == "tvmonitor"
    assert train.has_masks
    assert [sample.name for sample in load_collection(voc, split="val").samples] == ["2007_2"]


def test_subset_ignores_the_other_classes_in_masks(voc: Path) -> None:
    collection = load_collection(voc, split="train", classes=("person", "cat"))
    sample = collection.samples[0]
    assert sample.tags == ("cat",)
    assert sample.others == ("dog",)
    label = load_sample_mask(sample, collection, (6, 8))
    assert label[:, 0].tolist() == [0, 2, 255, 1, 255, 0]


def test_without_a_class_list_masks_have_the_classes_of_voc(voc: Path) -> None:
    wanted = (
        "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant"
        " sheep sofa train tvmonitor"
    )  # VOC 2012, the order of its labels
    assert load_collection(voc).mask_classes == tuple(wanted.split())


def test_classes_file_beside_the_masks_wins_over_voc(voc: Path) -> None:
    write_classes(voc, ("person", "dog", "cat"))
    for file in (voc / "SegmentationClass").iterdir():
        write_mask(file, np.full((6, 8), 3, np.uint8))
    collection = load_collection(voc, split="val", classes=("cat",))
    assert (load_sample_mask(collection.samples[0], collection, (6, 8)) == 1).all()


def test_split_hash_depends_on_the_names_only(voc: Path) -> None:
    collection = load_collection(voc, split="train")
    assert collection.split_hash() == hashlib.sha256(b"2007_1\n2007_3\n").hexdigest()
    assert collection.split_hash() != load_collection(voc, split="val").split_hash()
    (voc / "ImageSets" / "Segmentation" / "train.txt").write_text("2007_3\n2007_1\n")
    assert load_collection(voc, split="train", classes=("cat",)).split_hash() == collection.split_hash()


def test_saliency_of_any_suffix(voc: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    saliency = tmp_path_factory.mktemp("saliency")
    photo(saliency / "2007_1.bmp")
    photo(saliency / "2007_3.png")
    collection = load_collection(voc, split="train", saliency=saliency)
    assert collection.has_saliency
    assert [sample.saliency.name for sample in collection.samples if sample.saliency] == [
        "2007_1.bmp",
        "2007_3.png",
    ]
    (saliency / "2007_3.png").unlink()
    with pytest.raises(InputError, match=r"2007_3\.jpg has no saliency map in .*: add 2007_3\.png"):
        load_collection(voc, split="train", saliency=saliency)


def test_masks_of_a_folder_match_by_whole_or_last_name(folder: Path) -> None:
    masks = folder / "truth"
    for name in ("a", "c"):
        write_mask(masks / f"{name}.png", np.zeros((6, 8), np.uint8))
    write_classes(masks, ("cat", "dog", "bird"))
    collection = load_collection(folder, masks=masks)
    by_name = {sample.name: sample.mask for sample in collection.samples}
    assert by_name == {"a": masks / "a.png", "b": None, "deep/c": masks / "c.png"}
    with pytest.raises(InputError, match=r"b\.png has no mask: add b\.png"):
        load_sample_mask(collection.samples[0], collection, (6, 8))


def test_last_names_do_not_match_when_two_photos_share_one(folder: Path) -> None:
    photo(folder / "c.jpg")
    with (folder / "tags.csv").open("a") as file:
        file.write("c.jpg,cat\n")
    masks = folder / "truth"
    write_mask(masks / "c.png", np.zeros((6, 8), np.uint8))
    write_classes(masks, ("cat", "dog", "bird"))
    by_name = {sample.name: sample.mask for sample in load_collection(folder, masks=masks).samples}
    assert by_name == {"a": None, "b": None, "deep/c": None, "c": masks / "c.png"}


def change(path: str, content: str | None) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        if content is None:
            (root / path).unlink()
        else:
            (root / path).write_text(content)

    return apply


@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (
            change("JPEGImages/2007_3.jpg", None),
            {"split": "train"},
            r"tags\.csv, line 4: photo 2007_3 is not in",
        ),
        (None, {"split": "trian"}, r"trian\.txt does not exist; did you mean 'train'\?"),
        (None, {"split": "empty"}, r"empty\.txt is empty"),
        (None, {"split": "unknown"}, r"unknown\.txt lists 2 photos that have no row in .*first is '2007_9'"),
        (None, {"split": "twice"}, r"twice\.txt, line 2: 2007_1 is already on line 1"),
        (None, {"classes": ("cta",)}, r"tagged 'cta'; did you mean 'cat'\?"),
        (change("tags.csv", None), {}, r"tags file .*tags\.csv does not exist"),
        (change("tags.csv", ""), {}, r"tags\.csv is empty"),
        (
            change("tags.csv", "image,tags\n2007_1,unicorn\n"),
            {},
            r"have no class 'unicorn' according to .*PASCAL VOC",
        ),
        (
            change("tags.csv", "image,tags\n2007_1,cat\n2007_1.jpg,cat\n"),
            {},
            r"line 3: .*would both be called '2007_1'",
        ),
        (change("classes.txt", "background\ncat\n"), {}, r"have no class 'dog' according to .*classes\.txt"),
        (None, {"saliency": "nowhere"}, r"saliency map folder nowhere does not exist"),
        (None, {"masks": "nowhere"}, r"mask folder nowhere does not exist"),
    ],
)
def test_what_is_wrong_is_said_before_the_run(
    voc: Path, damage: Callable[[Path], None] | None, options: dict, message: str
) -> None:
    if damage is not None:
        damage(voc)
    with pytest.raises(InputError, match=message) as caught:
        load_collection(voc, **options)
    assert "\n" not in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data folder .*nowhere does not exist"):
        load_collection(tmp_path / "nowhere")


def test_folder_without_masks_of_these_photos(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    masks = tmp_path_factory.mktemp("masks")
    write_mask(masks / "other.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match="has no mask for any of the 3 photos"):
        load_collection(folder, masks=masks)
    write_mask(masks / "a.png", np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match=r"classes\.txt does not exist"):
        load_collection(folder, masks=masks)


def test_a_mask_that_does_not_fit_is_named(voc: Path) -> None:
    collection = load_collection(voc, split="val")
    with pytest.raises(InputError, match=r"2007_2\.png is 8×6 but its photo is 16×12"):
        load_sample_mask(collection.samples[0], collection, (12, 16))
    write_classes(voc, ("dog", "cat", "person"))
    collection = load_collection(voc, split="val")
    with pytest.raises(InputError, match=r"2007_2\.png: label 8 is beyond the 3 classes"):
        load_sample_mask(collection.samples[0], collection, (6, 8))


@pytest.mark.skipif(not (SHARED / "data" / "voc12_animals").is_dir(), reason="needs the shared VOC photos")
def test_real_voc_photos() -> None:
    root = SHARED / "data" / "voc12_animals"
    animals = ("cat", "cow", "dog", "horse", "person", "sheep")
    collection = load_collection(root, split="val", classes=animals, saliency=root / "Saliency")
    assert len(collection.samples) == 437
    assert collection.has_masks
    assert collection.has_saliency
    for sample in collection.samples[:40]:
        with Image.open(sample.photo) as image:
            label = load_sample_mask(sample, collection, image.size[::-1])
        shown = {animals[number - 1] for number in np.unique(label) if 0 < number < 255}
        assert shown <= set(sample.tags)


@pytest.fixture
def meadow(tmp_path: Path) -> Path:
    """One photo with a mask of void 0, grass 1, cow 2, sky 3 and 255."""
    photo(tmp_path / "a.jpg")
    label = np.zeros((6, 8), np.uint8)
    label[1], label[2], label[3], label[4] = 1, 2, 3, 255
    write_mask(tmp_path / "masks" / "a.png", label)
    (tmp_path / "masks" / "classes.txt").write_text("void\ngrass\ncow\nsky\n")
    (tmp_path / "tags.csv").write_text("image,tags\na.jpg,cow;grass\n")
    return tmp_path


def test_masks_without_background(meadow: Path) -> None:
    collection = load_collection(meadow, classes=("cow",), masks=meadow / "masks")
    assert collection.void
    truth = load_sample_mask(collection.samples[0], collection, (6, 8))
    assert truth[:, 0].tolist() == [255, 255, 1, 255, 255, 255]


def test_classes_of_the_masks_may_count_as_background(meadow: Path) -> None:
    collection = load_collection(
        meadow, classes=("cow",), masks=meadow / "masks", background=("sky", "grass")
    )
    truth = load_sample_mask(collection.samples[0], collection, (6, 8))
    assert truth[:, 0].tolist() == [255, 0, 1, 0, 255, 255]


def test_background_classes_must_be_classes_of_masks(meadow: Path) -> None:
    with pytest.raises(
        InputError, match=r"'skye' cannot count as background: masks in .*masks have no .* 'sky'"
    ):
        load_collection(meadow, classes=("cow",), masks=meadow / "masks", background=("skye",))
    with pytest.raises(InputError, match="'cow' cannot count as background: it is one of the classes"):
        load_collection(meadow, classes=("cow",), masks=meadow / "masks", background=("cow",))
    with pytest.raises(InputError, match=r"\(sky\) are classes of masks, and .* has none"):
        load_collection(meadow, classes=("cow",), background=("sky",))


# Names that nearly fit


def test_a_name_in_another_case_or_without_its_suffix_will_do(folder: Path) -> None:
    photo(folder / "5_10_S.bmp")
    (folder / "tags.csv").write_text("image,tags\nA.JPG,cat\ndeep/C,dog\n5_10_s,cat\n")
    collection = load_collection(folder)
    assert [sample.photo for sample in collection.samples] == [
        folder / "a.jpg", folder / "deep" / "c.JPG", folder / "5_10_S.bmp",
    ]  # fmt: skip
    assert [sample.name for sample in collection.samples] == ["A", "deep/C", "5_10_s"]


def test_also_in_the_layout_of_voc(voc: Path) -> None:
    photo(voc / "JPEGImages" / "2007_4.PNG")
    (voc / "tags.csv").write_text("image,tags\n2007_4,dog\n2007_2.JPG,cat\n")
    collection = load_collection(voc)
    assert [sample.photo.name for sample in collection.samples] == ["2007_4.PNG", "2007_2.jpg"]


def test_the_name_as_written_comes_first_and_two_that_nearly_fit_are_named(folder: Path) -> None:
    photo(folder / "A.jpg")
    (folder / "tags.csv").write_text("image,tags\na.jpg,cat\n")
    assert load_collection(folder).samples[0].photo == folder / "a.jpg"
    (folder / "tags.csv").write_text("image,tags\na.JPG,cat\n")
    with pytest.raises(InputError, match=r"tags\.csv, line 2: photo a\.JPG could be A\.jpg or a\.jpg in"):
        load_collection(folder)
    (folder / "notes.txt").write_text("")
    (folder / "tags.csv").write_text("image,tags\nnotes,cat\n")
    with pytest.raises(InputError, match="photo notes is not in"):
        load_collection(folder)


# What serves others


@pytest.mark.parametrize(
    "image", ["{outside}/secret.jpg", "../outside/secret.jpg", "link.jpg", "linked/secret", "Link"]
)
def test_photos_outside_are_refused_where_only_those_inside_are_served(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, image: str
) -> None:
    base = tmp_path_factory.mktemp("machine")
    outside, data = base / "outside", base / "data"
    photo(outside / "secret.jpg")
    folder.rename(data)
    os.symlink(outside / "secret.jpg", data / "link.jpg")
    os.symlink(outside, data / "linked")
    (data / "tags.csv").write_text(f"image,tags\n{image.format(outside=outside)},cat\n")
    assert load_collection(data).samples[0].photo.samefile(outside / "secret.jpg")
    with pytest.raises(InputError, match=r"tags\.csv, line 2: photo .* (lies outside|is not in) "):
        load_collection(data, inside=True)
    (data / "tags.csv").write_text("image,tags\n/no/such/file.jpg,cat\n")  # nor is said whether a file exists
    with pytest.raises(InputError, match=r"line 2: photo /no/such/file\.jpg lies outside"):
        load_collection(data, inside=True)


def test_photos_inside_are_served(folder: Path) -> None:
    (folder / "tags.csv").write_text("image,tags\ndeep/../a.jpg,cat\nB,dog\n")
    assert load_collection(folder, inside=True) == load_collection(folder)
    os.symlink(folder, folder.parent / "served")
    assert len(load_collection(folder.parent / "served", inside=True).samples) == 2


def test_a_photo_in_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("image,tags\nnowhere/a.jpg,cat\n")
    with pytest.raises(InputError, match=r"line 2: photo nowhere/a\.jpg is not in"):
        load_collection(tmp_path)
