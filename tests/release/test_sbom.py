"""A bill of materials of an environment, cut down by hand to what its subject needs."""

from __future__ import annotations

from typing import Any

import pytest

from sbom import only

BOM: dict[str, Any] = {
    "specVersion": "1.6",
    "metadata": {"component": {"name": "getam", "bom-ref": "root"}},
    "components": [
        {"name": name, "bom-ref": f"{name}==1"} for name in ("getam", "typing_extensions", "Torch", "pytest")
    ],
    "dependencies": [{"ref": "Torch==1", "dependsOn": ["pytest==1"]}, {"ref": "pytest==1"}],
}


def test_what_is_needed_is_kept_with_what_it_needs() -> None:
    kept = only(BOM, {"getam": ["torch"], "torch": ["typing-extensions"], "typing-extensions": []})
    assert kept["specVersion"] == "1.6"
    assert [each["name"] for each in kept["components"]] == ["typing_extensions", "Torch"]
    assert kept["dependencies"] == [
        {"ref": "root", "dependsOn": ["Torch==1"]},
        {"ref": "Torch==1", "dependsOn": ["typing_extensions==1"]},
        {"ref": "typing_extensions==1"},
    ]


def test_what_is_needed_and_not_listed_is_an_error() -> None:
    with pytest.raises(KeyError, match="numpy"):
        only(BOM, {"getam": ["numpy"], "numpy": []})
