"""train → predict → label → explain → evaluate on a folder of tiny photos, through the public functions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import getam
import tiny
from getam.data.masks import read_mask
from getam.errors import InputError, WeightsError
from getam.nets.masks import decide
from getam.verbs.explain import explain_photos


def test_train_writes_its_run(trained: Path) -> None:
    assert {file.name for file in trained.iterdir()} == {
        ".lock", "config.yaml", "data.jsonl", "env.json", "metrics.jsonl", "model.safetensors", "state.pt",
    }  # fmt: skip
    (entry,) = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert entry["step"] == 4
    assert {"cls", "fg", "bg", "dense"} <= entry.keys()
    assert getam.load_model(trained).classes == ("blue", "red")


def test_predict_then_evaluate(scenes: Path, trained: Path, tmp_path: Path) -> None:
    out = getam.predict(scenes / "photos", model=trained, out=tmp_path / "masks", scales=(32, 48), flip=True)
    assert (out / "classes.txt").read_text().split() == ["background", "blue", "red"]
    for photo in sorted((scenes / "photos").iterdir()):
        with Image.open(out / photo.name) as mask, Image.open(photo) as image:
            assert mask.mode == "P"
            assert mask.size == image.size
            assert set(np.unique(np.array(mask))) <= {0, 1, 2}
    (record,) = [json.loads(line) for line in (out / "protocol.jsonl").read_text().splitlines()]
    assert (record["verb"], record["photos"], record["tags_at_test_time"]) == ("predict", 6, False)
    assert record["options"]["scales"] == [32, 48]
    assert len(record["weights_sha256"]) == 64
    scored = getam.evaluate(out, scenes / "truth")
    assert list(scored.iou) == ["background", "blue", "red"]
    assert 0 <= scored.miou <= 1


def test_a_large_photo_is_sharpened_at_the_crfs_own_size() -> None:
    photo = torch.zeros(3, 600, 1200)
    photo[:, :, 600:] = 255
    logits = torch.zeros(3, 600, 1200)
    logits[0, :, :640] = 2.0  # the network's edge is 40 pixels off the photo's
    logits[2, :, 640:] = 2.0
    label = decide(logits, photo, crf=True)
    assert label.shape == (600, 1200)
    assert (label[:, :590] == 0).float().mean() > 0.99
    assert (label[:, 610:] == 2).float().mean() > 0.97  # 0.95 without the CRF


def test_predict_with_a_crf_is_deterministic(scenes: Path, trained: Path, tmp_path: Path) -> None:
    photo = scenes / "photos" / "scene0.png"
    first = getam.predict(photo, model=trained, out=tmp_path / "a", scales=(32,), crf=True)
    second = getam.predict(photo, model=trained, out=tmp_path / "b", scales=(32,), crf=True)
    np.testing.assert_array_equal(read_mask(first / "scene0.png"), read_mask(second / "scene0.png"))


def test_label_writes_only_the_photos_tags(scenes: Path, trained: Path, tmp_path: Path) -> None:
    out = getam.label(
        data=scenes / "photos",
        tags=scenes / "tags.csv",
        model=trained,
        out=tmp_path / "labels",
        scales=(32,),
        flip=False,
    )
    for index, allowed in enumerate([{1}, {2}, {1, 2}]):
        label = read_mask(out / f"scene{index}.png", (40, 48))
        assert set(np.unique(label).tolist()) <= {0, 255} | allowed
    (record,) = [json.loads(line) for line in (out / "protocol.jsonl").read_text().splitlines()]
    assert record["tags_at_test_time"] is True


def test_label_with_saliency(scenes: Path, trained: Path, tmp_path: Path) -> None:
    saliency = tmp_path / "saliency"
    saliency.mkdir()
    for photo in (scenes / "photos").iterdir():
        Image.fromarray(np.pad(np.full((20, 24), 255, np.uint8), ((0, 20), (0, 24)))).save(
            saliency / photo.name
        )
    out = getam.label(
        data=scenes / "photos", tags=scenes / "tags.csv", model=trained, out=tmp_path / "labels", saliency=saliency,
        scales=(32,), flip=False,
    )  # fmt: skip
    label = read_mask(out / "scene0.png")
    assert 255 not in label[25:, 30:]


def test_label_takes_tags_that_are_some_of_the_models(scenes: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("image,tags\nscene0.png,red\nscene1.png,\n")
    out = getam.label(
        data=scenes / "photos",
        tags=tmp_path / "tags.csv",
        model=trained,
        out=tmp_path / "labels",
        scales=(32,),
        flip=False,
    )
    assert set(np.unique(read_mask(out / "scene0.png")).tolist()) <= {
        0,
        2,
        255,
    }  # red stays the model's number 2
    assert not read_mask(out / "scene1.png").any()


def test_label_refuses_a_tag_the_model_does_not_know(scenes: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("image,tags\nscene0.png,red;green\n")
    options = {
        "data": scenes / "photos",
        "tags": tmp_path / "tags.csv",
        "model": trained,
        "out": tmp_path / "out",
    }
    with pytest.raises(InputError, match="does not know the tag 'green': it knows blue, red"):
        getam.label(**options)
    assert not (tmp_path / "out").exists()
    getam.label(**options, classes=("red",), scales=(32,), flip=False)
    with pytest.raises(InputError, match="positive long sides"):
        getam.label(**{**options, "out": tmp_path / "other"}, classes=("red",), scales=())


def test_explain_draws_every_class(scenes: Path, trained: Path, tmp_path: Path) -> None:
    photo = scenes / "photos" / "scene2.png"
    out = explain_photos(
        photo, model=str(trained), classes=("red", "0", "red"), out=tmp_path / "maps", size=32
    )
    assert {file.name for file in out.iterdir()} == {
        "scene2.npz", "scene2.red.png", "scene2.blue.png", "protocol.jsonl", ".lock",
    }  # fmt: skip
    with Image.open(out / "scene2.red.png") as image:
        assert image.size == (48, 40)
    stored = np.load(out / "scene2.npz")
    assert stored["classes"].tolist() == ["red", "blue"]
    assert stored["values"].shape == (2, 3, 4)
    assert str(stored["rows"]) == "cls"


def test_explain_finds_classes_itself(scenes: Path, trained: Path, tmp_path: Path) -> None:
    out = explain_photos(scenes / "photos", model=str(trained), out=tmp_path / "maps", method="gradcam")
    assert len(list(out.glob("*.npz"))) == 6
    assert len(list(out.glob("*.png"))) >= 6


def test_explain_a_timm_classifier_from_a_file(scenes: Path, tmp_path: Path) -> None:
    name, weights = "vit_tiny_patch16_224", tmp_path / "w.safetensors"
    save_file(timm.create_model(name).state_dict(), weights)
    photo = scenes / "photos" / "scene0.png"
    out = explain_photos(
        photo, model=name, weights=weights, classes=("tabby", "134", "517"), out=tmp_path / "maps", size=64
    )
    assert np.load(out / "scene0.npz")["values"].shape == (
        3,
        3,
        4,
    )  # 40×48 at a long side of 64, patches of 16
    # two ImageNet classes are called crane: their pictures keep both apart
    assert {f.name for f in out.glob("*.png")} == {
        "scene0.tabby.png", "scene0.crane 134.png", "scene0.crane 517.png",
    }  # fmt: skip
    with pytest.raises(InputError, match=r"scene0\.npz exists"):
        explain_photos(photo, model=name, weights=weights, classes=("tabby",), out=tmp_path / "maps", size=64)
    (out / "scene0.npz").unlink()
    with pytest.raises(InputError, match=r"scene0\.tabby\.png exists"):
        explain_photos(photo, model=name, weights=weights, classes=("tabby",), out=tmp_path / "maps", size=64)


def test_explain_says_what_is_wrong(
    scenes: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo, run = scenes / "photos" / "scene0.png", str(trained)
    with pytest.raises(InputError, match="no class 'gren'"):
        explain_photos(photo, model=run, classes=("gren",), out=tmp_path / "m")
    with pytest.raises(
        InputError, match="--coupling is an option of getam, acr, ad-cam, last-stage, not of rollout"
    ):
        explain_photos(photo, model=run, coupling="grad", method="rollout", out=tmp_path / "m")
    with pytest.raises(InputError, match="neither a file, a run folder nor a timm model"):
        explain_photos(photo, model="not_a_model", out=tmp_path / "m")
    with pytest.raises(InputError, match="--weights belongs to a timm model name"):
        explain_photos(photo, model=run, weights=tmp_path / "w", out=tmp_path / "m")
    with pytest.raises(InputError, match="one size only"):
        explain_photos(photo, model="beit_base_patch16_224", size=64, out=tmp_path / "m")
    with pytest.raises(InputError, match="positive number of pixels"):
        explain_photos(photo, model=run, size=0, out=tmp_path / "m")
    with pytest.raises(InputError, match="no map method 'kam'"):
        getam.explain(trained, torch.zeros(1, 3, 32, 32), [[0]], method="kam")

    def offline(name: str, pretrained: bool = False, **options: object) -> object:
        if pretrained:
            raise OSError("no route to host")
        return torch.nn.Identity()

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match="could not be fetched"):
        explain_photos(photo, model="vit_tiny_patch16_224", out=tmp_path / "m")


def test_explain_takes_modules_and_paths(trained: Path) -> None:
    images = tiny.photos(1, model=tiny.hybrid_segmenter())
    by_path = getam.explain(trained, images, [[1]])
    torch.testing.assert_close(getam.explain(getam.load_model(trained), images, [[1]]).values, by_path.values)


# Files in the way, odd photos


def test_nothing_is_overwritten_unasked(scenes: Path, trained: Path, tmp_path: Path) -> None:
    photo = scenes / "photos" / "scene0.png"
    options = {"model": trained, "out": tmp_path / "masks", "scales": (32,)}
    getam.predict(photo, **options)
    with pytest.raises(
        InputError, match=r"scene0\.png exists: choose another --out, or replace it with --overwrite"
    ):
        getam.predict(photo, **options)
    getam.predict(photo, **options, overwrite=True)
    (tmp_path / "masks" / "classes.txt").write_text("background\nother\n")
    with pytest.raises(InputError, match="holds masks of the classes other, not blue, red"):
        getam.predict(photo, **options, overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        getam.predict(photo, model=trained, out=tmp_path / "file")


def test_photos_of_odd_sizes_and_turned_by_exif(trained: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random.integers(0, 255, (17, 45, 3)).astype(np.uint8)).save(
        photos / "turned.jpg", exif=exif
    )
    Image.fromarray(random.integers(0, 255, (3, 90), dtype=np.uint8)).save(photos / "deep" / "thin.png")
    Image.fromarray(random.integers(0, 255, (1, 1, 3)).astype(np.uint8)).save(photos / "dot.png")
    out = getam.predict(photos, model=trained, out=tmp_path / "masks", scales=(32,))
    assert read_mask(out / "turned.png").shape == (45, 17)
    assert read_mask(out / "deep" / "thin.png").shape == (3, 90)
    assert read_mask(out / "dot.png").shape == (1, 1)


def test_two_photos_of_one_name_are_refused(scenes: Path, trained: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(scenes / "photos" / "scene0.png", photos / "a.png")
    with Image.open(photos / "a.png") as image:
        image.save(photos / "a.jpg")
    with pytest.raises(InputError, match=r"two results would both be written to .*a\.png"):
        getam.predict(photos, model=trained, out=tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


# train


def test_train_again_does_nothing_and_other_options_are_refused(
    scenes: Path, trained: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    options = {
        "data": scenes / "photos",
        "tags": scenes / "tags.csv",
        "out": run,
        "backbone": "small-hybrid",
        "saliency": "none",
    }
    before = (run / "model.safetensors").read_bytes()
    getam.train(**options, size=32, batch_size=2, steps=4)
    assert (run / "model.safetensors").read_bytes() == before
    with pytest.raises(InputError, match="steps=4, now steps=5"):
        getam.train(**options, size=32, batch_size=2, steps=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "vit_tiny_patch16_225"}, "timm has no model 'vit_tiny_patch16_225'"),
        ({"recipe": "gettam"}, "no recipe 'gettam'"),
        ({"preset": "heavy"}, "no preset 'heavy': choose one of light, paper-voc"),
        ({"steps": 3, "epochs": 1.0}, "both --steps 3 and --epochs 1.0"),
        ({"steps": 0}, r"option steps: .*greater than or equal to 1 \(got 0\)"),
        ({"size": 20}, "option size: .*32"),
        ({"size": 36}, "size 36 is not a multiple of the 8-pixel patches of small-hybrid"),
        ({"epochs": 0.0}, "less than one step"),
        ({"workers": -1}, "--workers -1 is negative"),
        ({"classes": ("green",)}, "no row of .* is tagged 'green'"),
        ({"recipe": "supervised"}, "none of the photos has one.*give the folder of masks with --masks"),
        ({"masks": Path("truth")}, "--masks is of recipes that learn from masks, and getam does not"),
        ({"split": "val"}, r"split file .*val\.txt does not exist"),
        ({"saliency": Path("nowhere")}, "saliency map folder nowhere does not exist"),
    ],
)
def test_train_says_what_is_wrong(
    scenes: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    given = {"backbone": "small-hybrid", "size": 32, **options}
    if "epochs" not in given:
        given = {"steps": 1, **given}
    with pytest.raises(InputError, match=message):
        getam.train(data=scenes / "photos", tags=scenes / "tags.csv", out=tmp_path / "run", **given)


def test_a_wrong_weights_file_can_be_corrected(scenes: Path, tmp_path: Path) -> None:
    options = {"data": scenes / "photos", "tags": scenes / "tags.csv", "out": tmp_path / "run", "size": 32}
    with pytest.raises(WeightsError, match="does not exist"):
        getam.train(**options, backbone="resnet18", weights=tmp_path / "none.safetensors", steps=1)
    getam.train(**options, backbone="small-hybrid", steps=1)


def test_epochs_are_passes_over_the_photos(scenes: Path, tmp_path: Path) -> None:
    getam.train(
        data=scenes / "photos", tags=scenes / "tags.csv", out=tmp_path / "run", backbone="small-hybrid", size=32,
        batch_size=4, epochs=2,
    )  # fmt: skip
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 2
