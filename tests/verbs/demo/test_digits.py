"""Digit scenes: functions of their number, honest splits, tags that agree with masks, ink that stands out."""

import builtins
import colorsys
import math
import socket
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from getam.errors import InputError
from getam.verbs.demo import digit_bank
from getam.verbs.demo.digit_bank import FIRST_TEST_DIGIT, INK_OPACITY, ink_bank, source_digits, textures
from getam.verbs.demo.digits import DIGIT_CLASSES, DRAWS, DigitScenes, Scene, _place, compose

LUMA = np.array([0.299, 0.587, 0.114])

scene_numbers = st.integers(0, 10**12)


@pytest.fixture(scope="module", params=["train", "test"])
def scenes(request):
    return DigitScenes(request.param)


def same(a: Scene, b: Scene) -> bool:
    return all(np.array_equal(getattr(a, part), getattr(b, part)) for part in ("image", "tags", "mask"))


@settings(max_examples=60, deadline=None)
@given(scene_numbers)
def test_a_scene_depends_on_its_number_alone(index):
    fresh, used = DigitScenes("train"), DigitScenes("train")
    used.scene(7), used.set_epoch(3)
    assert same(fresh.scene(index), used.scene(index))


def test_other_numbers_seeds_and_splits_give_other_scenes():
    base = DigitScenes("train").scene(5)
    others = [
        DigitScenes("train").scene(6),
        DigitScenes("train", seed=1).scene(5),
        DigitScenes("train", seed=5).scene(0),
        DigitScenes("test").scene(5),
    ]
    assert not any(np.array_equal(base.image, other.image) for other in others)


@settings(max_examples=100, deadline=None)
@given(scene_numbers)
@pytest.mark.parametrize(("split", "size"), [("train", 64), ("test", 32), ("test", 64), ("test", 128)])
def test_tags_are_exactly_the_digits_in_the_mask(split, size, index):
    scene = DigitScenes(split, size).scene(index)
    assert scene.image.shape == (3, size, size)
    assert scene.mask.shape == (size, size)
    assert (scene.image.dtype, scene.tags.dtype, scene.mask.dtype) == (np.uint8, np.float32, np.uint8)
    assert set(np.unique(scene.tags)) <= {0.0, 1.0}
    assert set(np.unique(scene.mask)) - {0} == set(np.flatnonzero(scene.tags) + 1)
    assert 0 in scene.mask
    assert 1 <= scene.tags.sum() <= 2


def test_every_digit_occurs_equally_often_and_half_the_scenes_hold_two(scenes):
    tags = np.stack([scenes.scene(index).tags for index in range(3000)])
    # Half the scenes hold one digit, 1/20 two equal ones: 1.45 tags each on average, 0.145 per digit, ± 5 sd.
    assert np.abs(tags.mean(axis=0) - 0.145).max() < 5 * np.sqrt(0.145 * 0.855 / 3000)
    assert abs((tags.sum(axis=1) == 2).mean() - 0.45) < 5 * np.sqrt(0.45 * 0.55 / 3000)


@settings(max_examples=200, deadline=None)
@given(scene_numbers, st.sampled_from(["train", "test"]))
def test_ink_and_nothing_else_is_brighter_than_any_texture(index, split):
    scene = DigitScenes(split).scene(index)
    luminance = np.tensordot(LUMA, scene.image.astype(float), axes=1)
    bright = luminance > 0.4 * 255 + 1  # the ceiling of the textures
    ink = scene.mask > 0
    edge = np.lib.stride_tricks.sliding_window_view(np.pad(ink, 1), (3, 3)).any(axis=(2, 3))
    assert np.median(luminance[ink]) > 0.47 * 255
    # Edges mix ink with texture, and where a stroke fades out a few bright pixels are too faint for the mask.
    assert bright[ink].mean() > 0.9
    assert bright[~edge].sum() < 0.05 * ink.sum()


def paint_slowly(bank, photos, size, draws):
    """A scene from its 80 draws, pixel by pixel; colours by the standard library."""
    photo = photos[int(draws[0] * len(photos))]
    top, left = int(draws[1] * (photo.shape[1] - size + 1)), int(draws[2] * (photo.shape[2] - size + 1))
    image = photo[:, top : top + size, left : left + size].astype(np.float64)
    if draws[3] < 0.5:
        image = image[:, :, ::-1].copy()
    image *= 0.15 + 0.25 * draws[4]
    digits, places = draws[6:16].reshape(2, 5), draws[16:].reshape(16, 2, 2)
    count = 2 if draws[5] < 0.5 else 1
    kinds = [int(10 * digits[d][0]) for d in range(count)]
    which = [
        bank.by_class[kind][int(digits[d][1] * len(bank.by_class[kind]))] for d, kind in enumerate(kinds)
    ]
    sides = [(bank.boxes[w][1] - bank.boxes[w][0], bank.boxes[w][3] - bank.boxes[w][2]) for w in which]

    def corners(attempt):
        return [
            tuple(int(places[attempt, d, axis] * (size - sides[d][axis] + 1)) for axis in (0, 1))
            for d in range(count)
        ]

    def apart(spots):
        (y0, x0), (y1, x1) = spots
        (h0, w0), (h1, w1) = sides
        return y0 + h0 <= y1 or y1 + h1 <= y0 or x0 + w0 <= x1 or x1 + w1 <= x0

    spots = corners(0)
    if count == 2:
        free = [corners(attempt) for attempt in range(16) if apart(corners(attempt))]
        far = [(size - h, size - w) for h, w in sides]
        if free:
            spots = free[0]
        elif places[0, 0, 0] < 0.5:
            spots = [(0, 0), far[1]]
        else:
            spots = [(0, far[0][1]), (far[1][0], 0)]
    mask, tags = np.zeros((size, size), int), np.zeros(10)
    for d, (y, x) in enumerate(spots):
        hue, saturation, value = digits[d][2], 0.5 * digits[d][3], 0.85 + 0.15 * digits[d][4]
        ink = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))
        box = bank.boxes[which[d]]
        for dy in range(sides[d][0]):
            for dx in range(sides[d][1]):
                opacity = bank.opacity[which[d], box[0] + dy, box[2] + dx]
                spot = (slice(None), y + dy, x + dx)
                image[spot] += opacity / 255 * (ink - image[spot])
                if opacity >= 128:
                    mask[y + dy, x + dx] = kinds[d] + 1
        tags[kinds[d]] = 1
    return image, mask, tags


def test_the_scenes_agree_with_painting_pixel_by_pixel(scenes):
    split = 0 if scenes.split == "train" else 1
    two = 0
    for index in (0, 1, 2, 3, 10**9):
        other = DigitScenes(scenes.split, seed=7)
        draws = np.random.Generator(np.random.PCG64([split, 7, index])).random(80)
        image, mask, tags = paint_slowly(other._ink, other._textures, 64, draws)
        scene = other.scene(index)
        assert np.abs(scene.image - image).max() < 0.51
        assert np.array_equal(scene.mask, mask)
        assert np.array_equal(scene.tags, tags)
        two += tags.sum() == 2
    assert two >= 1


@pytest.mark.parametrize("first", [0.2, 0.8])
def test_digits_that_find_no_room_stand_in_opposite_corners(scenes, first):
    """Two boxes of 40 of 64 pixels overlap wherever random tries put them near the middle."""
    boxes = np.array([[0, 40, 0, 41], [0, 42, 0, 43]])
    places = np.full((16, 2, 2), 0.5)
    places[0, 0, 0] = first
    corners = _place(boxes, 64, places.ravel())
    assert corners == ([(0, 0), (22, 21)] if first < 0.5 else [(0, 23), (22, 0)])


def test_boxes_that_touch_are_apart(scenes):
    boxes = np.array([[0, 30, 0, 30], [0, 34, 0, 34]])
    places = np.zeros((16, 2, 2))
    # exactly below: rows 0–29 and 30–63, once both tries are rounded down
    places[3] = ((0.9 / 35, 0), (30.01 / 31, 0))
    assert _place(boxes, 64, places.ravel()) == [(0, 0), (30, 0)]
    assert _place(boxes[:1], 64, places.ravel()) == [(0, 0)]


def bicubic(image, y, x):
    """Keys's cubic convolution with a = −0.75 and zeros outside, as PyTorch's."""

    def weight(t):
        t = abs(t)
        if t <= 1:
            return 1.25 * t**3 - 2.25 * t**2 + 1
        return -0.75 * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0

    total = 0.0
    for v in range(math.floor(y) - 1, math.floor(y) + 3):
        for u in range(math.floor(x) - 1, math.floor(x) + 3):
            if 0 <= v < image.shape[0] and 0 <= u < image.shape[1]:
                total += image[v, u] * weight(y - v) * weight(x - u)
    return total


@pytest.mark.parametrize(("split", "stream", "size"), [("train", 0, 32), ("test", 1, 48)])
def test_a_warp_agrees_with_interpolating_by_hand(split, stream, size):
    """12 warps a digit: side 24/64 to 36/64 of the scene, 12° and 0.15 of slant at most, 1.12 of stretch, fine pens."""
    images, labels = source_digits(split)
    bank = ink_bank(split, size)
    count = 12 * len(images)
    assert len(bank.opacity) == count
    draws = np.random.Generator(np.random.PCG64([stream, size])).random((5, count))
    canvas = math.ceil(1.3 * 36 / 64 * size)
    assert bank.opacity.shape[1:] == (canvas, canvas)
    for number in (0, 13, count - 1):
        side = size * (24 + 12 * draws[0, number]) / 64
        angle = math.radians(12) * (2 * draws[1, number] - 1)
        shear, stretch = 0.15 * (2 * draws[2, number] - 1), 1.12 ** (2 * draws[3, number] - 1)
        level = 0.35 + 0.15 * draws[4, number]
        for y in range(0, canvas, 3):
            for x in range(0, canvas, 3):
                u, v = (2 * x + 1) / canvas - 1, (2 * y + 1) / canvas - 1
                u, v = math.cos(angle) * u - math.sin(angle) * v, math.sin(angle) * u + math.cos(angle) * v
                u, v = stretch * u + shear * v, v / stretch
                u, v = u * canvas / side, v * canvas / side
                value = bicubic(images[number // 12], ((v + 1) * 8 - 1) / 2, ((u + 1) * 8 - 1) / 2)
                expected = round(255 * min(1, max(0, (value - level) / 0.1 + 0.5)))
                assert abs(int(bank.opacity[number, y, x]) - expected) <= 1
        assert number in bank.by_class[labels[number // 12]]


def test_scans_are_numbers_from_nothing_to_full_ink():
    images, _ = source_digits("train")
    assert (images.min(), images.max(), images.shape[1:]) == (0, 1, (8, 8))
    assert images.dtype == np.float32


def test_the_textures_are_eleven_photos_and_none_of_the_cat():
    import skimage.data
    from sklearn.datasets import load_sample_image

    names = (
        "astronaut",
        "brick",
        "camera",
        "coffee",
        "coins",
        "grass",
        "gravel",
        "immunohistochemistry",
        "rocket",
    )
    expected = [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    expected += [getattr(skimage.data, name)() for name in names]
    found = digit_bank._photos()
    assert len(found) == 11
    assert all(np.array_equal(one, other) for one, other in zip(found, expected))
    textures.cache_clear()
    for photo, train in zip(found, textures("train"), strict=True):
        assert train.shape[2] == round(photo.shape[1] * 2 / 3)
        assert train.flags["C_CONTIGUOUS"]


def test_no_hand_writes_in_both_splits():
    train, train_labels = source_digits("train")
    test, test_labels = source_digits("test")
    assert len(train) == FIRST_TEST_DIGIT
    assert len(train) + len(test) == 1797
    assert not {digit.tobytes() for digit in train} & {digit.tobytes() for digit in test}
    # The form every writer filled in begins with 0…9 twice; the split is where one begins.
    assert test_labels[:20].tolist() == [*range(10), *range(10)]
    assert train_labels[:20].tolist() == [*range(10), *range(10)]
    assert set(train_labels) == set(test_labels) == set(range(10))


def test_no_piece_of_a_photo_is_in_both_splits():
    for photo, left, right in zip(digit_bank._photos(), textures("train"), textures("test"), strict=True):
        colour = photo if photo.ndim == 3 else np.stack([photo] * 3, axis=2)
        assert np.array_equal(np.concatenate([left, right], axis=2), colour.transpose(2, 0, 1))
        assert min(*left.shape[1:], *right.shape[1:]) >= 128


def test_bank_boxes_hold_all_ink_and_nothing_is_cut_off():
    for size in (32, 64, 128):
        bank = ink_bank("test", size)
        for opacity, (top, bottom, left, right) in list(zip(bank.opacity, bank.boxes))[::97]:
            rows, columns = np.nonzero(opacity)
            box = (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)
            assert (top, bottom, left, right) == box
        canvas = bank.opacity.shape[1]
        assert bank.boxes[:, ::2].min() > 0
        assert bank.boxes[:, 1::2].max() < canvas
        assert sorted(np.concatenate(bank.by_class)) == list(range(len(bank.opacity)))
        assert (bank.opacity >= INK_OPACITY).any(axis=(1, 2)).all()


def test_a_warped_digit_still_looks_like_its_scan(scenes):
    """Oracle: the rendered ink, averaged down to 8×8 again, correlates with the scan it came from."""
    images, labels = source_digits(scenes.split)
    bank = ink_bank(scenes.split, 64)
    correlations = []
    for number in range(0, len(images), 29):
        rows, columns = np.nonzero(images[number] > 0.3)
        scan = images[number][rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        warp = number * digit_bank.WARPS_PER_DIGIT
        top, bottom, left, right = bank.boxes[warp]
        ink = torch.from_numpy(bank.opacity[warp, top:bottom, left:right]).float()[None, None]
        shrunk = torch.nn.functional.adaptive_avg_pool2d(ink, scan.shape)[0, 0].numpy()
        correlations.append(np.corrcoef(shrunk.ravel(), scan.ravel())[0, 1])
        assert warp in bank.by_class[labels[number]]
    assert np.median(correlations) > 0.7


side = st.integers(8, 43)


@settings(max_examples=300, deadline=None)
@given(heights=st.tuples(side, side), widths=st.tuples(side, side), seed=st.integers(0, 2**32 - 1))
def test_placed_boxes_lie_inside_and_are_disjoint_whenever_corners_allow(heights, widths, seed):
    boxes = np.array([[0, heights[0], 0, widths[0]], [2, 2 + heights[1], 3, 3 + widths[1]]])
    corners = _place(boxes, 64, np.random.default_rng(seed).random(DRAWS["places"]))
    painted = np.zeros((64, 64), int)
    for (y, x), height, width in zip(corners, heights, widths):
        assert 0 <= y <= 64 - height
        assert 0 <= x <= 64 - width
        painted[y : y + height, x : x + width] += 1
    if sum(heights) <= 64 or sum(widths) <= 64:
        assert painted.max() == 1


def test_digits_hardly_ever_touch(scenes):
    """Ink boxes of two digits share pixels only if they fit neither side by side nor one above the other."""
    sides = scenes._ink.boxes[:, 1::2] - scenes._ink.boxes[:, ::2]
    rng = np.random.default_rng(0)
    pairs = sides[rng.integers(len(sides), size=(20000, 2))]
    assert (pairs.sum(axis=1) > 64).all(axis=1).mean() < 0.01


def test_extreme_draws_stay_inside(scenes):
    for value in (0.0, np.nextafter(1, 0)):
        scene = compose(scenes._ink, scenes._textures, 64, np.full(sum(DRAWS.values()), value))
        assert scene.tags.sum() == 1


def test_items_are_what_training_expects(scenes):
    item = scenes[3]
    assert set(item) == {"image", "tags", "roi", "index"}
    assert item["image"].dtype == torch.float32
    assert item["image"].shape == (3, 64, 64)
    assert item["image"].max() > 150
    assert item["roi"].dtype == torch.bool
    assert item["roi"].all()
    assert item["index"] == 3
    scene = scenes.scene(3)
    assert np.array_equal(item["image"].numpy(), scene.image)
    assert np.array_equal(item["tags"].numpy(), scene.tags)


def test_what_is_left_out_has_a_usual_value():
    scenes = DigitScenes("test")
    assert (scenes.size, scenes.seed, len(scenes)) == (64, 0, 8192)
    assert same(scenes.scene(0), DigitScenes("test", 64, 0).scene(0))
    assert "mask" not in scenes[0]
    assert len(DigitScenes("test", length=1)) == 1
    with pytest.raises(IndexError):
        scenes[-1]
    with pytest.raises(IndexError, match="not -1"):
        scenes.scene(-1)


def test_items_have_the_types_that_batches_are_made_of(scenes):
    item = scenes[0]
    assert item["roi"].shape == (64, 64)
    assert item["tags"].dtype == torch.float32
    assert (item["index"].dtype, item["index"].shape) == (torch.int64, ())


def test_masks_come_only_when_asked_for():
    item = DigitScenes("test", with_masks=True)[0]
    assert item["mask"].dtype == torch.int64
    assert np.array_equal(item["mask"].numpy(), DigitScenes("test").scene(0).mask)


def test_an_epoch_shows_fresh_scenes():
    scenes = DigitScenes("train", length=4)
    scenes.set_epoch(2)
    assert len(scenes) == 4
    for item in range(4):
        assert np.array_equal(scenes[item]["image"].numpy(), scenes.scene(8 + item).image)
    with pytest.raises(IndexError):
        scenes[4]
    assert len(list(scenes)) == 4


def test_running_loader_workers_follow_the_epoch():
    scenes = DigitScenes("train", length=4)
    loader = DataLoader(scenes, batch_size=4, num_workers=1, persistent_workers=True)
    seen = []
    for epoch in range(2):
        scenes.set_epoch(epoch)
        seen.append(next(iter(loader))["image"])
    assert np.array_equal(seen[0][1].numpy(), scenes.scene(1).image)
    assert np.array_equal(seen[1][1].numpy(), scenes.scene(5).image)


def test_classes_name_the_labels():
    assert tuple(str(digit) for digit in range(10)) == DIGIT_CLASSES
    assert DigitScenes("train").classes == DIGIT_CLASSES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "val"}, '"val"'),
        ({"size": 16}, "32 to 128"),
        ({"size": 31}, "32 to 128"),
        ({"size": 129}, "32 to 128"),
        ({"size": 256}, "256"),
        ({"seed": -1}, "-1"),
        ({"length": 0}, "at least 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        DigitScenes(**{"split": "train", **arguments})


@pytest.mark.parametrize(("package", "name"), [("sklearn", "scikit-learn"), ("skimage", "scikit-image")])
def test_a_missing_package_is_named_with_the_extra(monkeypatch, package, name):
    real_import = builtins.__import__

    def without(module, *rest, **options):
        if module.split(".")[0] == package:
            raise ModuleNotFoundError(f"No module named '{module}'", name=module)
        return real_import(module, *rest, **options)

    for cached in (digit_bank.ink_bank, digit_bank.textures, digit_bank._photos):
        cached.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=rf"{name}: pip install 'getam\[demo\]'"):
        DigitScenes("train", 32)


def test_nothing_is_downloaded(monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("the digit scenes opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setitem(sys.modules, "pooch", None)
    digit_bank._photos.cache_clear()
    assert len(digit_bank._photos()) == 11


def test_scenes_are_frozen():
    scene = DigitScenes("train").scene(0)
    with pytest.raises(AttributeError):
        scene.mask = scene.image
