"""One look-up for everything that has a name."""

import pytest

from getam.errors import InputError
from getam.labels.registry import find_labeller
from getam.maps.registry import find_method
from getam.recipes import find_recipe
from getam.refine.registry import find_refiner


@pytest.mark.parametrize(
    ("find", "kind", "first"),
    [
        (find_method, "map method", "getam, acr"),
        (find_refiner, "refiner", "pamr, par"),
        (find_labeller, "labeller", "completion, free"),
        (find_recipe, "recipe", "getam, self-training, agreement, supervised"),
    ],
)
def test_an_unknown_name_is_answered_with_those_there_are(find, kind, first):
    with pytest.raises(InputError, match=f"there is no {kind} 'nobody': choose one of {first}"):
        find("nobody")
    assert find(first.split(",")[0]) is find(first.split(",")[0])
