"""L_fg, L_bg and the plain cross-entropy against loops over pixels; empty sets are 0, never NaN."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from getam.losses.cross_entropy import foreground_background_loss, pixel_loss


def by_pixel(logits: Tensor, label: Tensor) -> tuple[float, float, float]:
    """(L_fg, L_bg, plain), each a mean over its own pixels, 0 without any."""
    sums, counts = [0.0, 0.0], [0, 0]
    for b in range(label.shape[0]):
        for y in range(label.shape[1]):
            for x in range(label.shape[2]):
                c = int(label[b, y, x])
                if c == 255:
                    continue
                exponents = [math.exp(float(v)) for v in logits[b, :, y, x]]
                sums[c == 0] -= math.log(exponents[c] / sum(exponents))
                counts[c == 0] += 1
    return sums[0] / max(counts[0], 1), sums[1] / max(counts[1], 1), sum(sums) / max(sum(counts), 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([torch.uint8, torch.int64]))
def test_equals_loops_over_pixels(seed: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 3, 5, generator=generator)
    choices = torch.tensor([0, 1, 2, 3, 255])
    label = choices[torch.randint(0, 5, (2, 3, 5), generator=generator)].to(dtype)
    foreground, background, plain = by_pixel(logits, label)
    found = foreground_background_loss(logits, label)
    assert float(found[0]) == pytest.approx(foreground, rel=1e-4)
    assert float(found[1]) == pytest.approx(background, rel=1e-4)
    assert float(pixel_loss(logits, label)) == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("q", [0.3, 1.0])
def test_generalised_cross_entropy_is_the_formula_of_the_paper(q: float) -> None:
    logits, label = torch.randn(2, 4, 3, 5), torch.randint(0, 4, (2, 3, 5))
    label[:, 0] = 255
    decided = [
        (1 - float(logits[b, :, y, x].softmax(0)[label[b, y, x]]) ** q) / q
        for b in range(2) for y in range(1, 3) for x in range(5)
    ]  # fmt: skip
    assert float(pixel_loss(logits, label, q)) == pytest.approx(sum(decided) / len(decided), rel=1e-4)


def test_generalised_cross_entropy_learns_little_from_what_it_contradicts() -> None:
    logits = torch.tensor([0.0, 6.0]).view(1, 2, 1, 1).requires_grad_()
    wrong = torch.zeros(1, 1, 1, dtype=torch.int64)
    steep = torch.autograd.grad(pixel_loss(logits, wrong), logits)[0].abs().max()
    flat = torch.autograd.grad(pixel_loss(logits, wrong, 0.7), logits)[0].abs().max()
    assert flat < steep / 20


@pytest.mark.parametrize("value", [0, 1, 255])
def test_an_empty_set_is_zero_with_a_graph(value: int) -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    label = torch.full((1, 4, 4), value, dtype=torch.uint8)
    foreground, background = foreground_background_loss(logits, label)
    assert (float(foreground) > 0) == (value == 1)
    assert (float(background) > 0) == (value == 0)
    assert (float(pixel_loss(logits, label)) > 0) == (value != 255)
    (foreground + background + pixel_loss(logits, label)).backward()
    assert bool(logits.grad.isfinite().all())
    assert bool(logits.grad.any()) == (value != 255)


def test_ignored_pixels_have_no_gradient() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    label = torch.tensor([[[0, 255], [1, 255]]])
    sum(foreground_background_loss(logits, label)).backward()
    assert not logits.grad[..., 1].any()
    assert bool((logits.grad[..., 0] != 0).all())


def test_an_empty_batch_is_zero() -> None:
    logits = torch.zeros(0, 3, 2, 2, requires_grad=True)
    loss = sum(foreground_background_loss(logits, torch.zeros(0, 2, 2)))
    assert float(loss) == 0
    loss.backward()


@pytest.mark.parametrize("value", [0, 1])
def test_a_set_of_one_pixel_counts_in_full(value: int) -> None:
    logits = torch.randn(1, 3, 2, 2)
    label = torch.full((1, 2, 2), 255)
    label[0, 1, 0] = value
    wanted = -float(logits[0, :, 1, 0].log_softmax(0)[value])
    found = foreground_background_loss(logits, label)
    assert float(found[1 - value]) == pytest.approx(wanted)
    assert float(found[value]) == 0
    assert float(pixel_loss(logits, label)) == pytest.approx(wanted)


def test_half_precision_is_summed_in_full() -> None:
    logits = torch.randn(1, 3, 4, 4).bfloat16()
    label = torch.randint(3, (1, 4, 4))
    losses = (*foreground_background_loss(logits, label), pixel_loss(logits, label))
    wanted = (*foreground_background_loss(logits.float(), label), pixel_loss(logits.float(), label))
    assert all(loss.dtype == torch.float32 for loss in losses)
    assert torch.equal(torch.stack(losses), torch.stack(wanted))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_unknown_classes_are_out_of_the_softmax_and_get_no_gradient(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 5, 3, 4, generator=generator, requires_grad=True)
    choices = torch.tensor([0, 1, 2, 3, 4, 255])
    label = choices[torch.randint(0, 6, (2, 3, 4), generator=generator)]
    known = torch.rand(2, 4, generator=generator) > 0.4
    fg, bg = foreground_background_loss(logits, label, known)
    plain, robust = pixel_loss(logits, label, known=known), pixel_loss(logits, label, 0.5, known)

    wanted: dict[str, list[float]] = {"fg": [], "bg": [], "robust": []}
    slope = torch.zeros_like(logits)
    decided = int((label != 255).sum())
    for b, y, x in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        c = int(label[b, y, x])
        if c == 255:
            continue
        compared = [0] + [k for k in range(1, 5) if bool(known[b, k - 1]) or k == c]
        weights = {k: math.exp(float(logits[b, k, y, x])) for k in compared}
        p = {k: weight / sum(weights.values()) for k, weight in weights.items()}
        wanted["bg" if c == 0 else "fg"].append(-math.log(p[c]))
        wanted["robust"].append((1 - p[c] ** 0.5) / 0.5)
        for k in compared:
            slope[b, k, y, x] = (p[k] - (k == c)) / decided
    for found, name in ((fg, "fg"), (bg, "bg"), (robust, "robust")):
        assert float(found.detach()) == pytest.approx(sum(wanted[name]) / max(1, len(wanted[name])), rel=1e-4)
    both = wanted["fg"] + wanted["bg"]
    assert float(plain.detach()) == pytest.approx(sum(both) / max(1, len(both)), rel=1e-4)
    if decided:
        (gradient,) = torch.autograd.grad(plain, logits)
        torch.testing.assert_close(gradient, slope)
        other = (torch.arange(1, 5)[None, :, None, None] != label[:, None]) & ~known[:, :, None, None]
        assert not gradient[:, 1:][other].any()


def test_undecided_beyond_254_classes_is_65535() -> None:
    logits = torch.randn(1, 301, 1, 3)
    label = torch.tensor([[[255, 65535, 0]]])
    fg, bg = foreground_background_loss(logits, label)
    logs = -logits[0].log_softmax(0)
    torch.testing.assert_close(fg, logs[255, 0, 0])
    torch.testing.assert_close(bg, logs[0, 0, 2])
    torch.testing.assert_close(pixel_loss(logits, label), (logs[255, 0, 0] + logs[0, 0, 2]) / 2)


@pytest.mark.parametrize("known", [None, torch.tensor([[True, False], [False, True]])])
def test_gradients(known: Tensor | None) -> None:
    """Foreground and background as AFA's L_seg has them too; labels have unknown classes and undecided pixels."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    label = torch.tensor([[[0, 1, 2], [255, 0, 2]], [[0, 0, 255], [1, 1, 0]]], dtype=torch.uint8)
    assert torch.autograd.gradcheck(lambda z: foreground_background_loss(z, label, known), (logits,))
    for q in (0.0, 0.7):
        assert torch.autograd.gradcheck(lambda z, q=q: pixel_loss(z, label, q, known), (logits,))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), q=st.sampled_from([0.0, 0.5]))
def test_partial_labels_let_undecided_pixels_be_what_the_photo_may_show(seed: int, q: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 3, 4, generator=generator)
    label = torch.tensor([0, 1, 2, 3, 255, 255])[torch.randint(0, 6, (2, 3, 4), generator=generator)]
    possible = torch.rand(2, 3, generator=generator) > 0.5
    shown = torch.rand(2, 3, 4, generator=generator) > 0.3
    wanted = []
    for b, y, x in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        weights = [math.exp(value) for value in logits[b, :, y, x].tolist()]
        c = int(label[b, y, x])
        if c == 255 and not shown[b, y, x]:
            continue
        may = [c] if c != 255 else [0] + [k for k in (1, 2, 3) if possible[b, k - 1]]
        p = sum(weights[k] for k in may) / sum(weights)
        wanted.append((1 - p**q) / q if q else -math.log(p))
    found = float(pixel_loss(logits, label, q, partial=(possible, shown)))
    assert found == pytest.approx(sum(wanted) / max(1, len(wanted)), rel=1e-4, abs=1e-6)


def test_the_gradient_of_partial_labels_only_takes_from_what_cannot_be_there() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 4, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    label = torch.full((1, 2, 3), 255)
    partial = (torch.tensor([[True, False, True]]), torch.ones(1, 2, 3, dtype=torch.bool))
    assert torch.autograd.gradcheck(lambda z: pixel_loss(z, label, partial=partial), (logits,))
    (slope,) = torch.autograd.grad(pixel_loss(logits, label, partial=partial), logits)
    assert (slope[:, 2] > 0).all()  # class 2 is not tagged
    assert (slope[:, [0, 1, 3]] < 0).all()
    everything = (torch.ones(1, 3, dtype=torch.bool), partial[1])
    (none,) = torch.autograd.grad(pixel_loss(logits, label, partial=everything), logits)
    assert none.abs().max() < 1e-12
