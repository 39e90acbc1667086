"""Maps of a photo and masks made of them: the public functions are the oracle, and calls are counted."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import getam
from getam.data.masks import read_mask
from getam.errors import InputError
from getam.nets.masks import segment
from getam.nets.preprocess import Preprocessing
from getam.pipeline import Pipeline
from getam.verbs.predict import predict
from getam.web import look as module
from getam.web.look import (
    LABEL,
    PREDICT,
    TOLD,
    Found,
    Look,
    agreement,
    find_out,
    found_tags,
    in_numbers_of,
    open_photo,
    resized,
    shown_size,
)
from getam.web.models import EMBEDDED, Models, Opened


@pytest.fixture(scope="module")
def models(trained: Path) -> Models:
    return Models((str(trained),))


@pytest.fixture
def run(models: Models) -> Opened:
    return models.open(models.names[0])


@pytest.fixture
def photo(scenes: Path) -> Look:
    file = scenes / "photos" / "scene2.png"
    return open_photo("scene2", file, Image.open(file).convert("RGB"))


def test_maps_are_those_of_explain_in_the_order_of_the_tags(run: Opened, photo: Look, trained: Path) -> None:
    look, found = photo.with_tags(["red", "blue"]).ask(run, "gradcam")
    expected = getam.explain(trained, photo.photo.file, ["red", "blue"], method="gradcam")
    assert found.maps is not None
    torch.testing.assert_close(found.maps.values, expected.values)
    assert found.heat is not None
    torch.testing.assert_close(found.heat, expected.heat())
    assert (found.classes, found.mapped, found.unknown) == (("red", "blue"), (0, 1), ())
    assert look.tags == ("red", "blue")


def test_a_mask_is_the_highest_map_above_the_threshold() -> None:
    heat = torch.tensor([[[0.2, 0.5, 1.0]], [[0.4, 0.6, 0.4]]])
    found = Found("m", ("a", "none", "b"), heat=heat, mapped=(0, 2))
    assert found.mask(0.0, (1, 3)).tolist() == [[3, 3, 1]]
    assert found.mask(0.4, (1, 3)).tolist() == [[0, 3, 1]]  # at the threshold is not above it
    assert found.mask(0.7, (1, 3)).tolist() == [[0, 0, 1]]
    assert found.mask(0.0, (1, 3)).dtype == np.uint8
    assert Found("m", ("a",)).mask(0.5, (2, 3)).tolist() == [[0] * 3] * 2
    for threshold in (-0.1, 1.0):
        with pytest.raises(InputError, match="outside"):
            found.mask(threshold, (1, 3))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.8])
def test_a_mask_of_one_tag_is_that_of_to_masks(
    run: Opened, photo: Look, trained: Path, threshold: float
) -> None:
    _, found = photo.with_tags(["red"]).ask(run, "getam")
    expected = getam.explain(trained, photo.photo.file, "red", method="getam").to_masks(threshold)
    assert (found.mask(threshold, photo.photo.size) == expected[0, 0].numpy()).all()


def test_moving_the_threshold_makes_no_map(run: Opened, photo: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    look, found = photo.with_tags(["red", "blue"]).ask(run, "getam")
    monkeypatch.setattr(module, "find_out", lambda *_: pytest.fail("a map was made anew"))
    masks = [found.mask(t / 20, photo.photo.size) for t in range(20)]
    assert len({mask.tobytes() for mask in masks}) > 5
    assert all((b > 0).sum() <= (a > 0).sum() for a, b in pairwise(masks))
    again, same = look.ask(run, "getam")
    assert again is look
    assert same is found


def test_each_network_source_and_choice_of_tags_is_asked_once(
    run: Opened, photo: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def note(opened: Opened, photo: object, tags: tuple[str, ...], source: str, saliency: object) -> Found:
        asked.append((opened.name, source, *tags))
        return Found(source, tags)

    monkeypatch.setattr(module, "find_out", note)
    other = Opened("other", run.net, run.usual)
    look = photo.with_tags(["red"])
    for opened, source, tags in [
        (run, "getam", ["red"]), (run, "cam", ["red"]), (other, "cam", ["red"]), (run, "cam", ["red", "blue"]),
        (run, "getam", ["red"]), (run, PREDICT, ["red"]), (run, PREDICT, ["blue"]), (other, "cam", ["red"]),
    ]:  # fmt: skip
        look, _ = look.with_tags(tags).ask(opened, source)
    assert [entry[1:] for entry in asked] == [
        ("getam", "red"), ("cam", "red"), ("cam", "red"), ("cam", "red", "blue"), (PREDICT, "red"),
    ]  # fmt: skip


def test_a_pseudo_label_is_that_of_the_pipeline_and_follows_the_tags(
    run: Opened, photo: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    saliency = torch.rand(photo.photo.size)
    made: list[str] = []

    class Provider:
        def __init__(self, name: str) -> None:
            made.append(name)

        def saliency(self, pixels: torch.Tensor) -> torch.Tensor:
            assert pixels is photo.photo.pixels
            return saliency

    monkeypatch.setattr(module, "open_provider", Provider)
    look, both = photo.with_tags(["red", "blue"]).ask(run, LABEL)
    look, red = look.with_tags(["red", "green"]).ask(run, LABEL)
    assert made == ["embedded"]  # the map of the photo is kept
    net, pixels = run.net, photo.photo.pixels
    expected = Pipeline().label(net, pixels, [1, 0], saliency).numpy()  # the run knows blue and red
    assert (both.mask(0.9, photo.photo.size) == np.array([0, 2, 1] + [255] * 253)[expected]).all()
    alone = Pipeline().label(net, pixels, [1], saliency).numpy()
    assert (red.mask(0.1, photo.photo.size) == np.array([0, 9, 1] + [255] * 253)[alone]).all()
    assert red.unknown == ("green",)
    assert (both.mask(0.5, photo.photo.size) != red.mask(0.5, photo.photo.size)).any()


def test_the_segmenter_gives_classes_beside_the_tags(run: Opened, photo: Look) -> None:
    _, found = photo.with_tags(["red"]).ask(run, PREDICT)
    expected = segment(run.net, photo.photo.pixels, crf=True)
    names = ("background", *run.net.classes)
    shown = ("background", *found.classes)
    mask = found.mask(0.5, photo.photo.size)
    assert found.classes[0] == "red"
    assert [[shown[n] for n in row] for row in mask] == [[names[n] for n in row] for row in expected]


def test_the_segmenter_told_the_tags_is_predict_told_them(
    run: Opened, photo: Look, trained: Path, tmp_path: Path
) -> None:
    Image.fromarray(photo.photo.pixels.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    (tmp_path / "tags.csv").write_text("image,tags\na.png,red\n")
    out = predict(tmp_path, model=trained, tags=tmp_path / "tags.csv", out=tmp_path / "out")
    look, told = photo.with_tags(["green", "red"]).ask(run, TOLD)
    assert (told.classes, told.unknown) == (("green", "red"), ("green",))
    red = run.net.classes.index("red") + 1
    wanted = read_mask(out / "a.png") == red
    assert wanted.any()
    np.testing.assert_array_equal(told.mask(0.5, photo.photo.size), np.where(wanted, 2, 0))
    _, other = look.with_tags(["blue"]).ask(run, TOLD)
    assert (other.mask(0.5, photo.photo.size) != told.mask(0.5, photo.photo.size)).any()
    _, none = look.with_tags(["green"]).ask(run, TOLD)
    assert not none.mask(0.5, photo.photo.size).any()


def test_a_tag_that_the_network_does_not_know_has_no_map(run: Opened, photo: Look) -> None:
    _, found = photo.with_tags(["green", "red"]).ask(run, "gradcam")
    assert (found.classes, found.mapped, found.unknown) == (("green", "red"), (1,), ("green",))
    assert set(np.unique(found.mask(0.3, photo.photo.size))) <= {0, 2}
    _, none = photo.with_tags(["green"]).ask(run, "gradcam")
    assert none.maps is None
    assert not none.mask(0.3, photo.photo.size).any()


def test_what_a_network_cannot_do_is_said(run: Opened, photo: Look) -> None:
    bare = Opened("vit", torch.nn.Linear(1, 1), Pipeline())
    with pytest.raises(InputError, match="vit has no decoder"):
        find_out(bare, photo.photo.pixels, ("red",), PREDICT)
    with pytest.raises(InputError, match="vit has no decoder"):
        find_out(Opened("vit", torch.nn.Linear(1, 1), Pipeline()), photo.photo.pixels, (), TOLD)
    with pytest.raises(InputError, match="nonsense"):
        find_out(run, photo.photo.pixels, ("red",), "nonsense")


def test_tags_are_single_and_few() -> None:
    look = open_photo("a", Path("a.png"), Image.new("RGB", (4, 4)))
    assert look.with_tags([" cat", "dog", "cat", ""]).tags == ("cat", "dog")
    assert len(look.with_tags([f"c{i}" for i in range(20)]).tags) == 20
    for name in ("background", "undecided"):
        with pytest.raises(InputError, match=f"'{name}' is what pixels without a class are called"):
            look.with_tags(["cat", name])
    with pytest.raises(InputError, match="21 tags are too many"):
        look.with_tags([f"c{i}" for i in range(21)])


def test_tags_that_are_found_are_those_of_the_classifier(models: Models, scenes: Path) -> None:
    opened = models.open(EMBEDDED)
    pixels = torch.randint(256, (3, 60, 80), dtype=torch.uint8)
    assert isinstance(opened.subject.preprocessing, Preprocessing)
    expected = getam.explain(None, Image.fromarray(pixels.permute(1, 2, 0).numpy()))
    assert found_tags(opened, pixels) == tuple(name for name, _ in expected.found())


def test_two_masks_agree_where_they_are_the_same_and_decided() -> None:
    one, other = np.array([[0, 1, 2, 255]], np.uint8), np.array([[0, 1, 1, 255]], np.uint8)
    assert agreement(one, other) == 0.5
    assert in_numbers_of(one, ("a", "b"), ("b", "c", "a")).tolist() == [[0, 3, 1, 255]]
    assert in_numbers_of(one * 0, (), ("a",)).tolist() == [[0] * 4]


@pytest.mark.parametrize("size", [(3, 5), (6, 10), (7, 11), (1, 1), (12, 20)])
def test_a_mask_of_another_size_has_the_pixel_at_each_centre(size: tuple[int, int]) -> None:
    label = np.random.default_rng(0).integers(0, 255, (6, 10)).astype(np.uint8)
    expected = Image.fromarray(label).resize(size[::-1], Image.Resampling.NEAREST)
    assert (resized(label, size) == np.asarray(expected)).all()


@pytest.mark.parametrize("size", [(30, 50), (333, 500), (1000, 3), (2000, 1501)])
def test_shown_sizes_are_those_of_the_shown_photo(size: tuple[int, int]) -> None:
    look = open_photo("a", Path("a.png"), Image.new("RGB", size[::-1]))
    assert look.photo.size == size
    assert look.photo.shown(400).shape == (*shown_size(size, 400), 3)
    assert max(shown_size(size, 400)) == min(400, max(size))
