"""Tiles go back where they came from, and the loss of Puzzle-CAM by explicit loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.losses.puzzle import merge, reconstruction_loss, reconstruction_weight, tile, tiles_a_side

TAGS = torch.tensor([[1.0, 0, 1], [0, 1, 0]])


def score_maps() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64) for _ in range(2))


@settings(deadline=None, max_examples=40)
@given(*(st.integers(1, 5) for _ in range(5)))
def test_tiles_put_together_are_the_photo(batch: int, channels: int, side: int, high: int, wide: int) -> None:
    photos = torch.rand(batch, channels, side * high, side * wide)
    tiles = tile(photos, side * side)
    assert tiles.shape == (batch * side * side, channels, high, wide)
    assert torch.equal(merge(tiles, side * side), photos)


def test_tiles_lie_photo_by_photo_row_by_row() -> None:
    photos = torch.rand(3, 2, 4, 6)
    expected = [
        photos[b, :, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
        for b in range(3) for row in range(2) for column in range(2)
    ]  # fmt: skip
    assert torch.equal(tile(photos, 4), torch.stack(expected))


def test_what_does_not_fit_is_refused() -> None:
    for pieces in (-4, 0, 2, 3, 8):
        with pytest.raises(InputError, match=f"{pieces} pieces do not fill a square of tiles"):
            tiles_a_side(pieces)
    for size in ((6, 7), (7, 6)):
        with pytest.raises(
            InputError, match=f"{size[0]}×{size[1]} pixels cannot be cut into 2×2 tiles: .* of 2"
        ):
            tile(torch.rand(1, 3, *size), 4)
    with pytest.raises(InputError, match="6 tiles are no whole photos of 4 pieces"):
        merge(torch.rand(6, 1, 2, 2), 4)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("normalised", [False, True])
def test_the_difference_of_the_maps_by_loops(squared: bool, normalised: bool) -> None:
    whole, merged = score_maps()
    expected = 0.0
    for b in range(2):
        for c in range(3):
            peaks = [max(0.0, float(m[b, c].max())) for m in (whole, merged)]
            for y in range(4):
                for x in range(5):
                    values = [float(m[b, c, y, x]) for m in (whole, merged)]
                    if normalised:
                        values = [max(0.0, v) / peak for v, peak in zip(values, peaks)]
                    difference = abs(values[0] - values[1])
                    expected += float(TAGS[b, c]) * (difference**2 if squared else difference)
    found = reconstruction_loss(whole, merged, TAGS, squared=squared, normalised=normalised)
    assert found.item() == pytest.approx(expected / (2 * 3 * 4 * 5), rel=1e-5)


def test_raw_l1_is_the_default() -> None:
    whole, merged = score_maps()
    wanted = reconstruction_loss(whole, merged, TAGS, squared=False, normalised=False)
    assert torch.equal(reconstruction_loss(whole, merged, TAGS), wanted)


def test_equal_maps_nothing_tagged_and_no_photo_cost_nothing() -> None:
    whole, merged = (m.requires_grad_() for m in score_maps())
    losses = [
        reconstruction_loss(whole, whole, TAGS),
        reconstruction_loss(whole, merged, torch.zeros(2, 3)),
        reconstruction_loss(whole[:0], merged[:0], TAGS[:0]),
        reconstruction_loss(whole[:0], merged[:0], TAGS[:0], normalised=True),
    ]
    assert [loss.item() for loss in losses] == [0.0] * 4
    assert all(loss.requires_grad for loss in losses)


def test_both_maps_get_a_gradient_where_the_class_is() -> None:
    whole, merged = (m.requires_grad_() for m in score_maps())
    reconstruction_loss(whole, merged, TAGS).backward()
    sign = (whole - merged).sign().detach() * TAGS[..., None, None] / 120
    torch.testing.assert_close(whole.grad, sign)
    torch.testing.assert_close(merged.grad, -sign)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("normalised", [False, True])
def test_gradients(squared: bool, normalised: bool) -> None:
    """By finite differences of 1e-6, of maps that are further than that from the kinks of |·| and relu."""
    maps = tuple(m.requires_grad_() for m in score_maps())
    assert min(float(m.detach().abs().min()) for m in (*maps, maps[0] - maps[1])) > 1e-4

    def loss(whole: torch.Tensor, merged: torch.Tensor) -> torch.Tensor:
        return reconstruction_loss(whole, merged, TAGS, squared=squared, normalised=normalised)

    assert torch.autograd.gradcheck(loss, maps)


def test_the_weight_grows_in_a_line_and_stays() -> None:
    assert [reconstruction_weight(t / 8, 4.0, 0.5) for t in range(9)] == [0, 1, 2, 3, 4, 4, 4, 4, 4]
    assert reconstruction_weight(0.3, 2.0, 0.6) == pytest.approx(1.0)
    assert reconstruction_weight(0.0, 3.0, 0.0) == 3.0
