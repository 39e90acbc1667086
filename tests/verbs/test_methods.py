"""`getam methods` lists what the registry knows; `explain` runs each by name and says what does not go together."""

import pytest
import torch

import getam
import tiny
from getam import cli
from getam.errors import InputError
from getam.maps.registry import REGISTRY


def test_one_line_per_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["methods"]) == 0
    heading, *lines = capsys.readouterr().out.rstrip().splitlines()
    assert heading.split() == ["method", "model", "backward", "map", "per", "options", "source"]
    assert [line.split()[0] for line in lines] == list(REGISTRY)
    (line,) = (line for line in lines if line.startswith("zoom-cam"))
    assert line.split() == [
        "zoom-cam",
        "CNN",
        "or",
        "transformer",
        "yes",
        "class",
        "--layers",
        "arXiv",
        "2010.08644",
    ]
    assert "no        photo" in next(line for line in lines if line.startswith("rollout"))


@pytest.mark.parametrize("method", [name for name in REGISTRY if name not in ("last-stage", "bas")])
def test_each_explains_by_name(method: str) -> None:
    model = tiny.vit(global_pool="avg", class_token=False, fc_norm=False)
    options = {"layers": ["norm"]} if method == "cam" else {}  # the last features that the score is linear in
    maps = getam.explain(model, tiny.photos(2), [[1, 2], [2]], method=method, **options)
    assert maps.values.shape == (2, 2, 4, 4)
    assert maps.values.dtype == torch.float32
    assert maps.values.min() >= 0
    assert maps.values.max() > 0
    assert maps.method.split("[")[0] in (method, "cam")
    assert torch.equal(maps.values[0, 0], maps.values[0, 1]) is not REGISTRY[method].per_class


def test_options_of_other_methods_are_refused() -> None:
    model, image = tiny.vit(), tiny.photos(1)
    with pytest.raises(
        InputError, match="--coupling is an option of getam, acr, ad-cam, last-stage, not of rollout"
    ):
        getam.explain(model, image, [[1]], method="rollout", coupling="grad")
    with pytest.raises(InputError, match="--colour is an option of no map method"):
        getam.explain(model, image, [[1]], colour="red")
