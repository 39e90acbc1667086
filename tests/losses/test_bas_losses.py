"""The losses of BAS against hand-computed cases, and who gets a gradient of what."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from getam.losses.bas import area_loss, erased_scores, foreground_loss, suppression_loss, tags_loss

TARGETS = torch.tensor([2, 0])


def make_high() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 3, 1))
    return nn.Sequential(*layers).train()


def make_features() -> Tensor:
    return torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(1))


def test_nothing_erased_leaves_the_score_as_it_is() -> None:
    high, features = make_high(), make_features()
    scores = high(features).mean((2, 3))
    erased = erased_scores(high, features, torch.zeros(2, 5, 5), TARGETS)
    torch.testing.assert_close(erased, scores.gather(1, TARGETS[:, None])[:, 0].relu())
    positive = scores + scores.abs().max() + 1
    same = positive.gather(1, TARGETS[:, None])[:, 0]
    assert suppression_loss(same, positive, TARGETS).item() == pytest.approx(1.0)


def test_everything_erased_leaves_the_score_of_no_feature() -> None:
    high, features = make_high().eval(), make_features()
    with torch.no_grad():
        high[3].bias.fill_(4.0)  # keeps the scores above 0, where the ReLU shows them
    erased = erased_scores(high, features, torch.ones(2, 5, 5), TARGETS)
    nothing = high(torch.zeros_like(features)).mean((2, 3)).gather(1, TARGETS[:, None])[:, 0]
    assert nothing.min().item() > 0
    torch.testing.assert_close(erased, nothing)


def test_each_photos_own_map_is_erased_from_its_own_features_where_it_lies() -> None:
    """S_bg written out for an upper half of two 1×1 convolutions: pixel by pixel, photo by photo."""
    high = nn.Sequential(nn.Conv2d(4, 5, 1), nn.ReLU(), nn.Conv2d(5, 3, 1)).eval()
    features, maps = torch.randn(2, 4, 3, 5), torch.rand(2, 3, 5)
    with torch.no_grad():
        high[2].bias.fill_(2.0)
    (W, b), (V, c) = ((layer.weight[:, :, 0, 0], layer.bias) for layer in (high[0], high[2]))
    expected = []
    for photo, target in enumerate(TARGETS):
        total = torch.zeros(())
        for y in range(3):
            for x in range(5):
                left = (1 - maps[photo, y, x]) * features[photo, :, y, x]
                total = total + V[target] @ (W @ left + b).relu() + c[target]
        expected.append((total / 15).relu())
    found = erased_scores(high, features, maps, TARGETS)
    torch.testing.assert_close(found, torch.stack(expected))
    others = (
        maps.flip(0),
        maps.flip(1),
        maps.flip(2),
        1 - maps,
        maps.mean((1, 2), keepdim=True).expand(2, 3, 5),
    )
    for elsewhere in others:
        assert not torch.allclose(erased_scores(high, features, elsewhere, TARGETS), found, atol=1e-3)


def test_a_score_below_zero_counts_as_nothing_found() -> None:
    high = nn.Conv2d(4, 3, 1)
    with torch.no_grad():
        high.bias.copy_(torch.tensor([3.0, 0.0, -100.0]))
    found = erased_scores(high, make_features(), torch.ones(2, 5, 5), TARGETS)  # targets 2 and 0
    assert found.tolist() == [0, 3]


def test_gradients_pass_through_the_upper_half_to_the_map_alone() -> None:
    high, generator = make_high(), nn.Conv2d(4, 3, 3, padding=1, bias=False)
    lower = nn.Conv2d(3, 4, 1)
    features = lower(torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(2)))
    maps = generator(features.detach()).sigmoid()[torch.arange(2), TARGETS]
    with torch.no_grad():
        high[3].bias.fill_(4.0)
    scores = high(features).mean((2, 3))
    before = {name: buffer.clone() for name, buffer in high.named_buffers()}
    erased = erased_scores(high, features, maps, TARGETS)
    assert all(torch.equal(buffer, before[name]) for name, buffer in high.named_buffers())
    suppression_loss(erased, scores + 1, TARGETS).backward()
    assert all(p.grad is None for p in [*high.parameters(), *lower.parameters()])
    assert float(generator.weight.grad.abs().max()) > 0
    high(features.detach())
    assert not torch.equal(high[1].running_mean, before["1.running_mean"])  # a plain pass does move them


def test_photos_that_score_higher_when_erased_count_as_one_without_a_gradient() -> None:
    erased = torch.tensor([2.0, 6.0, 0.0, 3.0], requires_grad=True)
    scores = torch.tensor([[4.0, 0], [4.0, 0], [4.0, 0], [-1.0, 0]])
    loss = suppression_loss(erased, scores, torch.zeros(4, dtype=torch.int64))
    assert loss.item() == pytest.approx((0.5 + 1 + 0 + 1) / 4)
    loss.backward()
    torch.testing.assert_close(erased.grad, torch.tensor([0.25, 0, 0.25, 0]) / 4)


def test_as_much_left_as_there_was_still_has_a_gradient() -> None:
    erased = torch.tensor([4.0, 0.0], requires_grad=True)
    loss = suppression_loss(erased, torch.tensor([[4.0, 0], [-1.0, 0]]), torch.tensor([0, 0]))
    assert loss.item() == pytest.approx((1 + 0) / 2)
    (gradient,) = torch.autograd.grad(loss, erased)
    assert gradient[0].item() == pytest.approx(1 / 4 / 2)


def test_the_score_of_the_target_is_what_is_compared_with_and_is_held_constant() -> None:
    scores = torch.tensor([[1.0, 8.0, 2.0], [5.0, 4.0, 3.0]], requires_grad=True)
    erased = torch.tensor([1.0, 1.0], requires_grad=True)
    loss = suppression_loss(erased, scores, TARGETS)
    assert loss.item() == pytest.approx((1 / 2 + 1 / 5) / 2)
    loss.backward()
    assert scores.grad is None


def test_area_is_the_mean() -> None:
    foreground = torch.tensor([[[0.0, 1.0], [0.5, 0.5]], [[1.0, 1.0], [1.0, 0.0]]])
    assert float(area_loss(foreground)) == pytest.approx(0.625)


@pytest.mark.parametrize("coarser", [1, 2])
def test_foreground_is_the_cross_entropy_of_the_masked_average(coarser: int) -> None:
    class_map = torch.randn(2, 3, 4, 6, requires_grad=True)
    m = torch.rand(2, 4 * coarser, 6 * coarser, requires_grad=True)
    expected = torch.zeros(())
    for photo, target in enumerate(TARGETS.tolist()):
        found = []
        for c in range(3):
            total = 0.0
            for y in range(4):
                for x in range(6):
                    cell = m[photo, y * coarser : (y + 1) * coarser, x * coarser : (x + 1) * coarser].mean()
                    total = total + class_map[photo, c, y, x] * cell / 24
            found.append(total)
        expected = expected - F.log_softmax(torch.stack(found), 0)[target] / 2
    loss = foreground_loss(class_map, m, TARGETS)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert class_map.grad is None
    assert float(m.grad.abs().max()) > 0


@settings(deadline=None)
@given(
    st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=1, max_size=4),
    st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=4, max_size=4),
)
def test_tags_do_not_compete_with_each_other(rows: list[list[float]], present: list[list[bool]]) -> None:
    scores = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
    tags = torch.tensor(present[: len(rows)], dtype=torch.float64)
    expected = 0.0
    for z, y in zip(scores.detach(), tags):
        rest = sum(float(z[n].exp()) for n in range(3) if not y[n])
        for k in range(3):
            if y[k]:
                own = float(z[k].exp())
                expected -= float(torch.tensor(own / (own + rest)).log())
    loss = tags_loss(scores, tags)
    assert loss.item() == pytest.approx(expected / len(rows), rel=1e-5, abs=1e-6)
    loss.backward()
    assert scores.grad.isfinite().all()


def test_without_photos_every_loss_is_zero_with_a_graph() -> None:
    nothing = torch.zeros(0, 3, requires_grad=True)
    targets = torch.zeros(0, dtype=torch.int64)
    maps = torch.zeros(0, 4, 4, requires_grad=True)
    losses = [
        tags_loss(nothing, nothing.detach()), suppression_loss(nothing[:, 0], nothing, targets), area_loss(maps),
        foreground_loss(torch.zeros(0, 3, 4, 4), maps, targets),
    ]  # fmt: skip
    assert [loss.item() for loss in losses] == [0.0] * 4
    assert all(loss.requires_grad for loss in losses)


def test_an_unknown_class_does_not_compete_for_the_foreground() -> None:
    class_map, m = torch.randn(2, 3, 4, 4), torch.rand(2, 4, 4)
    known = torch.tensor([[True, False, True], [True, True, True]])
    wanted = [
        foreground_loss(class_map[:1, ::2], m[:1], TARGETS[:1] // 2),
        foreground_loss(class_map[1:], m[1:], TARGETS[1:]),
    ]
    torch.testing.assert_close(foreground_loss(class_map, m, TARGETS, known), sum(wanted) / 2)


def test_a_smaller_remainder_is_a_smaller_loss() -> None:
    scores, targets = torch.tensor([[4.0, 0.0]]), torch.zeros(1, dtype=torch.int64)
    found = [float(suppression_loss(torch.tensor([r]), scores, targets)) for r in (4.0, 2.0, 1.0, 0.0)]
    assert all(more > less for more, less in pairwise(found))


def test_one_photo_counts_in_full() -> None:
    scores, target = torch.tensor([[4.0, 1.0]]), torch.zeros(1, dtype=torch.int64)
    assert float(suppression_loss(torch.tensor([1.0]), scores, target)) == pytest.approx(0.25)
    assert float(area_loss(torch.full((1, 1, 1), 0.3))) == pytest.approx(0.3)
    assert float(tags_loss(scores, torch.tensor([[1.0, 0.0]]))) == pytest.approx(
        float((-torch.tensor(3.0)).exp().log1p())
    )


def test_the_gradients_are_right() -> None:
    """By finite differences, away from the two kinks: scores are above 0, and less is left than there was."""
    random = torch.Generator().manual_seed(3)
    high = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.Tanh(), nn.Conv2d(5, 3, 1)).double()
    with torch.no_grad():
        for parameter in high.parameters():
            parameter.normal_(0, 0.3, generator=random)
        high[2].bias.fill_(3.0)
    features = torch.randn(2, 4, 2, 3, generator=random, dtype=torch.float64)
    class_map = torch.randn(2, 3, 1, 3, generator=random, dtype=torch.float64)  # coarser than m
    scores = torch.randn(2, 3, generator=random, dtype=torch.float64)
    m = torch.rand(2, 2, 3, generator=random, dtype=torch.float64).requires_grad_()

    erased = erased_scores(high, features, m, TARGETS).detach()
    whole = scores - scores.min() + 2 * erased.max()
    assert float(erased.min()) > 0.5

    def suppressed(m: Tensor) -> Tensor:
        return suppression_loss(erased_scores(high, features, m, TARGETS), whole, TARGETS)

    assert torch.autograd.gradcheck(lambda m: erased_scores(high, features, m, TARGETS), (m,))
    assert torch.autograd.gradcheck(suppressed, (m,))
    assert torch.autograd.gradcheck(area_loss, (m,))
    known = torch.tensor([[True, False, True], [True, True, True]])
    tags = torch.tensor([[0.0, 0, 1], [1, 1, 0]])
    for looked in (None, known):
        assert torch.autograd.gradcheck(lambda m, k=looked: foreground_loss(class_map, m, TARGETS, k), (m,))
        assert torch.autograd.gradcheck(
            lambda z, k=looked: tags_loss(z, tags, k), (scores.clone().requires_grad_(),)
        )
