"""A run folder continues its own run and refuses everything else; a model file is enough to load a network."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import tiny
from getam.data.fingerprint import Fingerprint, Row
from getam.engine import runfolder
from getam.engine.model import load_model, load_segmenter
from getam.engine.runfolder import RunFolder, read_metadata, save_model
from getam.errors import InputError, WeightsError
from getam.nets.bas import build_bas
from getam.nets.build import build_segmenter
from getam.nets.classifier import build_classifier
from getam.nets.embedded import embedded_model
from getam.nets.segmenter import Segmenter

CONFIG = {"backbone": "small-hybrid", "channels": [8, 8, 8, 8], "width": 8, "enlarge": 1}


@pytest.fixture
def net() -> Segmenter:
    return build_segmenter("small-hybrid", ("cat", "dog"), (8, 8, 8, 8), 8, 1).eval()


def test_a_new_folder_gets_configuration_and_environment(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "a" / "run")
    assert not run.open(CONFIG)
    assert sorted(file.name for file in run.path.iterdir()) == [".lock", "config.yaml", "env.json"]
    assert (
        json.loads((run.path / "env.json").read_text())["versions"]["torch"]
        == torch.__version__.split("+")[0]
    )
    assert list(yaml.safe_load((run.path / "config.yaml").read_text())) == list(CONFIG)  # in the order given
    assert len((run.path / "env.json").read_text().splitlines()) > 10  # for people
    run.close()
    assert not RunFolder(run.path).open(CONFIG)


def test_a_started_run_continues_with_the_same_options_only(tmp_path: Path, net: Segmenter) -> None:
    run = RunFolder(tmp_path / "run")
    run.open(CONFIG)
    run.save(net, CONFIG, {"step": 3, "rng": torch.get_rng_state()})
    assert run.open({**CONFIG, "channels": (8, 8, 8, 8)})
    assert (run.state() or {})["step"] == 3
    with pytest.raises(
        InputError, match="holds a run with width=8, now width=16 was asked: give another --out"
    ):
        run.open({**CONFIG, "width": 16})
    with pytest.raises(InputError, match="seed=None, now seed=1"):
        run.open({**CONFIG, "seed": 1})


def test_of_several_changes_the_first_by_name_is_said(tmp_path: Path) -> None:
    run, names = RunFolder(tmp_path), [f"option{number:02}" for number in range(20)]
    run.open(dict.fromkeys(names, 1))
    run.log({"step": 1})
    with pytest.raises(InputError, match="option00=1, now option00=2"):
        run.open(dict.fromkeys(reversed(names), 2))


def test_a_run_that_never_began_may_be_asked_differently(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.open({**CONFIG, "weights": "mistyped.safetensors"})
    assert not run.open(CONFIG)
    run.log({"step": 1})
    with pytest.raises(InputError, match="weights=None, now weights='other'"):
        run.open({**CONFIG, "weights": "other"})


def test_foreign_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file: give a folder"):
        RunFolder(tmp_path / "file").open(CONFIG)
    with pytest.raises(InputError, match="is not empty and holds no run"):
        RunFolder(tmp_path).open(CONFIG)
    for content in (b"", b"- a\n- b\n", b"a: [", b"\xff\xfe"):
        (tmp_path / "config.yaml").write_bytes(content)
        with pytest.raises(InputError, match=r"config\.yaml is not the configuration of a run"):
            RunFolder(tmp_path).open(CONFIG)
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "config.yaml").write_text("site: blog\n")
    with pytest.raises(InputError, match="holds a run with"):
        RunFolder(alone).open(CONFIG)
    assert (alone / "config.yaml").read_text() == "site: blog\n"
    assert [file.name for file in alone.iterdir()] == ["config.yaml"]
    assert not (tmp_path / ".lock").exists()


def test_what_a_killed_process_leaves_does_not_make_a_folder_foreign(tmp_path: Path) -> None:
    left = tmp_path / ".0123456789abcdef.partial"
    left.write_bytes(b"half")
    run = RunFolder(tmp_path)
    assert not run.open(CONFIG)
    assert not left.exists()
    run.close()
    left.write_bytes(b"half")
    assert not RunFolder(tmp_path).open({**CONFIG, "width": 16})  # nor one that began
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["width"] == 16


@pytest.mark.parametrize("name", ["notes.partial", ".partially", "photo.jpg"])
def test_files_of_the_user_are_not_taken_for_leftovers(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        RunFolder(tmp_path).open(CONFIG)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_the_model_is_there_before_the_state_that_counts_on_it(
    tmp_path: Path, net: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    run = RunFolder(tmp_path)
    run.open(CONFIG)
    monkeypatch.setattr(runfolder, "write_state", killed)
    with pytest.raises(KeyboardInterrupt):
        run.save(net, CONFIG, {"step": 1})
    assert load_model(tmp_path).classes == ("cat", "dog")
    assert run.state() is None


def test_a_lost_environment_is_written_again(tmp_path: Path, net: Segmenter) -> None:
    with RunFolder(tmp_path) as run:
        run.open(CONFIG)
        run.save(net, CONFIG, {"step": 3})
        before = (tmp_path / "env.json").stat().st_mtime_ns
        run.open(CONFIG)
        assert (tmp_path / "env.json").stat().st_mtime_ns == before
        (tmp_path / "env.json").unlink()
        assert run.open(CONFIG)
        assert "versions" in json.loads((tmp_path / "env.json").read_text())


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """Another process that opens the folder, and dies there without a word."""
    code = f"""
import os, sys
sys.path[:] = {sys.path!r}
from getam.engine.runfolder import RunFolder
run = RunFolder({str(tmp_path / "run")!r})
run.open({{"width": 8}})
print("open", flush=True)
sys.stdin.read()
os._exit(1)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(InputError, match="run is in use: another process is training there; wait for it"):
            RunFolder(tmp_path / "run").open({"width": 8})
        other.stdin.close()
        other.wait()
    first = RunFolder(tmp_path / "run")
    first.open({"width": 8})
    with pytest.raises(InputError, match="is in use"):  # a thread of the same process is no better
        RunFolder(tmp_path / "run").open({"width": 8})
    first.close()
    with RunFolder(tmp_path / "run") as second:
        second.open({"width": 8})
    third = RunFolder(tmp_path / "run")
    third.open({"width": 8})
    third.log({"step": 1})
    with pytest.raises(InputError, match="width=8, now width=9"):
        third.open({"width": 9})


def test_what_another_process_did_just_before_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came, ran to its end and went, between the look at an empty folder and the lock."""
    acquire = FileLock.acquire

    def late(self: FileLock, *given: object, **options: object) -> object:
        (tmp_path / "run" / "config.yaml").write_text("width: 16\n")
        (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1}\n')
        return acquire(self, *given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FileLock, "acquire", late)
    run = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match="holds a run with width=16, now width=8"):
        run.open({"width": 8})
    monkeypatch.undo()
    RunFolder(run.path).open({"width": 16})  # and the lock was given back


def test_the_log_holds_finite_numbers_only(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.open(CONFIG)
    run.log({"step": 1, "cls": 0.5})
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError):
            run.log({"step": 2, "cls": bad})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "cls": 0.5}\n'


def test_lines_after_the_step_and_unreadable_ones_are_forgotten(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.rewind(3)  # nothing was logged yet
    good = [b'{"step": 1}\n', b'{"step": 2, "cls": 0.5}\n', b'{"step": 3}\n']
    bad = [
        b"\0\0\0\n",
        b"[1]\n",
        b"3\n",
        b'{"cls": 1}\n',
        b'{"step": "x"}\n',
        b'{"step": 4}\n',
        b"\xff\n",
        b'{"step": 3}',
    ]
    (tmp_path / "metrics.jsonl").write_bytes(
        b"".join([good[0], bad[0], good[1], *bad[1:5], good[2], *bad[5:]])
    )
    run.rewind(3)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join(good)
    run.rewind(0)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


ROWS = (Row("a", ("cat",), "1"), Row("b", ("dog",), "2"))


def test_other_data_is_refused_by_name(tmp_path: Path) -> None:
    run, record = RunFolder(tmp_path / "run"), {**CONFIG, "data": {"photos": 2}}
    run.open(record, Fingerprint(ROWS))
    run.open(record, Fingerprint(ROWS[::-1]))  # nothing was logged or saved yet
    run.open(record, Fingerprint(ROWS))
    run.log({"step": 1})
    run.open(record, Fingerprint(ROWS))
    with pytest.raises(
        InputError,
        match=r"run holds a run with other data: the order of the photos changed, number 1 was a and is b: give "
        "another --out, or the same data to continue it",
    ):
        run.open(record, Fingerprint(ROWS[::-1]))
    three = {**record, "data": {"photos": 3}}
    with pytest.raises(InputError, match="other data: 1 photo new, the first is c"):
        run.open(three, Fingerprint((*ROWS, Row("c", (), "3"))))
    with pytest.raises(InputError, match=r"data\.photos=2, now it is 3"):
        run.open(three, Fingerprint(ROWS))
    with pytest.raises(InputError, match="width=8, now width=9"):  # options come first
        run.open({**three, "width": 9}, Fingerprint(ROWS[::-1]))
    (run.path / "data.jsonl").write_bytes(b"\0\0")
    with pytest.raises(InputError, match=r"data\.jsonl is damaged"):
        run.open(record, Fingerprint(ROWS))


def test_a_run_begun_before_data_was_recorded_continues_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(tmp_path / "run")
    run.open(CONFIG)
    run.open(CONFIG, Fingerprint(ROWS))
    assert not caplog.records
    (run.path / "data.jsonl").unlink()
    run.log({"step": 1})
    run.open(CONFIG, Fingerprint(ROWS))
    assert "was begun without a record of its data's content" in caplog.text
    with pytest.raises(InputError, match="other data"):
        run.open(CONFIG, Fingerprint(ROWS[:1]))


@pytest.mark.parametrize("half", [False, True])
def test_a_model_file_is_enough(tmp_path: Path, net: Segmenter, half: bool) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, net, CONFIG, half=half)
    before = torch.get_rng_state()
    loaded = load_model(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.classes == ("cat", "dog")
    assert not loaded.training
    assert read_metadata(path) == ("segmenter", ("cat", "dog"), CONFIG)
    for name, value in net.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == value.dtype
        assert torch.equal(
            found, value.half().to(value.dtype) if half and value.is_floating_point() else value
        )
    images = tiny.photos(1, model=net)
    tolerance = 1e-2 if half else 1e-4
    torch.testing.assert_close(loaded(images).logits, net(images).logits, rtol=tolerance, atol=tolerance)
    assert torch.equal(load_model(tmp_path)(images).scores, loaded(images).scores)  # the folder will do


def test_equal_networks_are_equal_files(tmp_path: Path, net: Segmenter) -> None:
    files = [
        tmp_path / f"{number}.safetensors" for number in range(8)
    ]  # the library's metadata come in any order
    for file in files:
        save_model(file, net, {**CONFIG, "größe": 1})
    assert len({file.read_bytes() for file in files}) == 1
    data = files[0].read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    assert json.loads(data[8 : 8 + length])["__metadata__"]["network"] == "segmenter"
    tensors = load_file(files[0])
    assert all(torch.equal(tensors[name], value) for name, value in net.state_dict().items())


def test_what_is_no_model_is_refused(tmp_path: Path, net: Segmenter) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_model(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no model\.safetensors"):
        load_model(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_model(tmp_path / "a.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(WeightsError, match="is not a model of getam"):
        load_model(tmp_path / "b.safetensors")
    save_model(tmp_path / "c.safetensors", net, {**CONFIG, "width": 16})
    with pytest.raises(WeightsError, match="does not fit the network its metadata describes"):
        load_model(tmp_path / "c.safetensors")


def rewrite(path: Path, **about: str | None) -> None:
    """The same tensors with other metadata; None takes a key away."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    metadata = {key: value for key, value in {**metadata, **about}.items() if value is not None}
    save_file(load_file(path), path, metadata=metadata)


@pytest.mark.parametrize("key", ["classes", "config"])
@pytest.mark.parametrize("value", [None, "", "{", "3", '"cat"', "[]", "[1, 2]", '["cat", 2]', "null"])
def test_metadata_that_is_no_description_is_one_sentence(
    tmp_path: Path, net: Segmenter, key: str, value: str | None
) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, net, CONFIG)
    rewrite(path, **{key: value})
    with pytest.raises(
        WeightsError, match=r"m\.safetensors does not say which classes and options"
    ) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": None}, "describes no network that can be built"),
        ({"channels": [8, 8]}, "describes no network that can be built"),
        ({"channels": "many"}, "describes no network that can be built"),
        ({"width": -1}, "describes no network that can be built"),
        ({"width": "8"}, "describes no network that can be built"),
        ({"backbone": 3}, "describes no network that can be built"),
        ({"backbone": "vit_of_nobody"}, "timm has no model 'vit_of_nobody'"),
        ({"width": 16}, "does not fit the network its metadata describes: .*size mismatch for"),
    ],
)
def test_metadata_of_no_network_is_one_sentence(
    tmp_path: Path, net: Segmenter, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, net, {**CONFIG, **change})
    with pytest.raises((WeightsError, InputError), match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert "is missing" not in str(caught.value)


def test_what_the_metadata_lacks_is_named(tmp_path: Path, net: Segmenter) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, net, {key: value for key, value in CONFIG.items() if key != "channels"})
    with pytest.raises(
        WeightsError, match=r"can be built \('channels' is missing\): copy the model\.safetensors"
    ):
        load_model(path)


def test_half_of_a_network_keeps_its_counters(tmp_path: Path, net: Segmenter) -> None:
    save_model(tmp_path / "m.safetensors", net, CONFIG, half=True)
    kinds = {value.dtype for value in load_file(tmp_path / "m.safetensors").values()}
    assert kinds == {torch.float16, torch.int64}
    save_model(tmp_path / "m.safetensors", net, CONFIG)
    assert torch.float16 not in {value.dtype for value in load_file(tmp_path / "m.safetensors").values()}


def test_a_file_without_a_kind_holds_a_segmenter(tmp_path: Path, net: Segmenter) -> None:
    save_model(tmp_path / "m.safetensors", net, CONFIG)
    rewrite(tmp_path / "m.safetensors", network=None)
    assert read_metadata(tmp_path / "m.safetensors")[0] == "segmenter"
    assert isinstance(load_model(tmp_path / "m.safetensors"), Segmenter)


def test_every_kind_is_built_as_it_was(tmp_path: Path) -> None:
    sizes = {"backbone": "small-hybrid", "channels": [8, 16, 24, 32], "width": 24, "enlarge": 2}
    first = build_segmenter("small-hybrid", ("a", "b"), (8, 16, 24, 32), 24, 2, weights="")
    second = build_classifier("resnet18", ("a", "b"), weights="", output_stride=8)
    third = build_bas("resnet18", ("a", "b"), weights="", output_stride=32)
    for net, config in (
        (first, sizes),
        (second, {"backbone": "resnet18", "output_stride": 8}),
        (third, {"backbone": "resnet18", "output_stride": 32}),
    ):
        save_model(tmp_path / "m.safetensors", net, config)
        loaded = load_model(tmp_path / "m.safetensors")
        assert type(loaded) is type(net)
        assert loaded.patch == net.patch
        assert not loaded.training
        images = tiny.photos(1, 64, 64, model=net)
        with torch.no_grad():
            torch.testing.assert_close(loaded.class_scores(images), net.eval().class_scores(images))
        kernels = [p for p in loaded.parameters() if p.ndim == 4 and min(p.shape) > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    assert load_segmenter_width(tmp_path, first, sizes) == (24, 2)


def load_segmenter_width(folder: Path, net: Segmenter, sizes: dict[str, object]) -> tuple[int, int]:
    save_model(folder / "m.safetensors", net, sizes)
    loaded = load_segmenter(folder / "m.safetensors")
    return int(loaded.state_dict()["decoder.head.0.weight"].shape[1]), loaded.decoder.enlarge


def test_a_build_without_the_embedded_model_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert embedded_model().name == "animals.safetensors"
    monkeypatch.setattr("getam.nets.embedded.FILE", "none.safetensors")
    with pytest.raises(InputError, match="carries no embedded model: give one with --model"):
        embedded_model()
