"""Saliency fusion and object-guided refinement: every rule on a few pixels by hand, and all of them pixel by pixel."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.errors import InputError
from getam.labels.fusion import object_guided_refinement, saliency_fusion


def fused(maps, saliency, classes=(6,), **options):
    """Maps: one row of pixels per class; saliency: a row."""
    found = saliency_fusion(
        torch.tensor(maps)[None, :, None], torch.tensor([list(classes)]), torch.tensor(saliency)[None, None],
        **options,
    )  # fmt: skip
    return found[0, 0].tolist()


def test_the_higher_score_wins_where_nothing_is_in_doubt():
    assert fused([[0.0, 1.0, 0.8, 0.2]], [0.0, 1.0, 0.9, 0.05]) == [0, 7, 7, 0]


def test_maps_are_stretched_to_their_own_range():
    assert fused([[2e-8, 4e-8, 3.7e-8]], [0.0, 1.0, 0.5]) == [0, 7, 7]


def test_weak_scores_leave_background_which_is_in_doubt_where_salient():
    assert fused([[1.0, 0.2, 0.0]], [1.0, 0.8, 0.0]) == [7, 255, 0]


def test_the_published_numbers():
    """gen_gt.py of arXiv 2206.09554: scores from 0.3, contradiction above 0.9, doubt from 32/255, 1 % foreground."""
    assert fused([[1.0, 0.31, 0.29, 0.0]], [1.0, 0.75, 0.75, 0.0]) == [7, 7, 255, 0]
    assert fused([[1.0, 0.91, 0.89, 0.0]], [1.0, 0.095, 0.095, 0.0]) == [7, 255, 255, 0]
    assert fused([[1.0, 0.95, 0.95, 0.0]], [1.0, 0.095, 0.11, 0.0]) == [7, 255, 7, 0]


def test_two_certain_scores_contradict_each_other():
    assert fused([[1.0, 1.0, 0.0]], [1.0, 0.02, 0.0]) == [7, 255, 0]
    assert fused([[1.0, 1.0, 0.0], [0.95, 0.0, 1.0]], [1.0, 1.0, 1.0], (6, 1)) == [255, 7, 2]


def test_background_is_doubted_from_32_of_255_on_or_where_a_map_is_active():
    assert fused([[1.0, 0.0, 0.0, 0.0]], [1.0, 31 / 255, 32 / 255, 0.0]) == [7, 0, 255, 0]
    assert fused([[1.0, 0.6, 0.5, 0.0]], [1.0, 0.1, 0.1, 0.0]) == [7, 255, 0, 0]


def test_maps_that_are_nowhere_black_leave_background_where_doubt_begins_later():
    """One pixel of a hundred is below 0.23 in the embedded model's maps: by the published number all is in doubt."""
    grey = [1.0, 0.5, 0.49, 0.3]
    assert fused([[1.0, 0.0, 0.0, 0.0]], grey) == [7, 255, 255, 255]
    assert fused([[1.0, 0.0, 0.0, 0.0]], grey, doubt=0.5) == [7, 255, 0, 0]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="it must lie in 0 to 1"):
            fused([[1.0, 0.0]], [1.0, 0.0], doubt=wrong)


def test_photos_with_hardly_any_foreground_are_not_believed():
    for pixels, expected in ((101, 255), (100, 0)):
        row = [1.0] + [0.0] * (pixels - 1)
        assert fused([row], row)[-1] == expected


def test_without_a_tag_or_activation_nothing_is_known():
    assert fused([[0.3, 1.0]], [0.0, 1.0], (-1,)) == [255, 255]
    assert fused([[0.5, 0.5]], [0.0, 1.0]) == [255, 255]
    empty = saliency_fusion(
        torch.zeros(2, 0, 3, 4), torch.zeros(2, 0, dtype=torch.int64), torch.ones(2, 3, 4)
    )
    assert (empty == 255).all()


def fused_in_plain_loops(maps, classes, saliency, doubt=32 / 255):
    """Maps: list of (tag, row of pixels)."""
    stretched = [(c, [(v - min(row)) / (max(row) - min(row)) for v in row]) for c, row in zip(classes, maps)]
    label = []
    for pixel, salient in enumerate(saliency):
        scores = [(0, 1 - salient)] + [(c + 1, row[pixel]) for c, row in stretched]
        scores = [(name, score if score >= 0.3 else 0.0) for name, score in scores]
        name = max(scores, key=lambda entry: entry[1])[0]
        if sum(score > 0.9 for _, score in scores) > 1:
            name = 255
        active = any(row[pixel] > 0.5 for _, row in stretched)
        if name == 0 and (active or salient >= doubt):
            name = 255
        label.append(name)
    believable = sum(name not in (0, 255) for name in label) >= 0.01 * len(label)
    return label if believable else [255] * len(label)


@settings(max_examples=40, deadline=None)
@given(slots=st.integers(1, 3), seed=st.integers(0, 2**16), doubt=st.sampled_from((0.0, 32 / 255, 0.5, 1.0)))
def test_equals_plain_loops(slots, seed, doubt):
    generator = torch.Generator().manual_seed(seed)
    maps = (torch.randint(0, 65, (slots, 30), generator=generator) / 64).double()
    maps[:, 0], maps[:, 1] = 0, 1
    saliency = (torch.randint(0, 65, (30,), generator=generator) / 64).double()
    classes = torch.randperm(9, generator=generator)[:slots].tolist()
    expected = fused_in_plain_loops(maps.tolist(), classes, saliency.tolist(), doubt)
    assert fused(maps.tolist(), saliency.tolist(), classes, doubt=doubt) == expected


def refined(prediction, initial, tags):
    found = object_guided_refinement(
        torch.tensor(prediction)[None, None], torch.tensor(initial)[None, None], torch.tensor([list(tags)])
    )
    return found[0, 0].tolist()


def test_predicted_classes_that_are_no_tags_are_undecided():
    assert refined([0, 5, 9, 255], [0, 5, 5, 5], (4,)) == [0, 5, 255, 255]


def test_with_two_tags_missed_objects_come_from_the_initial_label():
    assert refined([0, 0, 0, 5, 8], [0, 8, 255, 8, 8], (4, 7)) == [0, 8, 255, 5, 8]
    assert refined([0, 0, 0, 5], [0, 5, 255, 5], (4, -1)) == [0, 0, 0, 5]  # with one tag they do not


def test_a_tag_in_two_slots_is_one_tag():
    assert refined([0, 0, 5], [0, 5, 5], (4, 4)) == refined([0, 0, 5], [0, 5, 5], (4,)) == [0, 0, 5]


def test_where_a_tag_is_missed_altogether_background_is_undecided():
    assert refined([0, 0, 5], [0, 8, 5], (4, 7)) == [255, 8, 5]
    assert refined([0, 0, 9], [0, 5, 5], (4,)) == [255, 255, 255]


def test_refined_labels_with_hardly_any_foreground_are_not_believed():
    for pixels, expected in ((101, 255), (100, 0)):
        prediction = [5] + [0] * (pixels - 1)
        assert refined(prediction, prediction, (4,))[-1] == expected
    assert refined([0, 0], [0, 5], (-1,)) == [255, 255]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_inputs_are_left_alone(dtype):
    prediction = torch.tensor([[[0, 5, 9]]], dtype=dtype)
    before = prediction.clone()
    found = object_guided_refinement(prediction, prediction, torch.tensor([[4]]))
    assert found.dtype == torch.uint8
    assert torch.equal(prediction, before)


def test_misfitting_input_is_refused_by_name():
    maps, classes = torch.rand(1, 1, 2, 2), torch.tensor([[0]])
    with pytest.raises(InputError, match=r"in \[0,1\]"):
        saliency_fusion(maps, classes, torch.full((1, 2, 2), 255))
    with pytest.raises(InputError, match=r"saliency \(1, 2, 3\)"):
        saliency_fusion(maps, classes, torch.zeros(1, 2, 3))
    for prediction, initial, tags in (
        (torch.zeros(2, 2), torch.zeros(2, 2), classes),
        (torch.zeros(2, 2, 2), torch.zeros(2, 2, 2), classes),
    ):
        with pytest.raises(InputError, match="twice"):
            object_guided_refinement(prediction, initial, tags)
    with pytest.raises(InputError, match=r"saliency \(2, 2, 2\)"):
        saliency_fusion(maps, classes, torch.zeros(2, 2, 2))
    with pytest.raises(InputError, match=r"maps \(1, 2, 2\)"):
        saliency_fusion(maps[0], classes, torch.zeros(1, 2, 2))
    with pytest.raises(InputError, match="expected \\(B,H,W\\) twice"):
        object_guided_refinement(torch.zeros(1, 2, 2), torch.zeros(1, 2, 3), classes)
