"""gradcam() against hooks of the test's own on the last block's norm1."""

import pytest
import torch

import tiny
from getam.errors import CaptureError, InputError
from getam.maps.methods.gradcam import gradcam
from getam.nets.segmenter import Segmenter


@pytest.mark.parametrize(
    "name", ["plain", "distilled, 2 prefix tokens", "4 registers", "averaged", "segmenter, hybrid"]
)
def test_equals_a_hook_on_the_last_norm(name: str) -> None:
    model = tiny.MODELS[name]()
    images = tiny.photos(2, model=model)
    maps = gradcam(model, images, [[1, 0], [2]])
    blocks = model.encoder.vit.blocks if isinstance(model, Segmenter) else model.blocks
    kept = []
    hook = blocks[-1].norm1.register_forward_hook(lambda _m, _i, out: kept.append(out))
    for b, k, c in ((0, 0, 1), (0, 1, 0), (1, 0, 2)):
        kept.clear()
        output = model(images[b : b + 1])
        scores = output.scores if isinstance(model, Segmenter) else output
        (gradient,) = torch.autograd.grad(scores[0, c], kept[0])
        patches = kept[0][0, -16:].detach()
        weight = gradient[0, -16:].sum(0) / 16
        wanted = torch.stack([(weight * patch).sum().clamp(min=0) for patch in patches]).view(4, 4)
        torch.testing.assert_close(maps.values[b, k], wanted, rtol=1e-4, atol=1e-6)
    hook.remove()
    assert not maps.values[1, 1].any()
    assert maps.valid.tolist() == [[True, True], [True, False]]
    assert maps.rows == ""


def test_a_frozen_model_under_no_grad_is_fine() -> None:
    model, images = tiny.vit(), tiny.photos(1)
    before = gradcam(model, images, [[1]]).values
    model.requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(gradcam(model, images, [[1]]).values, before)


def test_the_model_is_left_as_it_was() -> None:
    model = tiny.hybrid_segmenter().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradcam(model, tiny.photos(2, model=model), [[1], []])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(m.training and not m._forward_pre_hooks for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_what_cannot_be_done_is_said() -> None:
    with torch.inference_mode(), pytest.raises(CaptureError, match="inference_mode"):
        gradcam(tiny.vit(), tiny.photos(1), [[1]])
    with pytest.raises(InputError, match="class 9"):
        gradcam(tiny.vit(), tiny.photos(1), [[9]])
    with pytest.raises(CaptureError, match="no patch_embed"):
        gradcam(torch.nn.Linear(2, 2), tiny.photos(1), [[0]])
