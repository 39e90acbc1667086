"""complete() against the reference's labels, and against the three steps written out pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from getam.errors import InputError
from getam.labels.completion import arg_max_label, complete, open_specks
from shared_material import golden


def slots_of(tags: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Tags (B,C) and maps (B,C,H,W) → maps and classes of the present ones, (B,K,H,W) and (B,K)."""
    most = int((tags > 0).sum(1).max())
    classes = torch.full((len(tags), most), -1)
    chosen = torch.zeros(len(tags), most, *maps.shape[-2:])
    for photo, row in enumerate(tags):
        for slot, c in enumerate(row.nonzero().flatten().tolist()):
            classes[photo, slot], chosen[photo, slot] = c, maps[photo, c]
    return chosen, classes


def test_golden_labels_exactly() -> None:
    stored = {name: torch.from_numpy(value) for name, value in golden("label_completion").items()}
    maps, classes = slots_of(stored["tags"], stored["maps"].float())
    label = complete(maps, classes, stored["saliency"])
    np.testing.assert_array_equal(label.numpy(), stored["label"].numpy())


def by_pixel(
    maps: np.ndarray, classes: list[int], salient: np.ndarray, quantile: float, power: int, side: int
) -> np.ndarray:
    """One photo: maps (K,H,W), the class of every slot (−1 none), salient (H,W) → label (H,W)."""
    present = sorted((c, k) for k, c in enumerate(classes) if c >= 0)
    if len(present) == 1 and not any(value > 0 for value in maps[present[0][1]].flatten()):
        maps = np.ones_like(maps)
    height, width = salient.shape
    label = np.zeros((height, width), int)
    for y in range(height):
        for x in range(width):
            best, winner = np.float32(0), 255
            for k, c in enumerate(classes):
                if c >= 0 and maps[k, y, x] > best:
                    best, winner = maps[k, y, x], c + 1
            background = (1 - torch.tensor(best)).clamp(min=0) ** power
            label[y, x] = winner if float(background) < float(best) else 255
            if not salient[y, x]:
                label[y, x] = 0
    for c, k in present:
        positive = sorted(value for value in maps[k].flatten() if value > 0)
        if positive:
            threshold = positive[int(quantile * len(positive))]
            for y in range(height):
                for x in range(width):
                    if label[y, x] == 0 and maps[k, y, x] > threshold:
                        label[y, x] = c + 1
    return opened(label, side)


def opened(label: np.ndarray, side: int) -> np.ndarray:
    """Keep what a side×side box reaches; outside the photo counts as filled when eroding, as empty when dilating.

    Both look at the window from −side//2 to side − 1 − side//2 around a pixel.
    """
    if side <= 1:
        return label
    reach = range(-(side // 2), side - side // 2)
    height, width = label.shape

    def inside(y: int, x: int) -> bool:
        return 0 <= y < height and 0 <= x < width

    eroded = np.array(
        [[all(label[y + i, x + j] != 0 for i in reach for j in reach if inside(y + i, x + j)) for x in range(width)]
         for y in range(height)]
    )  # fmt: skip
    kept = np.array(
        [[any(eroded[y + i, x + j] for i in reach for j in reach if inside(y + i, x + j)) for x in range(width)]
         for y in range(height)]
    )  # fmt: skip
    return np.where(kept, label, 0)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    classes=st.sampled_from([[0], [2, 0], [1, -1], [-1, 4, 0], [-1]]),
    quantile=st.sampled_from([0.5, 0.9, 0.95]),
    side=st.sampled_from([0, 1, 2, 3]),
    above=st.sampled_from([0.3, 1.0]),
)
def test_equals_the_steps_pixel_by_pixel(
    seed: int, classes: list[int], quantile: float, side: int, above: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = (torch.rand(1, len(classes), 7, 6, generator=generator) - above).clamp(min=0)
    salient = torch.rand(1, 7, 6, generator=generator) < 0.5
    found = complete(maps, torch.tensor([classes]), salient, quantile=quantile, opening=side)
    wanted = by_pixel(maps[0].numpy(), classes, salient[0].numpy(), quantile, 32, side)
    np.testing.assert_array_equal(found[0].numpy(), wanted)


def test_an_even_box_moves_towards_the_lower_right() -> None:
    label = torch.zeros(1, 6, 6, dtype=torch.uint8)
    label[0, 1:4, 1:4] = 7
    np.testing.assert_array_equal(open_specks(label, 2)[0].numpy(), opened(label[0].numpy(), 2))
    np.testing.assert_array_equal(open_specks(label, 4)[0].numpy(), 0 * label[0].numpy())


def test_slots_may_come_in_any_order() -> None:
    maps, salient = torch.rand(2, 3, 12, 12), torch.rand(2, 12, 12) < 0.4
    classes = torch.tensor([[4, 0, 2], [1, 3, -1]])
    order = [2, 0, 1]
    found = complete(maps[:, order], classes[:, order], salient, opening=2)
    assert torch.equal(found, complete(maps, classes, salient, opening=2))


def test_completion_puts_back_only_what_was_background() -> None:
    maps = torch.full((1, 1, 1, 20), 0.5)
    maps[..., :10] = torch.arange(0.50, 1.0, 0.05)
    salient = torch.zeros(1, 1, 20, dtype=torch.bool)
    salient[..., 12] = True
    label = complete(maps, torch.tensor([[1]]), salient, opening=0, quantile=0.9)
    # sorted value 18 of 20 is 0.90, so only the pixel of 0.95 is above it; the salient one has its own label
    assert label[0, 0].nonzero().flatten().tolist() == [9, 12]
    assert set(label.unique().tolist()) == {0, 2}


@pytest.mark.parametrize("slots", [0, 1])
def test_without_tags_the_salient_part_is_undecided(slots: int) -> None:
    salient = torch.zeros(2, 20, 20, dtype=torch.bool)
    salient[:, :, :12] = True
    label = complete(torch.rand(2, slots, 20, 20), torch.full((2, slots), -1), salient)
    assert bool((label[salient] == 255).all())
    assert bool((label[~salient] == 0).all())


def test_maps_that_are_zero_decide_nothing() -> None:
    label = complete(torch.zeros(1, 2, 16, 16), torch.tensor([[0, 1]]), torch.ones(1, 16, 16))
    assert bool((label == 255).all())
    assert not complete(torch.zeros(1, 2, 16, 16), torch.tensor([[0, 1]]), torch.zeros(1, 16, 16)).any()


def test_the_only_tag_of_a_photo_needs_no_map() -> None:
    salient = torch.zeros(3, 16, 16)
    salient[:, :12] = 1
    maps = torch.zeros(3, 2, 16, 16)
    maps[1, 1, 0, 0] = 0.5  # has one, if a small one
    classes = torch.tensor([[4, -1], [-1, 2], [4, 2]])  # the third has two tags: which of them is salient?
    label = complete(maps, classes, salient, opening=0)
    assert label[0].unique().tolist() == [0, 5]
    assert torch.equal(label[0] == 5, salient[0] > 0)
    assert [label[1, 0, 0].item(), label[1, 5, 5].item()] == [3, 255]
    assert label[2].unique().tolist() == [0, 255]
    maps[0, 1] = 1  # a slot without a tag says nothing
    assert torch.equal(complete(maps, classes, salient, opening=0), label)


def test_the_papers_numbers_are_the_defaults() -> None:
    maps = torch.rand(1, 2, 40, 40).square()
    classes, salient = torch.tensor([[1, 0]]), torch.rand(1, 40, 40) < 0.7
    found = complete(maps, classes, salient)
    for steps in ({"quantile": 0.9}, {"background_power": 32}, {"opening": 10}):
        assert torch.equal(found, complete(maps, classes, salient, **steps))
    wanted = by_pixel(maps[0].numpy(), [1, 0], salient[0].numpy(), 0.9, 32, 10)
    np.testing.assert_array_equal(found[0].numpy(), wanted)


def test_background_wins_ties_and_the_power_decides_where() -> None:
    maps = torch.tensor([[[[0.5, 0.51, 0.49]]]])
    salient = torch.ones(1, 1, 3)
    for power, wanted in ((1, [255, 3, 255]), (2, [3, 3, 3])):
        found = complete(maps, torch.tensor([[2]]), salient, background_power=power, opening=0)
        assert found.flatten().tolist() == wanted
    assert arg_max_label(maps, torch.tensor([[2]])).flatten().tolist() == [3, 3, 3]  # (1 − 0.49)^32 is tiny
    above = torch.full((1, 1, 1, 1), 1.5)  # a negative number to an odd power would be negative
    assert arg_max_label(-above, torch.tensor([[2]]), 3).item() == 255
    assert arg_max_label(above, torch.tensor([[2]]), 1).item() == 3


def test_what_is_put_back_may_be_salient_or_not_by_any_dtype() -> None:
    maps = torch.rand(1, 1, 6, 6)
    salient = torch.zeros(1, 6, 6)
    salient[:, :3] = torch.tensor([0.001, 0.5, 1.0])[:, None]
    for given_saliency in (salient, salient > 0, (255 * salient).ceil().byte()):
        found = complete(maps, torch.tensor([[0]]), given_saliency, opening=0)
        assert torch.equal(found, complete(maps, torch.tensor([[0]]), salient > 0, opening=0))
    assert not complete(maps, torch.tensor([[0]]), -salient, opening=0)[:, 4:].eq(255).any()


@pytest.mark.parametrize("quantile", [0, 1, -0.1, 1.5])
def test_a_quantile_that_is_none_is_refused(quantile: float) -> None:
    with pytest.raises(InputError, match="must lie between 0 and 1"):
        complete(torch.rand(1, 1, 4, 4), torch.tensor([[0]]), torch.ones(1, 4, 4), quantile=quantile)


@pytest.mark.parametrize("side", [3, 4, 10])
def test_a_box_of_its_own_size_is_kept_and_a_smaller_one_is_not(side: int) -> None:
    for length, kept in ((side, True), (side - 1, False)):
        label = torch.zeros(1, 30, 30, dtype=torch.uint8)
        label[0, 8 : 8 + length, 9 : 9 + length] = 4
        assert bool(open_specks(label, side).any()) == kept
    full = torch.full((2, 12, 12), 255, dtype=torch.uint8)
    assert torch.equal(open_specks(full), full)  # borders do not erode
    assert open_specks(full[:0]).shape == (0, 12, 12)


def test_the_last_class_of_an_8_bit_mask() -> None:
    assert arg_max_label(torch.ones(1, 1, 2, 2), torch.tensor([[253]])).unique().tolist() == [254]


def test_shape_and_dtype_of_an_empty_batch() -> None:
    label = complete(torch.zeros(0, 0, 8, 8), torch.zeros(0, 0, dtype=torch.int64), torch.zeros(0, 8, 8))
    assert label.shape == (0, 8, 8)
    assert label.dtype == torch.uint8


@pytest.mark.parametrize(
    ("classes", "saliency"),
    [((1, 3), (1, 8, 8)), ((2, 2), (1, 8, 8)), ((1, 2), (1, 8, 9)), ((1, 2), (8, 8))],
)
def test_shapes_that_do_not_belong_together(classes: tuple[int, ...], saliency: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"do not belong together: expected \(B,K,H,W\) and \((B,K|B,H,W)\)"):
        complete(torch.zeros(1, 2, 8, 8), torch.zeros(classes, dtype=torch.int64), torch.zeros(saliency))


def test_a_class_whose_map_is_zero_does_not_keep_the_next_one_from_its_pixels() -> None:
    maps = torch.zeros(1, 2, 12, 12)
    maps[0, 1] = torch.arange(144.0).view(12, 12) / 144
    salient = torch.zeros(1, 12, 12, dtype=torch.bool)
    label = complete(maps, torch.tensor([[0, 1]]), salient, quantile=0.5, opening=0)
    alone = complete(maps[:, 1:], torch.tensor([[1]]), salient, quantile=0.5, opening=0)
    assert torch.equal(label, alone)
    assert (label == 2).sum() > 50
