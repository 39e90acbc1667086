"""A run folder continues its own run and refuses everything else; a model file is enough to load a network."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tiny
from getam.engine.model import load_model
from getam.engine.runfolder import RunFolder, read_metadata, save_model
from getam.errors import InputError, WeightsError
from getam.nets.build import build_segmenter
from getam.nets.segmenter import Segmenter

CONFIG = {"backbone": "small-hybrid", "channels": [8, 8, 8, 8], "width": 8, "enlarge": 1}


@pytest.fixture
def net() -> Segmenter:
    return build_segmenter("small-hybrid", ("cat", "dog"), (8, 8, 8, 8), 8, 1).eval()


def test_a_new_folder_gets_configuration_and_environment(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "a" / "run")
    assert not run.open(CONFIG)
    assert sorted(file.name for file in run.path.iterdir()) == ["config.yaml", "env.json"]
    assert (
        json.loads((run.path / "env.json").read_text())["versions"]["torch"]
        == torch.__version__.split("+")[0]
    )
    assert not RunFolder(run.path).open(CONFIG)


def test_a_started_run_continues_with_the_same_options_only(tmp_path: Path, net: Segmenter) -> None:
    run = RunFolder(tmp_path / "run")
    run.open(CONFIG)
    run.save(net, CONFIG, {"step": 3, "rng": torch.get_rng_state()})
    assert run.open({**CONFIG, "channels": (8, 8, 8, 8)})
    assert run.state()["step"] == 3
    with pytest.raises(
        InputError, match="holds a run with width=8, now width=16 was asked: give another --out"
    ):
        run.open({**CONFIG, "width": 16})
    with pytest.raises(InputError, match="seed=None, now seed=1"):
        run.open({**CONFIG, "seed": 1})


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
