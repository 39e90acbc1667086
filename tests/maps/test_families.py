"""getam() on every timm family with attention: against its matrices where it has a row to read, one error elsewhere."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch

import families
import tiny
from families import EXCLUDED, WITHOUT_ATTENTION, WORKS, Excluded, Family
from getam.attention.geometry import geometry
from getam.errors import CaptureError
from getam.maps.methods.getam import getam
from matrices import by_definition, every_matrix


@pytest.mark.parametrize("family", WORKS, ids=lambda family: family.name)
def test_equals_the_matrices(family: Family) -> None:
    model = tiny.awake(family.make())
    side = family.options.get("img_size") or family.side
    images = tiny.photos(2, side, side)
    place = geometry(model, side, side)
    maps = getam(model, images, [[2], [1]])
    assert maps.rows == family.rows
    if family.grid.startswith("photo"):
        stride = family.grid.split()[-1]
        patch = family.options.get("patch_size", families.PATCH_32["patch_size"])
        assert maps.grid == (side // (patch if stride == "patch" else int(stride)),) * 2
    for photo, c in ((0, 2), (1, 1)):
        A, G = every_matrix(model, images[photo : photo + 1], c, family.rows == "pool")
        wanted = by_definition(A, G, family.rows, place.prefix, place.grid)
        assert wanted.max() > 0
        assert wanted.std() > 0.05 * wanted.mean(), "a flat map would fit anything"
        torch.testing.assert_close(maps.values[photo, 0], wanted, rtol=2e-3, atol=1e-5 * float(wanted.max()))
    torch.testing.assert_close(maps.scores[:, 0], model(images)[[0, 1], [2, 1]], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("family", EXCLUDED, ids=lambda family: family.name)
def test_says_why_not(family: Excluded) -> None:
    model = family.make()
    size = model.pretrained_cfg.get("input_size", (3, 224, 224))
    with pytest.raises(CaptureError):
        getam(model, torch.empty(1, *size, device="meta"), [[0]])


@pytest.mark.parametrize("family", [*WORKS, *EXCLUDED, *WITHOUT_ATTENTION], ids=lambda family: family.name)
def test_the_representative_is_of_the_module(family: Family | Excluded) -> None:
    assert timm.list_models(family.model, module=family.module) == [family.model]


def test_every_module_of_timm_is_sorted() -> None:
    attending = {family.module for family in WORKS} | {family.module for family in EXCLUDED}
    others = {family.module for family in WITHOUT_ATTENTION}
    assert len(others) == len(WITHOUT_ATTENTION)
    assert not attending & others
    version = tuple(int(part) for part in timm.__version__.split(".")[:3] if part.isdigit())
    known = {
        name for name in timm.list_modules() if find_spec(f"timm.models.{name}")
    }  # not what tests register
    if version <= families.CHECKED:
        assert known <= attending | others
    elif unsorted := known - attending - others:
        pytest.skip(
            f"timm {timm.__version__} has modules nobody has sorted yet: {', '.join(sorted(unsorted))}"
        )


def test_the_documented_table_is_this_one() -> None:
    documented = Path(__file__).parents[2] / "docs" / "coverage.md"
    assert documented.read_text(encoding="utf-8") == families.table()
