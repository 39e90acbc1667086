"""Reading ahead and writing behind: order, bounds, and errors at their item's turn, as in a plain loop."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import getam
from getam.data.overlap import read_ahead, write_behind
from getam.errors import InputError


def test_items_come_in_order_however_long_their_reading_takes() -> None:
    def read(item: int) -> int:
        time.sleep(0.002 * (item % 3 == 0))
        return item * item

    assert list(read_ahead(range(20), read)) == [(i, i * i) for i in range(20)]


def test_no_more_than_ahead_items_are_read_before_their_turn() -> None:
    begun: list[int] = []
    for item, _ in read_ahead(range(30), begun.append, ahead=3):
        time.sleep(0.002)
        assert len(begun) <= item + 4
    assert sorted(begun) == list(range(30))


def test_reading_goes_on_while_the_caller_works() -> None:
    second_was_read = threading.Event()
    for item, _ in read_ahead([1, 2], lambda item: second_was_read.set() if item == 2 else None):
        if item == 1:
            assert second_was_read.wait(10)  # without asking for the second


def test_a_bad_item_is_reported_at_its_turn_and_ends_the_reading() -> None:
    begun: list[int] = []

    def read(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise InputError("photo 2 cannot be read")
        return item

    given = []
    with pytest.raises(InputError, match="photo 2"):
        given.extend(item for item, _ in read_ahead(range(100), read, ahead=4))
    assert len(begun) <= 8
    assert threading.active_count() < 20


def test_writes_happen_one_by_one_in_order_and_before_the_block_ends() -> None:
    written: list[int] = []

    def write(item: int) -> None:
        time.sleep(0.001)
        written.append(item)

    with write_behind(ahead=2) as submit:
        for item in range(10):
            submit(write, item)
            assert item - len(written) <= 3  # one at work, two waiting
    assert written == list(range(10))


def test_what_was_submitted_is_written_when_the_block_raises() -> None:
    written: list[int] = []

    def loop() -> None:
        with write_behind() as submit:
            for item in range(3):
                submit(written.append, item)
            raise InputError("photo 3 cannot be read")

    with pytest.raises(InputError, match="photo 3"):
        loop()
    assert written == [0, 1, 2]


def test_a_failed_write_is_raised_and_ends_the_writing() -> None:
    def write(item: int) -> None:
        if item == 1:
            raise OSError("disk full")

    submitted: list[int] = []

    def loop() -> None:
        with write_behind(ahead=2) as submit:
            for item in range(1000):
                submit(write, item)
                submitted.append(item)

    with pytest.raises(OSError, match="disk full"):
        loop()
    assert len(submitted) < 10


def test_a_failed_last_write_is_raised_at_the_end() -> None:
    def write() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), write_behind() as submit:
        submit(write)


def test_label_and_predict_keep_the_masks_before_a_photo_that_cannot_be_read(
    scenes: Path, trained: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        (photos / f"scene{index}.png").write_bytes((scenes / "photos" / f"scene{index}.png").read_bytes())
    (photos / "scene1.png").write_bytes(b"not a photo")
    (photos / "tags.csv").write_text("image,tags\nscene0.png,red\nscene1.png,red\nscene2.png,blue\n")
    with pytest.raises(InputError, match=r"scene1\.png cannot be read"):
        getam.label(
            data=photos, model=trained, out=tmp_path / "labels", scales=(32,), flip=False, saliency="none"
        )
    with pytest.raises(InputError, match=r"scene1\.png cannot be read"):
        getam.predict(photos, model=trained, out=tmp_path / "masks", scales=(32,), crf=False)
    for out in (tmp_path / "labels", tmp_path / "masks"):
        assert sorted(file.name for file in out.glob("*.png")) == ["scene0.png"]
        assert not (out / "protocol.jsonl").exists()


def test_a_caller_that_stops_waits_for_what_is_being_read_and_reads_no_more() -> None:
    go_on, finished = threading.Event(), list[int]()

    def read(item: int) -> None:
        if item:
            go_on.wait(10)
        finished.append(item)

    coming = read_ahead(range(100), read, ahead=3)
    assert next(coming) == (0, None)
    threading.Timer(0.05, go_on.set).start()
    coming.close()  # type: ignore[attr-defined]
    assert sorted(finished)[:2] == [0, 1]
    assert len(finished) <= 4
    assert not [t for t in threading.enumerate() if t.name.startswith("getam-read") and t.is_alive()]
