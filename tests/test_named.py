"""NAME=VALUE: what is written is read again; what is not that form is one sentence."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from getam.errors import InputError
from getam.named import list_named, read_named, split_outside, write_named

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["1", "true", "a.b-c", "null", "~", "1e5", "-1E+5"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,6}", fullmatch=True), VALUES, min_size=1, max_size=3))
def test_what_is_written_is_read_again(options: dict[str, Any]) -> None:
    text = write_named(options)
    assert text[0] == "["
    assert text[-1] == "]"
    if "," in "".join(str(value) for value in options.values()) or "[" in text[1:-1] or "\\" in text:
        return  # words with commas and brackets in them are quoted, which splitting does not look at
    assert read_named(split_outside(text[1:-1])) == options


def test_lists_are_kept_together() -> None:
    options = {"layers": ["a.1", "b"], "deep": [[1, 2], [3]], "start": 9}
    assert read_named(split_outside(write_named(options)[1:-1])) == options
    assert write_named({}) == ""
    assert write_named({"a": "1", "b": "no", "c": "x y", "d": 0.5, "e": None, "f": True}) == (
        '[a="1",b="no",c="x y",d=0.5,e=null,f=true]'
    )
    assert list_named({"least": 1e-5, "most": -inf, "name": "1e-5", "file": Path("a b")}) == (
        "least=1e-05",
        "most=-.inf",
        'name="1e-5"',
        'file="a b"',
    )


@pytest.mark.parametrize("text", ["1e-5", "+1E-5", "1.0e-5", "0.00001", "1e-05"])
def test_small_numbers_are_numbers(text: str) -> None:
    assert read_named([f"a={text}", f"b=[{text}]"]) == {"a": 1e-5, "b": [1e-5]}


@pytest.mark.parametrize("text", ["1e", "e5", "1e5x", "0x1e5x", "1e-5 m"])
def test_what_only_begins_as_a_number_is_text(text: str) -> None:
    assert read_named([f"a={text}"]) == {"a": text}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]), ("a[b,c],d", ["a[b,c]", "d"]), ("[a,[b,c]],d", ["[a,[b,c]]", "d"]), ("", [""]),
        ("a],b", ["a]", "b"]), (r"a\,b,c", [r"a\,b", "c"]), ("a,,b", ["a", "", "b"]), (r"\[a,b", [r"\[a", "b"]),
    ],
)  # fmt: skip
def test_commas_count_outside_of_brackets(text: str, parts: list[str]) -> None:
    assert split_outside(text) == parts


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["a"], "option 'a' is not NAME=VALUE, as in rounds=2"), (["=1"], "option '=1' is not NAME=VALUE"),
        (["a=1", " a =2"], "option a was given twice"), (["a=[1"], r"option 'a=\[1': the value cannot be read"),
    ],
)  # fmt: skip
def test_another_form_is_refused(options: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_named(options)
