"""Classes that nobody looked for: whatever stands in their place, no recipe learns from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import tiny
from getam.data.collection import load_collection
from getam.data.fingerprint import changes, take_fingerprint
from getam.data.hold_out import divided
from getam.data.tag_dataset import TagDataset
from getam.engine.held_out import held_out_scores
from getam.losses.bas import tags_loss
from getam.losses.classification import classification_loss
from getam.recipes.bas import BASConfig, BASRecipe
from getam.recipes.classifier import ClassifierConfig, ClassifierRecipe
from getam.recipes.getam import GetamConfig, GetamRecipe
from getam.recipes.supervised import SupervisedConfig, SupervisedRecipe

KNOWN = torch.tensor([[True, False, True], [True, True, False]])


def cnn() -> Any:
    torch.manual_seed(3)
    config = BASConfig(backbone="test_resnet", weights="", size=32)
    return config.build(tiny.CLASSES).eval()


def losses(name: str, tags: torch.Tensor, known: torch.Tensor | None) -> torch.Tensor:
    """L_cls of a step of the recipe on two photos."""
    torch.manual_seed(0)
    batch = {
        "image": torch.rand(2, 3, 32, 32) * 255,
        "tags": tags,
        "roi": torch.ones(2, 32, 32, dtype=torch.bool),
    }
    batch["mask"] = torch.zeros(2, 32, 32, dtype=torch.int64)
    batch |= {} if known is None else {"known": known}
    net = tiny.hybrid_segmenter()
    if name == "bas":
        return BASRecipe().losses(cnn(), batch, 0.0, BASConfig())["cls"]
    if name == "classifier":
        return ClassifierRecipe().losses(
            lambda image: net(image, masks=False)[0], batch, 0.0, ClassifierConfig()
        )["cls"]  # type: ignore[arg-type]
    if name == "supervised":
        return SupervisedRecipe().losses(net, batch, 0.0, SupervisedConfig())["cls"]
    progress = 0.9 if name == "getam, joint" else 0.0
    return GetamRecipe().losses(net, batch, progress, GetamConfig(joint_from=0.5, pamr_iterations=1))["cls"]


@pytest.mark.parametrize("name", ["getam", "getam, joint", "classifier", "supervised"])
def test_the_state_of_an_unknown_class_changes_nothing(name: str) -> None:
    tags = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    other = torch.where(KNOWN, tags, 1 - tags)
    torch.testing.assert_close(losses(name, tags, KNOWN), losses(name, other, KNOWN))
    assert not torch.allclose(losses(name, tags, None), losses(name, other, None))
    torch.testing.assert_close(losses(name, tags, None), losses(name, tags, torch.ones_like(KNOWN)))


def test_bas_does_not_count_it_among_the_absent() -> None:
    scores, tags = torch.randn(2, 3), torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    expected = (F.softplus(scores[0, 2] - scores[0, 0]) + F.softplus(scores[1, 0] - scores[1, 1])) / 2
    torch.testing.assert_close(tags_loss(scores, tags, KNOWN), expected)
    torch.testing.assert_close(tags_loss(scores, tags), tags_loss(scores, tags, torch.ones_like(KNOWN)))
    assert not torch.allclose(losses("bas", tags, KNOWN), losses("bas", tags, None))


def test_the_mean_is_over_what_is_known() -> None:
    scores = torch.randn(2, 3, requires_grad=True)
    tags = torch.tensor([[1.0, 1, 0], [0, 1, 1]])
    loss = classification_loss(scores, tags, KNOWN)
    each = F.binary_cross_entropy_with_logits(scores, tags, reduction="none")
    torch.testing.assert_close(loss, each[KNOWN].mean())
    loss.backward()
    assert scores.grad is not None
    assert scores.grad[~KNOWN].tolist() == [0.0, 0.0]
    assert float(classification_loss(scores, tags, torch.zeros_like(KNOWN)).detach()) == 0.0


def test_what_is_pasted_is_known() -> None:
    images, masks = torch.rand(2, 3, 32, 32) * 255, torch.zeros(2, 32, 32, dtype=torch.int64)
    masks[0, :9], masks[1, 9:] = 1, 2
    batch = {"image": images, "mask": masks, "tags": torch.tensor([[1.0, 0, 0], [0, 1, 0]])}
    found = []
    for known in (
        torch.tensor([[True, False, False], [False, True, False]]),
        torch.ones(2, 3, dtype=torch.bool),
    ):
        scores: list[torch.Tensor] = []
        net = tiny.hybrid_segmenter()
        net.register_forward_hook(lambda module, given, out, scores=scores: scores.append(out[0]))
        cls = SupervisedRecipe().losses(net, {**batch, "known": known}, 0.0, SupervisedConfig(class_mix=1.0))[
            "cls"
        ]
        found.append((cls, scores[0]))
    each = F.softplus(-found[0][1][:, :2])  # both classes are in both photos now, the third is in none
    torch.testing.assert_close(found[0][0], each.mean())
    assert not torch.allclose(found[0][0], found[1][0])


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    for name in "abc":
        Image.new("RGB", (8, 6), (9, 9, 9)).save(tmp_path / f"{name}.png")
    (tmp_path / "tags.csv").write_text("image,cat,dog\na.png,1,?\nb.png,0,1\nc.png,?,0\n")
    return tmp_path


def test_from_the_file_to_the_batch(sheet: Path) -> None:
    collection = load_collection(sheet)
    assert [sample.unknown for sample in collection.samples] == [("dog",), (), ("cat",)]
    data = TagDataset(collection, 16)
    assert [data[n]["known"].tolist() for n in range(3)] == [[True, False], [True, True], [False, True]]
    assert [data[n]["tags"].tolist() for n in range(3)] == [[1, 0], [0, 1], [0, 0]]
    assert (
        "known" not in TagDataset(load_collection(sheet, classes=("cat",), split=listed(sheet, "a b")), 16)[0]
    )
    assert divided(collection, 0.1)[0] == collection


def listed(folder: Path, names: str) -> str:
    (folder / "some.txt").write_text(names.replace(" ", "\n"))
    return "some"


def test_held_out_tags_say_what_is_unknown(sheet: Path) -> None:
    data = TagDataset(load_collection(sheet), 32)
    _, tags = held_out_scores(tiny.hybrid_segmenter(classes=("cat", "dog")), data, 2)
    assert tags.tolist() == [[1, -1], [0, 1], [-1, 0]]


def test_a_run_notices_that_something_became_known(sheet: Path) -> None:
    before = take_fingerprint(load_collection(sheet), masks=False)
    (sheet / "tags.csv").write_text("image,cat,dog\na.png,1,0\nb.png,0,1\nc.png,?,0\n")
    said = changes(before, take_fingerprint(load_collection(sheet), masks=False))
    assert said == ["the tags of 1 photo changed, the first is a (cat;dog?, now cat)"]


@pytest.mark.parametrize("name", ["getam", "supervised", "class mix"])
def test_pixels_do_not_speak_against_an_unknown_class(name: str) -> None:
    """The second class is unknown in the first photo, the third in the second; pixels are called others."""
    images, masks = torch.rand(2, 3, 32, 32) * 255, torch.zeros(2, 32, 32, dtype=torch.int64)
    masks[0, :9], masks[1, 9:] = 1, 2
    batch = {"image": images, "mask": masks, "tags": torch.tensor([[1.0, 0, 0], [0, 1, 0]]), "known": KNOWN,
             "roi": torch.ones(2, 32, 32, dtype=torch.bool)}  # fmt: skip
    seen: list[torch.Tensor] = []
    net = tiny.hybrid_segmenter()
    net.register_forward_hook(lambda module, given, out: seen.append(out[1]))
    if name == "getam":
        found = GetamRecipe().losses(net, batch, 0.9, GetamConfig(joint_from=0.5, pamr_iterations=1))
        loss = found["fg"] + found["bg"]
    else:
        config = SupervisedConfig(class_mix=float(name == "class mix"))
        loss = SupervisedRecipe().losses(net, batch, 0.0, config)["pixel"]
    (slope,) = torch.autograd.grad(loss, seen[0])
    silent = ~slope.flatten(2).any(2)[:, 1:]
    if name != "class mix":
        assert silent.tolist() == (~KNOWN).tolist()
        return
    # class 2 is pasted into the first photo, class 1 into the second; unknown is what is so in either photo
    assert silent.tolist() == [[False, False, True], [False, False, True]]
    assert not slope[0, 2, :9].any()  # where class 2 was not pasted
    assert slope[0, 2, 9:].any()
