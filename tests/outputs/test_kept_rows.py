from getam.outputs.kept_rows import _differing


def test_what_differs_is_named_down_to_the_entry() -> None:
    old = {
        "steps": 3,
        "gone": 1,
        "environment": {"python": "3.11", "versions": {"torch": "2.6", "timm": "1"}},
        "none": {},
    }
    new = {
        "steps": 4,
        "environment": {"python": "3.11", "versions": {"torch": "2.7", "onnx": "1", "timm": "1"}},
        "none": None,
    }
    assert sorted(_differing(old, new)) == [
        "environment.versions.onnx", "environment.versions.torch", "gone", "none", "steps"
    ]  # fmt: skip
    assert _differing(old, old) == []
