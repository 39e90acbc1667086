"""Receipts against what was written by hand: which masks count as made, and by whom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from getam.data.places import listing, write_bytes
from getam.verbs.label_on_ray import receipts
from getam.verbs.label_on_ray.receipts import Receipts, hash_of, key_of
from getam.verbs.label_on_ray.worker import Done

CALL = "c" * 64


def opened(out: Path, *, call: str = CALL, names: str = "n") -> Receipts:
    return Receipts(str(out), call, names, listing(str(out)))


def made(name: str, key: str, size: int) -> Done:
    return Done(name, key, size, "sha", "photo")


def test_a_mask_counts_when_it_is_listed_for_its_key_and_as_long_as_it_was(tmp_path: Path) -> None:
    first = opened(tmp_path)
    for name, key, size in (("a", "ka", 3), ("f/b", "kb", 4), ("c", "kc", 5)):
        write_bytes(str(tmp_path / f"{name}.png"), bytes(size))
        first.add(made(name, key, size))
    first.write()
    (tmp_path / "c.png").unlink()
    (tmp_path / "f" / "b.png").write_bytes(b"12345")
    again = opened(tmp_path)
    assert again.has("ka", "a.png")
    assert not again.has("other", "a.png")
    assert not again.has("kb", "f/b.png")  # of another length
    assert not again.has("kc", "c.png")  # gone
    assert again.ours("a", "a.png")
    assert not again.ours("f/b", "f/b.png")
    assert not opened(tmp_path, call="d" * 64).has("ka", "a.png")  # lists of another call


def test_lists_are_full_or_written_at_the_end_and_equal_lists_are_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "A_LIST", 2)
    for _ in range(2):  # the second caller does what the first has done
        found = opened(tmp_path)
        for index in range(3):
            found.add(made(f"{index}", f"k{index}", index))
        assert len(list(tmp_path.rglob("*.jsonl"))) >= 1
        found.write()
        found.write()
        lists = sorted(tmp_path.rglob("*.jsonl"))
        assert sorted(len(file.read_text().splitlines()) for file in lists) == [1, 2]
    first = json.loads(lists[0].read_text().splitlines()[0])
    assert set(first) == {"name", "key", "size", "sha256", "photo_sha256"}


def test_an_unfinished_call_may_have_written_what_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    assert not opened(tmp_path).ours("a", "a.png")
    opened(tmp_path).note({"verb": "label"}, finished=False)
    assert opened(tmp_path).ours("a", "a.png")
    assert not opened(tmp_path, names="of other photos").ours("a", "a.png")
    assert not opened(tmp_path, call="d" * 64).ours("a", "a.png")
    opened(tmp_path).note({"verb": "label"}, finished=True)
    assert not opened(tmp_path).ours("a", "a.png")


def test_a_key_changes_with_all_that_decides_and_with_nothing_else() -> None:
    same = ("call", "a", ("red", "blue"), ("12 5f",))
    keys = {
        key_of(*same), key_of("other", *same[1:]), key_of("call", "b", *same[2:]),
        key_of("call", "a", ("red",), same[3]),
        key_of(*same[:3], ("12 60",)), key_of(*same[:3], ("12 5f", "3 1")),
    }  # fmt: skip
    assert len(keys) == 6
    assert key_of("call", "a", ["red", "blue"], ["12 5f"]) == key_of(*same)
    assert hash_of({"a": 1, "b": Path("x")}) == hash_of({"b": "x", "a": 1})
