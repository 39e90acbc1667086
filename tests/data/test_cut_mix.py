"""CutMix: which pixels are pasted, photo and label alike, and how large the boxes are."""

import torch

from getam.data.cut_mix import cut_mix, draw_box


def test_image_and_label_are_pasted_together_from_the_photo_before() -> None:
    label = torch.arange(3 * 5 * 6).view(3, 5, 6)
    images = torch.stack([label, label + 1000, label + 2000], 1).float()
    before = images.clone(), label.clone()
    mixed, target = cut_mix(images, label, (1, 4, 2, 5))
    assert torch.equal(images, before[0])
    assert torch.equal(label, before[1])
    for photo in range(3):
        for y in range(5):
            for x in range(6):
                source = (photo - 1) % 3 if 1 <= y < 4 and 2 <= x < 5 else photo
                assert target[photo, y, x] == label[source, y, x]
                assert torch.equal(mixed[photo, :, y, x], images[source, :, y, x])


def test_an_empty_box_changes_nothing() -> None:
    images, label = torch.rand(2, 3, 4, 4), torch.randint(3, (2, 4, 4))
    mixed, target = cut_mix(images, label, (2, 2, 0, 4))
    assert torch.equal(mixed, images)
    assert torch.equal(target, label)


def test_boxes_lie_in_the_photo_and_their_sides_follow_the_drawn_share() -> None:
    shares, whole = [], 0
    for seed in range(300):
        torch.manual_seed(seed)
        share, down, right = torch.rand(3).tolist()
        torch.manual_seed(seed)
        top, bottom, left, end = draw_box(100, 200)
        assert 0 <= top <= bottom <= 100
        assert 0 <= left <= end <= 200
        shares.append((bottom - top) * (end - left) / 20_000)
        height, width = 100 * share**0.5, 200 * share**0.5
        if height / 2 < 100 * min(down, 1 - down) - 1 and width / 2 < 200 * min(right, 1 - right) - 1:
            whole += 1
            assert abs(bottom - top - height) <= 1.01
            assert abs(end - left - width) <= 1.01
            assert abs((top + bottom) / 2 - 100 * down) <= 1
            assert abs((left + end) / 2 - 200 * right) <= 1
    assert whole > 30
    assert min(shares) < 0.01
    assert max(shares) > 0.5
