"""Masks and maps of the served network: against `getam predict`, `getam explain` and each photo alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photographs import photo
from torch import Tensor

from getam.data.confidences import read_confidences
from getam.data.masks import read_mask
from getam.engine.model import load_segmenter
from getam.engine.model_file import read_metadata, save_model
from getam.errors import InputError
from getam.nets.inference import batch_logits, photo_logits
from getam.service import network as module
from getam.service.network import Prepared, ServedNetwork, has_ties
from getam.service.uploads import Limits, RefusedError
from getam.verbs.explain import explain_photos
from getam.verbs.predict import predict


@pytest.fixture(scope="module")
def served(lively: Path) -> ServedNetwork:
    return ServedNetwork(lively, scales=(64,), crf=False, device="cpu")


def masks(served: ServedNetwork, batch: list[Prepared]) -> list[Any]:
    found = served.masks(batch)
    assert not any(isinstance(mask, Exception) for mask in found)
    return found


@pytest.mark.parametrize(
    "options",
    [{}, {"scales": (64,)}, {"scales": (32, 64), "crf": False}, {"scales": (64,), "flip": True}],
    ids=str,
)
def test_masks_are_those_of_predict(options: dict[str, Any], lively: Path, tmp_path: Path) -> None:
    contents = {"small": photo("PNG", 40, 48), "large": photo("JPEG", 900, 1400, seed=1)}
    for name, content in contents.items():
        (tmp_path / f"{name}.jpg").write_bytes(content)
    out = predict(tmp_path, model=lively, out=tmp_path / "masks", device="cpu", **options)
    served = ServedNetwork(lively, device="cpu", **options)
    for name, content in contents.items():
        (mask,) = masks(served, [served.prepare(content)])
        np.testing.assert_array_equal(mask.label, read_mask(out / f"{name}.png"))
        assert set(mask.confidences) == {served.classes[n - 1] for n in np.unique(mask.label) if n}
        assert len(np.unique(mask.label)) > 1


def test_a_network_of_large_crops_sees_photos_larger(lively: Path, tmp_path: Path) -> None:
    net, (_, _, config) = load_segmenter(lively), read_metadata(lively)
    save_model(tmp_path / "model.safetensors", net, {**config, "size": 400})
    served = ServedNetwork(tmp_path / "model.safetensors", device="cpu")
    assert served.key(served.prepare(photo("PNG", 80, 80))) == ((560, 560),)


def test_told_the_tags_masks_are_those_of_predict_told_them(lively: Path, tmp_path: Path) -> None:
    contents = {
        "a": photo("PNG", 40, 48),
        "b": photo("PNG", 40, 48, seed=1),
        "c": photo("PNG", 40, 48, seed=2),
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    served = ServedNetwork(lively, device="cpu")
    first, second = served.classes[:2]
    tags = {"a": (second,), "b": (second, first), "c": (first,)}
    lines = "".join(f"{name}.png,{';'.join(its)}\n" for name, its in tags.items())
    (tmp_path / "tags.csv").write_text(f"image,tags\n{lines}")
    out = predict(tmp_path, model=lively, tags=tmp_path / "tags.csv", out=tmp_path / "masks", device="cpu")
    batch = [served.prepare(contents[name], tags[name]) for name in tags]
    assert len({served.key(each) for each in batch}) == 1
    for name, mask in zip(tags, masks(served, batch), strict=True):
        np.testing.assert_array_equal(mask.label, read_mask(out / f"{name}.png"))
        assert read_confidences(out / f"{name}.png") == pytest.approx(mask.confidences, abs=1e-4)
        assert set(mask.confidences) <= set(tags[name])
    (free,) = masks(served, [served.prepare(contents["a"])])
    assert set(np.unique(free.label)) > {0, 2}, "the tags took nothing away"


@pytest.mark.parametrize("crf", [False, True])
def test_a_batch_has_the_masks_of_each_alone(crf: bool, lively: Path) -> None:
    served = ServedNetwork(lively, scales=(64,), crf=crf, device="cpu")
    batch = [
        served.prepare(photo(height=height, width=4 * height // 3, seed=height)) for height in (36, 48, 60)
    ]
    assert len({served.key(each) for each in batch}) == 1
    alone = [masks(served, [each])[0] for each in batch]
    for mask, wanted in zip(masks(served, batch), alone, strict=True):
        np.testing.assert_array_equal(mask.label, wanted.label)
        assert mask.confidences == pytest.approx(wanted.confidences, abs=1e-5)


def test_a_batch_is_one_forward(served: ServedNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    handle = served._net.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    monkeypatch.setattr(module, "TIE", 0.0)  # a network this tiny is never sure
    masks(served, [served.prepare(photo(seed=seed)) for seed in range(3)])
    handle.remove()
    assert seen == [3]


def test_a_photo_with_a_tie_is_decided_again_alone(
    served: ServedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch says otherwise by a hair, as other kernels do; the mask must not."""
    sizes: list[int] = []
    real = batch_logits

    def wavering(net: Any, photos: list[Tensor], *given: Any, **options: Any) -> list[Tensor]:
        sizes.append(len(photos))
        found = real(net, photos, *given, **options)
        if len(photos) > 1:  # on the first photo all classes tie, up to 1e-5 for the last
            found[0] = torch.zeros_like(found[0])
            found[0][-1] += 1e-5
            found[1] = found[1] * 0 + torch.tensor([0.0, 0.0, 1.0])[:, None, None]
        return found

    monkeypatch.setattr(module, "batch_logits", wavering)
    batch = [served.prepare(photo(seed=seed)) for seed in range(2)]
    (alone,) = masks(served, batch[:1])
    sizes.clear()
    first, second = masks(served, batch)
    np.testing.assert_array_equal(first.label, alone.label)
    assert (second.label == 2).all()
    assert sizes == [2, 1]
    assert len(np.unique(alone.label)) > 1


def test_ties() -> None:
    values = torch.tensor([[[0.2, 0.2]], [[0.5, 0.5]], [[0.3, 0.3]]])
    assert not has_ties(values)
    values[2, 0, 1] = 0.5 - 0.5 * module.TIE
    assert has_ties(values)
    assert not has_ties(values[:, :, :1])


def test_logits_of_a_batch_are_those_of_each(served: ServedNetwork) -> None:
    photos = [served.prepare(photo(height=h, width=2 * h, seed=h)).photo for h in (40, 30)]
    for flip in (False, True):
        found = batch_logits(served._net, photos, (32, 64), flip=flip)
        for logits, each in zip(found, photos, strict=True):
            assert logits.shape[-2:] == each.shape[-2:]
            torch.testing.assert_close(
                logits, photo_logits(served._net, each, (32, 64), flip=flip), rtol=1e-4, atol=1e-5
            )


def test_what_shares_a_batch(lively: Path) -> None:
    plain, sharp = (ServedNetwork(lively, scales=(64,), crf=crf, device="cpu") for crf in (False, True))
    for served in (plain, sharp):
        square, wide, also_square, large, huge = (
            served.key(served.prepare(photo("PNG", *size)))
            for size in ((40, 40), (40, 80), (90, 90), (600, 600), (1200, 1200))
        )
        assert square == also_square != wide
        assert (large == square) == (served is plain)  # the CRF decides at 500, and the mask is enlarged
        assert huge != square
        assert large != huge
    two = ServedNetwork(lively, scales=(32, 320), crf=False, device="cpu")
    nearly = [two.key(two.prepare(photo("PNG", *size))) for size in ((40, 40), (40, 42))]
    assert nearly[0] != nearly[1]  # the same at 32, another at 320


def test_limits_are_kept(lively: Path) -> None:
    served = ServedNetwork(lively, device="cpu", limits=Limits(1, 0.001))
    for prepare in (served.prepare, served.prepare_whole):
        with pytest.raises(RefusedError, match="48×40 pixels"):
            prepare(photo())


def test_maps_are_those_of_explain(lively: Path, tmp_path: Path) -> None:
    served = ServedNetwork(lively, device="cpu")
    (tmp_path / "a.jpg").write_bytes(photo("JPEG", 600, 1300))
    out = explain_photos(tmp_path / "a.jpg", model=str(lively), classes=("red",), out=tmp_path / "maps")
    wanted = np.load(out / "a.npz")
    maps = served.maps(served.prepare_whole((tmp_path / "a.jpg").read_bytes()), ["red"], refine=False)
    np.testing.assert_array_equal(maps.values[0].numpy(), wanted["values"])
    assert maps.packed() == (out / "a.npz").read_bytes()
    assert maps.photo is not None
    assert maps.photo.shape == (3, 462, 1000)


def test_classes_of_maps(served: ServedNetwork) -> None:
    prepared = served.prepare_whole(photo())
    both = served.maps(prepared, ["red", "blue", "red"], refine=False)
    assert [name for name, _ in both.found()] == ["red", "blue"]
    found = served.maps(prepared, [], refine=False)
    wanted = served._subject.present(served._subject.prepare(prepared))[0]
    assert found.classes[0].tolist() == wanted
    with pytest.raises(InputError, match="no class 'rd'"):
        served.maps(prepared, ["rd"], refine=False)


def test_refining_is_an_option(served: ServedNetwork) -> None:
    prepared = served.prepare_whole(photo())
    plain, refined = (served.maps(prepared, ["red"], refine=refine) for refine in (False, True))
    torch.testing.assert_close(plain.values, refined.values)
    assert not torch.equal(plain.heat(refine=False), refined.heat(refine=True))


def test_masks_and_maps_of_several_threads_are_those_of_one(lively: Path) -> None:
    served = ServedNetwork(lively, scales=(64,), device="cpu")
    contents = [photo(seed=seed) for seed in range(4)]

    def job(seed: int) -> tuple[Any, Any]:
        torch.set_num_threads(1)
        (mask,) = masks(served, [served.prepare(contents[seed])])
        maps = served.maps(served.prepare_whole(contents[seed]), ["red", "blue"], refine=True)
        return mask.label, maps.values

    wanted = [job(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for seed, (label, values) in zip([*range(4)] * 3, pool.map(job, [*range(4)] * 3), strict=True):
            np.testing.assert_array_equal(label, wanted[seed][0])
            torch.testing.assert_close(values, wanted[seed][1], rtol=1e-5, atol=1e-7)


def test_what_is_no_segmenter_or_no_scale(lively: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        ServedNetwork(tmp_path / "none", device="cpu")
    for scales in ((), (0,)):
        with pytest.raises(InputError, match="positive long sides"):
            ServedNetwork(lively, scales=scales, device="cpu")
    served = ServedNetwork(lively, device="cpu")
    assert served.on_cpu
    assert served.classes == ("blue", "red")
