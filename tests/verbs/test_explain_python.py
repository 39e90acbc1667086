"""`getam.explain`: whatever people hold ends in the maps of the batch they would have prepared by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import getam
import tiny
from getam.data.photos import as_tensor, read_photo
from getam.errors import InputError
from getam.maps.base import Maps
from getam.maps.scores import class_scores
from getam.nets.preprocess import Preprocessing, preprocessing_of
from getam.report.photo_maps import PhotoMaps, PhotoMapsList


@pytest.fixture
def files(scenes: Path, tmp_path: Path) -> list[Path]:
    """A lying and an upright photo."""
    for name, size in (("lying", (48, 40)), ("upright", (24, 64))):
        with Image.open(scenes / "photos" / "scene2.png") as image:
            image.resize(size).save(tmp_path / f"{name}.png")
    return [tmp_path / "lying.png", tmp_path / "upright.png"]


@pytest.fixture(scope="module")
def vit() -> Any:
    """A timm-like classifier of 5 classes that says how its photos are prepared."""
    model = tiny.vit()
    model.preprocessing = Preprocessing((32, 32), None, (0.5,) * 3, (0.5,) * 3, "bicubic")
    return model


def same(found: Maps, wanted: Maps) -> None:
    torch.testing.assert_close(found.values, wanted.values)
    torch.testing.assert_close(found.scores, wanted.scores)
    assert torch.equal(found.classes, wanted.classes)
    assert (found.method, found.grid, found.rows) == (wanted.method, wanted.grid, wanted.rows)


def prepared(net: nn.Module, file: Path) -> Tensor:
    return preprocessing_of(net)(as_tensor(read_photo(file)))


# Photos


def test_every_kind_of_one_photo(vit: Any, files: list[Path]) -> None:
    wanted = getam.explain(vit, prepared(vit, files[0]), [[3, 1]], coupling="grad")
    assert wanted.photo is None
    with Image.open(files[0]) as opened:
        pixels = np.asarray(opened)
        kinds = [str(files[0]), files[0], opened, opened.copy(), pixels]
        for kind, title in zip(kinds, ["lying"] * 3 + ["photo"] * 2, strict=True):
            maps = getam.explain(vit, kind, [3, 1], coupling="grad")
            same(maps, wanted)
            assert isinstance(maps, PhotoMaps)
            assert maps.photo is not None
            assert torch.equal(maps.photo, as_tensor(opened))
            assert maps.title == title
            assert maps.overlay(which="1").size == (48, 40)


@pytest.mark.parametrize("several", [list, tuple])
def test_several_photos_of_different_sizes(trained: Path, files: list[Path], several: Any) -> None:
    net = getam.load_model(trained)
    found = getam.explain(net, several(files), "red", size=64)
    assert isinstance(found, PhotoMapsList)
    assert [maps.title for maps in found] == ["lying", "upright"]
    assert [maps.grid for maps in found] == [(7, 8), (8, 3)]
    for maps, file in zip(found, files, strict=True):
        image = preprocessing_of(net, 64)(as_tensor(read_photo(file)))
        same(maps, getam.explain(net, image, [[1]]))
    assert [tuple(mask.shape) for mask in found.to_masks(0.4)] == [(1, 1, 40, 48), (1, 1, 64, 24)]


def test_an_array_of_photos_is_several(vit: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 20, 30, 3)).astype(np.uint8)
    found = getam.explain(vit, pixels, 2)
    assert [maps.title for maps in found] == ["photo 0", "photo 1"]
    same(found[1], getam.explain(vit, pixels[1], 2))


def test_photos_of_one_name_have_titles_of_their_own(vit: Any, files: list[Path]) -> None:
    found = getam.explain(vit, [files[0], files[1], files[0]], 0)
    assert [maps.title for maps in found] == ["lying 0", "upright", "lying 2"]


def test_models_by_name(trained: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    net = getam.load_model(trained)
    for model in (trained, str(trained), trained / "model.safetensors"):
        same(getam.explain(model, files[0], "blue", size=32), getam.explain(net, files[0], "blue", size=32))
    asked: list[Any] = []

    def create(name: str, pretrained: bool = False, **options: Any) -> Any:
        asked.append((name, pretrained, options))
        return timm.models.create_model("test_vit", **options)

    monkeypatch.setattr(timm, "create_model", create)
    maps = getam.explain("test_vit", files[0], "tabby", size=32)
    assert asked[-1] == ("test_vit", True, {"dynamic_img_size": True})
    assert maps.grid == (2, 2)
    assert maps.found()[0][0] == "tabby"
    getam.explain("test_vit", files[0], "tabby")
    assert asked[-1] == ("test_vit", True, {})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_photos_are_prepared_in_the_precision_of_the_model(
    trained: Path, files: list[Path], dtype: torch.dtype
) -> None:
    net: Any = timm.create_model("test_vit", num_classes=5).eval().to(dtype)
    image = preprocessing_of(net)(as_tensor(read_photo(files[0]))).to(dtype)
    found = getam.explain(net, files[0], 3)
    same(found, getam.explain(net, image, 3))
    assert found.values.dtype == torch.float32
    assert found.values.any()
    # without classes it counts and finds them in that precision too; so does one of ours, which takes 0–255
    assert getam.explain(net, files, k=2)[1].values.shape[:2] == (1, 2)
    ours = getam.load_model(trained).to(dtype)
    assert getam.explain(ours, files[0], "blue").values.any()


def test_the_precision_is_that_of_the_numbers_a_model_learns(files: list[Path]) -> None:
    net: Any = timm.create_model("test_vit", num_classes=5).eval()
    net.register_parameter("levels", nn.Parameter(torch.zeros(3, dtype=torch.int8), requires_grad=False))
    net._parameters = {"levels": net._parameters.pop("levels"), **net._parameters}
    assert next(net.parameters()).dtype == torch.int8
    assert getam.explain(net, files[0], 3).values.any()


class Around(nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return 2 * self.inner(images)


def test_compiled_models_are_explained_as_they_were(trained: Path, files: list[Path]) -> None:
    net = timm.create_model("test_vit", num_classes=5).eval()
    ours = getam.load_model(trained)
    for model, classes in ((net, [3]), (Around(net), [3]), (ours, ["blue"])):
        compiled: Any = (
            Around(torch.compile(model.inner, backend="eager"))
            if isinstance(model, Around)
            else torch.compile(model, backend="eager")
        )
        same(getam.explain(compiled, files[0], classes), getam.explain(model, files[0], classes))
        same(getam.explain(compiled, files, k=1)[1], getam.explain(model, files, k=1)[1])
        batch = prepared(model, files[0])
        same(getam.explain(compiled, batch, [classes]), getam.explain(model, batch, [classes]))


def test_the_model_is_left_as_it_was(vit: Any, files: list[Path]) -> None:
    net = timm.create_model("resnet10t", num_classes=4).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    getam.explain(net, files, method="gradcam")
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training


# Classes


@pytest.mark.parametrize(
    "classes", [3, "3", [3], ["3"], [[3]], (np.int64(3),), torch.tensor([3]), torch.tensor(3), np.array([3])]
)
def test_one_class_of_one_photo(vit: Any, files: list[Path], classes: Any) -> None:
    assert getam.explain(vit, files[0], classes).classes.tolist() == [[3]]


@pytest.mark.parametrize(
    ("classes", "wanted"),
    [
        (3, [[3], [3]]), ("3", [[3], [3]]), ([3, 1], [[3], [1]]), (["3", 1], [[3], [1]]), ([[3], ["1"]], [[3], [1]]),
        ([[3, 2], [1]], [[3, 2], [1]]), (torch.tensor([3, 1]), [[3], [1]]), ([3, [1, 2]], [[3], [1, 2]]),
        (torch.tensor([[0, 0, 1, 1, 0], [0, 1, 0, 0, 0]]), [[2, 3], [1]]), ([[], [1]], [[], [1]]),
        (np.array([[0, 0, 1, 1, 0], [0, 1, 0, 0, 0]]), [[2, 3], [1]]),
        (np.array([[False, True, False, False, False], [True] * 5]), [[1], [0, 1, 2, 3, 4]]),
        (np.array([["3"], ["1"]]), [[3], [1]]),
    ],
)  # fmt: skip
def test_classes_of_several_photos_and_of_a_batch(
    vit: Any, files: list[Path], classes: Any, wanted: list[list[int]]
) -> None:
    found = getam.explain(vit, files, classes)
    assert [maps.classes[0].tolist() for maps in found] == wanted
    batch = getam.explain(vit, torch.cat([prepared(vit, file) for file in files]), classes)
    assert [row[valid].tolist() for row, valid in zip(batch.classes, batch.valid)] == wanted
    for maps, own in zip(found, batch, strict=True):
        torch.testing.assert_close(maps.values, own.values[own.valid][None])


def test_several_classes_of_one_photo(vit: Any, files: list[Path]) -> None:
    for classes in ([3, "1"], [[3, "1"]], torch.tensor([3, 1])):
        assert getam.explain(vit, files[0], classes).classes.tolist() == [[3, 1]]
    tags = torch.tensor([[1, 0, 0, 0, 1]])
    assert getam.explain(vit, files[0], tags).classes.tolist() == [[0, 4]]


def test_without_classes_the_best(vit: Any, trained: Path, files: list[Path]) -> None:
    images = torch.cat([prepared(vit, file) for file in files])
    order = class_scores(vit, images).argsort(1, descending=True).tolist()
    for k, count in ((None, 1), (1, 1), (3, 3), (9, 5)):
        assert [m.classes[0].tolist() for m in getam.explain(vit, files, k=k)] == [
            row[:count] for row in order
        ]
        assert getam.explain(vit, images, k=k).classes.tolist() == [row[:count] for row in order]
        assert getam.explain(vit, files[1], k=k).classes.tolist() == [order[1][:count]]
    net: Any = getam.load_model(trained)
    with torch.no_grad():
        net.classifier.weight.zero_()
        net.classifier.bias.copy_(torch.tensor([1.0, 2.0]))
    assert getam.explain(net, files[0], size=32).classes.tolist() == [[0, 1]]
    assert getam.explain(net, files[0], size=32, k=1).classes.tolist() == [[1]]


def test_a_model_that_does_not_count_its_classes(files: list[Path]) -> None:
    class Bare(nn.Module):
        """Ten times the mean of a colour as a class's score; 1000 classes."""

        preprocessing = Preprocessing((16, 16), None, (0.5,) * 3, (0.5,) * 3)

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 4, 4, 4)
            self.head = nn.Linear(4, 1000)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.body(images).relu().mean((2, 3)))

    maps = getam.explain(Bare(), files[0], ["tabby", 7], method="gradcam", layers=["body"])
    assert maps.classes.tolist() == [[281, 7]]
    assert [name for name, _ in maps.found()] == ["tabby", "cock"]


# Mistakes


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ("catt", "the model has no class 'catt'; did you mean 'cat'"), (["cat", "emu"], "no class 'emu'"),
        (3, r"class 3 of photo 0 is outside 0\.\.2, the model's classes"), (-1, r"class -1 .*outside"),
        ([[0], [1]], "one list of class indices"),
    ],
)  # fmt: skip
def test_classes_that_are_not_there(files: list[Path], classes: Any, said: str) -> None:
    net = tiny.hybrid_segmenter()
    with pytest.raises(InputError, match=said):
        getam.explain(net, files[0], classes, size=32)
    batch = torch.full((1, 3, 32, 32), 99.0)
    with pytest.raises(InputError, match=said if classes != [[0], [1]] else "2 class lists were given for 1"):
        getam.explain(
            net, batch, [classes] if isinstance(classes, list) and classes != [[0], [1]] else classes
        )


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (
            [0, 1, 2],
            "3 classes were given for 2 photos: give one class for all, one each or a list each",
        ),
        ([[0, 1]], "1 class lists were given for 2 photos"),
        (torch.tensor([1]), "1 classes were given for 2"),
    ],
)
def test_classes_for_another_number_of_photos(vit: Any, files: list[Path], classes: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        getam.explain(vit, files, classes)
    with pytest.raises(InputError, match=said):
        getam.explain(vit, tiny.photos(2), classes)


@pytest.mark.parametrize(
    "tags", [torch.ones(1, 5), torch.ones(3, 5), torch.ones(2, 4), np.ones((2, 4)), np.array([[3], [1]])]
)
def test_tags_of_another_shape(vit: Any, files: list[Path], tags: Any) -> None:
    with pytest.raises(InputError, match=r"tags are \("):
        getam.explain(vit, files, tags)


def test_other_mistakes_are_one_sentence(vit: Any, files: list[Path], tmp_path: Path) -> None:
    for arguments, options, said in (
        ((vit, files, 1), {"k": 2}, "k=2: .* and then no classes"),
        ((vit, files), {"k": 0}, "k=0: give a positive number"),
        ((vit, []), {}, "no photo: give at least one"),
        ((vit, [files[0], tmp_path / "none.png"], 1), {}, "none.png does not exist"),
        ((vit, [files[0], torch.zeros(3, 4, 4)], 1), {}, "photo number 1 is a Tensor"),
        ((vit, files[0], 1), {"size": 64}, "32×32 only: leave out size"),
        ((vit, tiny.photos(1), 1), {"size": 64}, "size=64 is for photos"),
        ((vit, tiny.photos(1) * 60 + 128, 1), {}, "normalised photos lie in -1 to 1"),
        ((tiny.hybrid_segmenter(), torch.rand(1, 3, 32, 32), 1), {}, "as normalised photos do"),
        ((tiny.vit(), files[0], 1), {}, "VisionTransformer does not say how its photos are prepared"),
        (("no_such_model", files[0], 1), {}, "nor a timm model"),
        ((vit, files[0], 1), {"method": "kam"}, "no map method 'kam'"),
        ((vit, 7, 1), {}, "photo given is a int"),
        ((vit, files[0], 0.5), {}, "classes are 0.5: give a name"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            getam.explain(*arguments, **options)


def test_a_timm_name_takes_local_weights_on_the_command_line_only(tmp_path: Path, files: list[Path]) -> None:
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="--weights is an option of no map method"):
        getam.explain("test_vit", files[0], 1, weights=tmp_path / "w.safetensors")
