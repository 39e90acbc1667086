"""`getam predict`: a mask is the arg-max of the network's logits, by hand; every option by what it changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import getam
import tiny
from getam.data.masks import read_mask
from getam.data.photos import as_tensor, read_photo
from getam.engine.model import load_model, load_segmenter
from getam.engine.model_file import read_metadata, save_model
from getam.nets.inference import photo_logits
from getam.nets.masks import decide, segment
from getam.recipes.getam import GetamConfig
from getam.refine.crf import dense_crf
from getam.refine.crf_parameters import DEEPLAB
from getam.verbs.predict import predict


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Noise in which the trained network sees something of everything."""
    pixels = np.random.default_rng(3).integers(0, 255, (6, 9, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((72, 48), Image.Resampling.BILINEAR).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def model(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A network whose masks change with every pixel; `predict` loads it whatever it is told."""
    net = tiny.hybrid_segmenter(("blue", "red", "green"))
    monkeypatch.setattr("getam.verbs.predict_torch.load_segmenter", lambda *_, **__: net)
    return net


def pixels_of(photo: Path) -> torch.Tensor:
    return as_tensor(read_photo(photo))


@pytest.mark.parametrize(
    ("scales", "flip"), [((40,), False), ((40,), True), ((40, 64), False), ((64, 40), True)]
)
def test_a_mask_is_the_largest_mean_logit(
    scales: tuple[int, ...], flip: bool, photo: Path, model: Any, trained: Path, tmp_path: Path
) -> None:
    out = predict(photo, model=trained, out=tmp_path / "out", scales=scales, flip=flip, crf=False)
    image = pixels_of(photo).float()[None]
    logits = []
    with torch.no_grad():
        for side in scales:
            size = (round(side * 48 / 72 / 8) * 8, side)
            resized = F.interpolate(image, size=size, mode="bilinear", antialias=True)
            logits.append(model(resized).logits)
            if flip:
                logits.append(model(resized.flip(-1)).logits.flip(-1))
    mean = torch.stack([F.interpolate(each, size=(48, 72), mode="bilinear") for each in logits]).mean(0)
    found = read_mask(out / "photo.png")
    assert len(np.unique(found)) > 2
    assert (found == mean[0].argmax(0).numpy()).mean() > 0.999


def test_scales_flip_and_crf_each_change_the_mask(
    photo: Path, model: Any, trained: Path, tmp_path: Path
) -> None:
    plain: dict[str, Any] = {"model": trained, "scales": (40,), "flip": False, "crf": False}
    masks = [
        read_mask(predict(photo, out=tmp_path / str(number), **{**plain, **change}) / "photo.png")
        for number, change in enumerate(({}, {"scales": (64,)}, {"flip": True}, {"crf": True}))
    ]
    for other in masks[1:]:
        assert (other != masks[0]).any()


def test_the_crf_is_on_and_flips_are_off_by_default(
    photo: Path, model: Any, trained: Path, tmp_path: Path
) -> None:
    out = predict(photo, model=trained, out=tmp_path / "a")
    logits = photo_logits(model, pixels_of(photo), (320,), flip=False)
    belief = dense_crf(pixels_of(photo).float()[None], logits.softmax(0)[None], parameters=DEEPLAB)
    np.testing.assert_array_equal(read_mask(out / "photo.png"), belief[0].argmax(0).numpy())


def test_a_network_of_large_crops_sees_photos_larger_unless_told(
    photo: Path, model: Any, trained: Path, tmp_path: Path
) -> None:
    model.crop = 400
    out = predict(photo, model=trained, out=tmp_path / "a", crf=False)
    logits = photo_logits(model, pixels_of(photo), (560,), flip=False)
    np.testing.assert_array_equal(read_mask(out / "photo.png"), logits.argmax(0).numpy())
    found = segment(model, pixels_of(photo))
    np.testing.assert_array_equal(found, logits.argmax(0))
    assert found.dtype == np.uint8
    said = json.loads((out / "protocol.jsonl").read_text().splitlines()[0])
    assert said["options"]["scales"] == [560]
    told = predict(photo, model=trained, out=tmp_path / "b", crf=False, scales=(320,))
    assert (read_mask(told / "photo.png") != read_mask(out / "photo.png")).any()


def test_a_model_file_knows_the_crops_it_was_trained_on(trained: Path, tmp_path: Path) -> None:
    kind, classes, config = read_metadata(trained / "model.safetensors")
    assert (kind, config["size"]) == ("segmenter", 32)
    net = load_segmenter(trained)
    assert net.crop == 32
    assert GetamConfig(backbone="small-hybrid", size=64).build(classes).crop == 64
    save_model(tmp_path / "other.safetensors", net, {**config, "size": 500})
    assert load_segmenter(tmp_path / "other.safetensors").side == 700
    save_model(tmp_path / "damaged.safetensors", net, {**config, "size": "wide"})
    with pytest.raises(getam.WeightsError, match=r"metadata of .*damaged\.safetensors describes no network"):
        load_segmenter(tmp_path / "damaged.safetensors")
    del config["size"]
    save_model(tmp_path / "older.safetensors", net, config)
    assert load_segmenter(tmp_path / "older.safetensors").side == 320


def test_small_photos_are_decided_at_their_own_size() -> None:
    photo = torch.rand(3, 40, 500, generator=torch.Generator().manual_seed(0)) * 255
    logits = torch.randn(4, 40, 500, generator=torch.Generator().manual_seed(1))
    assert torch.equal(decide(logits, photo), logits.argmax(0))
    belief = dense_crf(photo[None], logits.softmax(0)[None], parameters=DEEPLAB)
    assert torch.equal(decide(logits, photo, crf=True), belief[0].argmax(0))


def test_large_photos_are_decided_at_500() -> None:
    photo = torch.rand(3, 60, 1000, generator=torch.Generator().manual_seed(0)) * 255
    logits = F.interpolate(torch.randn(1, 3, 6, 100), size=(60, 1000), mode="bilinear")[0] * 3
    small = F.interpolate(photo[None], size=(30, 500), mode="area")
    belief = F.interpolate(logits.softmax(0)[None], size=(30, 500), mode="area")
    wanted = F.interpolate(dense_crf(small, belief, parameters=DEEPLAB), size=(60, 1000), mode="bilinear")
    assert (decide(logits, photo, crf=True) == wanted[0].argmax(0)).float().mean() > 0.9999


@pytest.mark.parametrize("crf", [False, True])
def test_beyond_1000_a_photo_is_shrunk_and_its_mask_enlarged(crf: bool) -> None:
    net = tiny.hybrid_segmenter()
    coarse = torch.rand(1, 3, 12, 25, generator=torch.Generator().manual_seed(0)) * 255
    photo = F.interpolate(coarse, size=(1000, 2000), mode="bilinear")[0].to(torch.uint8)
    found = segment(net, photo, (64,), crf=crf)
    assert found.shape == (1000, 2000)
    small = F.interpolate(photo[None], size=(500, 1000), mode="bilinear", antialias=True)[0]
    at_1000 = segment(net, small, (64,), crf=crf)
    assert len(np.unique(at_1000)) > 1
    assert (found[::2, ::2] == at_1000).mean() > 0.97
    exact = segment(net, photo[:, :, :1000], (64,))
    np.testing.assert_array_equal(
        exact, photo_logits(net, photo[:, :, :1000], (64,)).argmax(0)
    )  # 1000 is not beyond


def test_a_larger_scale_sees_more_of_a_large_photo() -> None:
    net = tiny.hybrid_segmenter()
    photo = (torch.rand(3, 24, 1600, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    wanted = photo_logits(net, photo, (1600,)).argmax(0)
    np.testing.assert_array_equal(segment(net, photo, (1600,)), wanted)


def test_a_large_jpeg_gets_a_mask_of_its_size(trained: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (2400, 400), (200, 40, 40)).save(tmp_path / "a.jpg", exif=exif)
    out = predict(tmp_path / "a.jpg", model=trained, out=tmp_path / "out", scales=(32,), crf=False)
    assert read_mask(out / "a.png").shape == (2400, 400)


def test_the_model_that_is_named_is_the_one_that_predicts(
    scenes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = scenes / "photos" / "scene2.png"
    monkeypatch.setattr("getam.verbs.predict_torch.embedded_model", None)  # not asked for
    out = getam.predict(photo, model=trained, out=tmp_path / "out", scales=(48,), crf=False)
    net: Any = load_model(trained)
    np.testing.assert_array_equal(read_mask(out / "scene2.png"), segment(net, pixels_of(photo), (48,)))


def test_photos_of_the_folder_that_nothing_reads_are_named(
    photo: Path, model: Any, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("raw.nef", "masks/raw.nef"):  # the second lies in results
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    predict(tmp_path, model=trained, out=tmp_path / "masks", scales=(32,), crf=False)
    lines = capsys.readouterr().err.splitlines()
    assert sum("1 photo is left out, as nothing here reads .nef" in line for line in lines) == 1
    assert not (tmp_path / "masks" / "raw.png").exists()
