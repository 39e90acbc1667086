"""ClassMix: what is pasted, what stays, and how often."""

import torch

from getam.data.class_mix import class_mix


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three photos of one value each: classes 1 and 2 in the first, 3 in the second, nothing decided in the third."""
    images = torch.tensor([10.0, 20.0, 30.0]).view(3, 1, 1, 1).expand(3, 3, 4, 4)
    masks = torch.zeros(3, 4, 4, dtype=torch.int64)
    masks[0, 0], masks[0, 1], masks[0, 2], masks[1, 3], masks[2] = 1, 2, 255, 3, 255
    return images, masks, torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 0, 0]])


def test_objects_of_the_photo_before_are_pasted_with_label_and_tag() -> None:
    images, masks, tags = batch()
    kept = (images.clone(), masks.clone(), tags.clone())
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        mixed, labels, found = class_mix(images, masks, tags, 1.0)
        # the third photo has nothing to give: the first stays
        assert torch.equal(labels[0], masks[0])
        assert torch.equal(mixed[0], images[0])
        assert torch.equal(found[0], tags[0])
        # the first gives one of its two classes, without background or what is undecided
        pasted = 1 if (labels[1] == 1).any() else 2
        seen.add(pasted)
        expected = masks[1].clone()
        expected[pasted - 1] = pasted
        assert torch.equal(labels[1], expected)
        assert (mixed[1, :, pasted - 1] == 10).all()
        assert (mixed[1] == 20).sum() == 3 * 12
        assert found[1].tolist() == [float(pasted == 1), float(pasted == 2), 1]
        # the second gives its only one
        assert (labels[2, 3] == 3).all()
        assert (labels[2, :3] == 255).all()
        assert (mixed[2, :, 3] == 20).all()
        assert found[2].tolist() == [0, 0, 1]
    assert seen == {1, 2}
    assert all(torch.equal(now, before) for now, before in zip((images, masks, tags), kept, strict=True))


def test_the_share_is_of_photos() -> None:
    masks = torch.ones(400, 1, 1, dtype=torch.uint8)
    images = torch.arange(400.0).view(400, 1, 1, 1).expand(400, 3, 1, 1)
    torch.manual_seed(0)
    mixed, _, _ = class_mix(images, masks, torch.ones(400, 1), 0.25)
    assert 70 <= (mixed[:, 0] != images[:, 0]).sum() <= 130
    same, _, _ = class_mix(images, masks, torch.ones(400, 1), 0.0)
    assert torch.equal(same, images)
