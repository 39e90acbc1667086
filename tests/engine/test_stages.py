"""Stages of one run: each done once, from what earlier ones wrote, and continued in the middle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from getam.data.collection import Collection, load_collection
from getam.data.masks import read_classes, read_mask
from getam.engine.model_file import read_metadata
from getam.engine.runfolder import RunFolder
from getam.engine.stages import run_stages
from getam.errors import InputError
from getam.nets.network import Network
from getam.recipes.base import Config
from getam.recipes.stages import LabelStage, MeanStage, Networks, Stage, TrainStage
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe

SIZES: dict[str, Any] = {"backbone": "small-hybrid", "size": 32, "channels": (8, 8, 8, 8), "width": 8}
CONFIG = Config(**SIZES, batch_size=2, steps=2)


class Still(SupervisedRecipe):
    """Learns nothing, so that weights show where they come from; notes what it is given."""

    def __init__(self, name: str, needs: tuple[str, ...] = ()) -> None:
        self.name, self.needs = name, needs
        self.masks: list[Tensor] = []

    def losses(
        self, net: torch.nn.Module, batch: Mapping[str, Tensor], progress: float, config: Any
    ) -> dict[str, Tensor]:
        if "mask" in batch:
            self.masks.append(batch["mask"])
        return {"nothing": 0 * net(batch["image"]).logits.sum()}


def still_config(**changes: Any) -> Config:
    return CONFIG.model_copy(update={"weight_decay": 0.0, **changes})


class Rule:
    """Labels the left half of a photo with its first tag; notes what it was given, and may stop."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.given: list[tuple[Networks, Tensor, list[int], Tensor | None]] = []

    def __call__(self, nets: Networks, photo: Tensor, present: list[int], saliency: Tensor | None) -> Tensor:
        if len(self.given) == self.stop_after:
            raise KeyboardInterrupt
        self.given.append((nets, photo, present, saliency))
        label = torch.zeros(photo.shape[-2:], dtype=torch.uint8)
        label[:, : label.shape[1] // 2] = present[0] + 1
        return label


@contextmanager
def silent(what: str, total: int) -> Iterator[Any]:
    SAID.append((what, total))
    yield lambda done, note="": SAID.append((done, note))


SAID: list[Any] = []


@pytest.fixture
def collection(scenes: Path) -> Collection:
    return load_collection(scenes / "photos", scenes / "tags.csv")


def stages(rule: Rule, *, start: str = "teacher", **options: Any) -> tuple[Stage, ...]:
    return (
        TrainStage("teacher", Still("a"), still_config()),
        LabelStage("labels", ("teacher",), rule, options or {"kind": "halves"}),
        TrainStage("student", Still("b", ("mask",)), still_config(seed=1), labels="labels", start=start),
    )


def run(path: Path, collection: Collection, which: tuple[Stage, ...], **more: Any) -> Network:
    record = {"recipe": "three", "data": {"photos": len(collection.samples)}}
    with RunFolder(path) as folder:
        folder.open(record)
        return run_stages(which, collection, folder, record=record, progress=silent, **more)


def test_labels_of_one_stage_are_the_masks_of_the_next(tmp_path: Path, collection: Collection) -> None:
    rule = Rule()
    which = stages(rule)
    SAID.clear()
    net = run(tmp_path / "run", collection, which)
    assert sorted(f.name for f in (tmp_path / "run").iterdir() if f.is_dir()) == [
        "1-teacher",
        "2-labels",
        "3-student",
    ]
    assert [said for said in SAID if isinstance(said[1], int)] == [
        ("teacher (1 of 3)", 2), ("labels (2 of 3)", 6), ("student (3 of 3)", 2),
    ]  # fmt: skip
    assert (6, "scene5") in SAID
    labels = tmp_path / "run" / "2-labels"
    assert read_classes(labels) == collection.classes
    for sample, (nets, photo, present, saliency) in zip(collection.samples, rule.given, strict=True):
        assert [collection.classes[place] for place in present] == list(sample.tags)
        assert photo.shape == (3, 40, 48)
        assert saliency is None
        assert set(nets) == {"teacher"}
        assert not nets["teacher"].training
        written = read_mask(labels / f"{sample.name}.png")
        assert written[:, :24].tolist() == [[present[0] + 1] * 24] * 40
        assert not written[:, 24:].any()
    student: Any = which[2]
    seen = torch.cat(student.recipe.masks)
    assert seen.shape[1:] == (32, 32)
    assert set(seen.unique().tolist()) >= {0, 1, 2}
    assert net.classes == collection.classes
    assert not net.training


def test_a_stage_goes_on_from_the_network_of_another_or_begins_anew(
    tmp_path: Path, collection: Collection
) -> None:
    run(tmp_path / "on", collection, stages(Rule()))
    run(tmp_path / "anew", collection, stages(Rule(), start=""))
    teacher, on, anew = (
        load_file(tmp_path / path / "model.safetensors")
        for path in ("on/1-teacher", "on/3-student", "anew/3-student")
    )
    names = [name for name in teacher if name.endswith("weight") and teacher[name].ndim > 1]
    assert all(torch.equal(teacher[name], on[name]) for name in names)
    assert not any(torch.equal(teacher[name], anew[name]) for name in names)


def test_the_run_ends_with_the_last_network_and_each_stage_says_which_it_is(
    tmp_path: Path, collection: Collection
) -> None:
    net = run(tmp_path / "run", collection, stages(Rule()))
    model = tmp_path / "run" / "model.safetensors"
    assert model.read_bytes() == (tmp_path / "run" / "3-student" / "model.safetensors").read_bytes()
    written = load_file(model)
    assert all(torch.equal(written[name], tensor) for name, tensor in net.state_dict().items())
    for place, stage, recipe in (("1-teacher", "teacher", "a"), ("3-student", "student", "b")):
        _, _, config = read_metadata(tmp_path / "run" / place / "model.safetensors")
        assert (config["stage"], config["recipe"], config["backbone"]) == (stage, recipe, "small-hybrid")
        assert f"stage: {stage}\n" in (tmp_path / "run" / place / "config.yaml").read_text()
    assert "kind: halves\n" in (tmp_path / "run" / "2-labels" / "config.yaml").read_text()


def test_an_interrupted_labelling_goes_on_photo_by_photo_and_nothing_is_done_twice(
    tmp_path: Path, collection: Collection
) -> None:
    stopped, rest, again = Rule(stop_after=4), Rule(), Rule()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", collection, stages(stopped))
    assert len(list((tmp_path / "run" / "2-labels").glob("*.png"))) == 4
    run(tmp_path / "run", collection, stages(rest))
    assert len(rest.given) == 2
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "run").rglob("*.png")}
    third = stages(again)
    run(tmp_path / "run", collection, third)
    assert again.given == []
    assert third[2].recipe.masks == []  # type: ignore[union-attr]
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "run").rglob("*.png")} == before


class Upper(Rule):
    """Labels the upper half."""

    def __call__(self, nets: Networks, photo: Tensor, present: list[int], saliency: Tensor | None) -> Tensor:
        super().__call__(nets, photo, present, saliency)
        label = torch.zeros(photo.shape[-2:], dtype=torch.uint8)
        label[: label.shape[0] // 2] = present[0] + 1
        return label


def agreeing() -> tuple[Stage, ...]:
    teacher, labels, _ = stages(Rule())
    return (teacher, labels, LabelStage("again", ("teacher",), Upper(), agrees_with="labels"))


def test_a_labelling_keeps_what_an_earlier_one_says_too(tmp_path: Path, collection: Collection) -> None:
    student = TrainStage("student", Still("b", ("mask",)), still_config(), labels="again")
    run(tmp_path / "run", collection, (*agreeing(), student))
    for sample in collection.samples:
        first = collection.classes.index(sample.tags[0]) + 1
        found = read_mask(tmp_path / "run" / "3-again" / f"{sample.name}.png")
        expected = [[first] * 24 + [255] * 24] * 20 + [[255] * 24 + [0] * 24] * 20
        assert found.tolist() == expected
        before = read_mask(tmp_path / "run" / "2-labels" / f"{sample.name}.png")
        assert set(before.ravel().tolist()) == {0, first}  # as it was


def test_a_labelling_does_not_go_on_from_earlier_labels_that_were_changed(
    tmp_path: Path, collection: Collection
) -> None:
    student = TrainStage("student", Still("b", ("mask",)), still_config(), labels="again")
    run(tmp_path / "run", collection, (*agreeing(), student))
    labels = tmp_path / "run" / "2-labels"
    (labels / "scene0.png").write_bytes((labels / "scene1.png").read_bytes())
    with pytest.raises(InputError, match="3-again holds a run with other data: the mask of 1 photo changed"):
        run(tmp_path / "run", collection, (*agreeing(), student))


def test_saliency_and_photos_reach_the_rule(tmp_path: Path, collection: Collection) -> None:
    samples = tuple(replace(sample, saliency=sample.photo) for sample in collection.samples)
    rule = Rule()
    run(tmp_path / "run", replace(collection, samples=samples), stages(rule))
    for _, _, _, saliency in rule.given:
        assert saliency is not None
        assert saliency.shape == (40, 48)
        assert 0 < float(saliency.max()) <= 1


def test_stages_may_start_from_a_network_that_is_given(tmp_path: Path, collection: Collection) -> None:
    run(tmp_path / "first", collection, stages(Rule()))
    model = tmp_path / "first" / "1-teacher" / "model.safetensors"
    rule = Rule()
    run(tmp_path / "run", collection, stages(rule)[1:], given={"teacher": model})
    assert sorted(f.name for f in (tmp_path / "run").iterdir() if f.is_dir()) == ["1-labels", "2-student"]
    teacher, student = load_file(model), load_file(tmp_path / "run" / "2-student" / "model.safetensors")
    names = [name for name in teacher if name.endswith("weight") and teacher[name].ndim > 1]
    assert all(torch.equal(teacher[name], student[name]) for name in names)
    used = rule.given[0][0]["teacher"].state_dict()
    assert all(torch.equal(used[name], teacher[name]) for name in names)
    (tmp_path / "run" / "1-labels" / "scene0.png").unlink()
    save_file(
        {name: tensor + 1 for name, tensor in teacher.items()},
        model,
        metadata=safe_open(model, "pt").metadata(),
    )
    with pytest.raises(InputError, match=r"1-labels holds .*: the model of stage teacher file changed"):
        run(tmp_path / "run", collection, stages(Rule())[1:], given={"teacher": model})


def test_a_stage_is_not_continued_with_other_options(tmp_path: Path, collection: Collection) -> None:
    run(tmp_path / "run", collection, stages(Rule()))
    with pytest.raises(InputError, match="kind='halves', now kind='quarters'"):
        run(tmp_path / "run", collection, stages(Rule(), kind="quarters"))


def test_a_stage_is_not_continued_from_another_network(tmp_path: Path, collection: Collection) -> None:
    run(tmp_path / "run", collection, stages(Rule()))
    model = tmp_path / "run" / "1-teacher" / "model.safetensors"
    weights = load_file(model)
    with safe_open(model, framework="pt") as file:
        about = file.metadata()
    save_file({name: tensor + 1 for name, tensor in weights.items()}, model, metadata=about)
    with pytest.raises(InputError, match=r"2-labels holds .*: the model of stage teacher file changed"):
        run(tmp_path / "run", collection, stages(Rule()))


def test_a_stage_is_not_continued_from_labels_that_were_changed(
    tmp_path: Path, collection: Collection
) -> None:
    run(tmp_path / "run", collection, stages(Rule()))
    labels = tmp_path / "run" / "2-labels"
    (labels / "scene0.png").write_bytes((labels / "scene1.png").read_bytes())
    with pytest.raises(
        InputError, match="3-student holds a run with other data: the mask of 1 photo changed"
    ):
        run(tmp_path / "run", collection, stages(Rule()))


def test_photos_are_labelled_where_training_would_run(
    tmp_path: Path, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def choose(*name: str) -> torch.device:
        asked.append(name)
        return torch.device("meta")

    rule = Rule()
    monkeypatch.setattr("getam.engine.stages.choose_device", choose)
    run(tmp_path / "run", collection, stages(rule))
    assert asked == [()]  # as it chooses by itself
    assert {p.device.type for p in rule.given[0][0]["teacher"].parameters()} == {"meta"}


def students(rule: Rule) -> tuple[Stage, ...]:
    """Two that learn something, each with its seed, and their mean."""
    teacher, labels, _ = stages(rule)
    found: list[Stage] = [teacher, labels]
    for name, seed in (("a", 1), ("b", 2)):
        config = SupervisedConfig(**SIZES, batch_size=2, steps=2, seed=seed)
        found.append(TrainStage(name, SupervisedRecipe(), config, "labels", "teacher"))
    return (*found, MeanStage("mean", ("a", "b")))


def test_the_mean_of_networks_is_a_stage_that_is_done_once(tmp_path: Path, collection: Collection) -> None:
    net = run(tmp_path / "run", collection, students(Rule()))
    a, b, mean = (
        load_file(tmp_path / "run" / folder / "model.safetensors") for folder in ("3-a", "4-b", "5-mean")
    )
    moved = [name for name in a if a[name].is_floating_point() and not torch.equal(a[name], b[name])]
    assert moved
    for name in moved:
        torch.testing.assert_close(mean[name], (a[name] + b[name]) / 2)
    assert all(torch.equal(mean[name], tensor) for name, tensor in net.state_dict().items())
    _, classes, config = read_metadata(tmp_path / "run" / "5-mean" / "model.safetensors")
    assert classes == collection.classes
    assert (config["stage"], config["recipe"], config["backbone"]) == ("mean", "mean", "small-hybrid")
    written = (tmp_path / "run" / "5-mean" / "model.safetensors").stat().st_mtime_ns
    run(tmp_path / "run", collection, students(Rule()))
    assert (tmp_path / "run" / "5-mean" / "model.safetensors").stat().st_mtime_ns == written


def test_a_mean_is_not_kept_of_another_network(tmp_path: Path, collection: Collection) -> None:
    which = students(Rule())
    run(tmp_path / "run", collection, which)
    model = tmp_path / "run" / "4-b" / "model.safetensors"
    weights, about = load_file(model), safe_open(model, framework="pt").metadata()
    save_file({name: tensor + 1 for name, tensor in weights.items()}, model, metadata=about)
    with pytest.raises(InputError, match=r"5-mean holds .*: the model of stage b file changed"):
        run(tmp_path / "run", collection, which)


def test_each_stage_that_trains_is_tracked_in_a_run_of_its_own(
    tmp_path: Path, collection: Collection
) -> None:
    told: list[tuple[str, Any]] = []

    class Ear:
        def __init__(self, folder: Path) -> None:
            self.name = folder.name

        def begin(self, config: Mapping[str, Any], start: int, before: Any) -> None:
            told.append((self.name, config["stage"]))

        def log(self, step: int, numbers: Mapping[str, float]) -> None:
            told.append((self.name, step))

        def close(self) -> None: ...

    record = {"recipe": "test"}
    with RunFolder(tmp_path / "run", Ear) as folder:
        folder.open(record)
        run_stages(stages(Rule()), collection, folder, record=record, progress=silent)
    assert told == [("1-teacher", "teacher"), ("1-teacher", 2), ("3-student", "student"), ("3-student", 2)]
