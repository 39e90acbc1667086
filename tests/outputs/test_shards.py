"""Several processes at one call make together what one makes, whichever of them die and however many there are."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch.distributed import HashStore
from webdataset import ShardWriter, TarWriter

import getam
import tiny
from getam import cli
from getam.data.map_cache import MapCache
from getam.errors import InputError, SkippedError
from getam.opened import saliency_source
from getam.outputs import shards
from getam.outputs.folder import OutputFolder
from getam.outputs.shards import LOCK, Shard, hold, over_processes

PHOTOS = 7
SHARDED: dict[str, Callable[[Path, Path, Path], list[str]]] = {
    "predict": lambda data, run, out: [
        *("predict", str(data / "photos"), "--scales", "32", "--no-crf"),
        *("--model", str(run), "--out", str(out)),
    ],
    "label": lambda data, run, out: [
        *("label", "--data", str(data / "photos"), "--tags", str(data / "tags.csv"), "--scales", "32", "--no-flip"),
        *("--saliency", "attention", "--labels", "completion", "--model", str(run), "--out", str(out)),
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GETAM_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_scenes(tmp_path_factory.mktemp("seven"), PHOTOS)


def results(out: Path) -> dict[str, bytes]:
    """All files but the protocol, of which the options differ in --out alone."""
    return {
        file.relative_to(out).as_posix(): file.read_bytes()
        for file in sorted(out.rglob("*"))
        if file.is_file() and file.name != LOCK and file.suffix != ".jsonl"
    }


def made(out: Path) -> list[int]:
    return sorted(int(file.stem.removeprefix("scene")) for file in out.glob("scene*.png"))


def record(out: Path) -> dict[str, Any]:
    """The only line of the protocol, without what differs between two calls."""
    (line,) = (json.loads(line) for line in (out / "protocol.jsonl").read_text().splitlines())
    return {key: value for key, value in line.items() if key not in ("finished", "environment")}


@pytest.mark.parametrize("verb", SHARDED)
def test_shards_and_the_end_make_what_one_process_makes(
    verb: str, seven: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, several = tmp_path / "one", tmp_path / "several"
    assert cli.main(SHARDED[verb](seven, trained, one)) == 0
    (whole,) = {path.name for path in (tmp_path / "cache").iterdir()} if verb == "label" else {""}
    kept = len(list((tmp_path / "cache" / whole).glob("*.png")))
    capsys.readouterr()
    command = SHARDED[verb](seven, trained, several)
    for number, own in ((2, [1, 4]), (1, [0, 1, 3, 4, 6]), (3, list(range(PHOTOS)))):
        assert cli.main([*command, "--shard", f"{number}/3"]) == 0
        assert made(several) == own
        said = capsys.readouterr().err
        assert f"shard {number}/3 has done its {3 if number == 1 else 2} of 7 photos" in said
        assert not (several / "first-look.html").exists()
        assert not (several / "protocol.jsonl").exists()
    assert sorted(file.name for file in several.glob("*.jsonl")) == [
        f"unfinished-{number}-of-3.jsonl" for number in (1, 2, 3)
    ]
    before = {file: file.stat().st_mtime_ns for file in several.glob("scene*.png")}
    assert cli.main(command) == 0
    assert {file: file.stat().st_mtime_ns for file in several.glob("scene*.png")} == before
    assert results(several) == results(one)
    assert "first-look.html" in results(one)
    assert record(several) == record(one)
    assert [file.name for file in several.glob("*.jsonl")] == ["protocol.jsonl"]
    assert len(list((tmp_path / "cache" / whole).glob("*.png"))) == kept


def test_a_dead_shards_rest_is_done_by_another_number_and_by_the_end(
    seven: Path, trained: Path, tmp_path: Path
) -> None:
    one, several = tmp_path / "one", tmp_path / "several"
    command = SHARDED["predict"](seven, trained, several)
    assert cli.main(SHARDED["predict"](seven, trained, one)) == 0
    assert cli.main([*command, "--shard", "1/3"]) == 0  # 0, 3, 6
    listed = several / "unfinished-1-of-3.jsonl"
    listed.write_bytes(listed.read_bytes()[:-30])  # as it died while it noted the last one
    (several / "scene6.png").unlink()
    first = (several / "scene0.png").stat().st_mtime_ns
    assert cli.main([*command, "--shard", "1/2"]) == 0  # 0, 2, 4, 6: 0 is there
    assert made(several) == [0, 2, 3, 4, 6]
    assert cli.main(command) == 0
    assert results(several) == results(one)
    assert (several / "scene0.png").stat().st_mtime_ns == first


def test_what_a_shard_leaves_out_comes_up_at_the_end(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = tiny.write_scenes(tmp_path / "scenes", 4)
    (scenes / "photos" / "scene2.png").write_bytes(b"")
    out = tmp_path / "out"
    command = [*SHARDED["predict"](scenes, trained, out), "--on-bad-image", "skip"]
    assert cli.main([*command, "--shard", "1/2"]) == 0
    said = capsys.readouterr().err
    assert "scene2.png is empty" in said
    assert "shard 1/2 has done its 1 of 4 photos" in said
    assert cli.main([*command, "--shard", "2/2"]) == 0
    assert cli.main(command) == 1
    assert "1 of 4 photos were left out" in capsys.readouterr().err
    assert (record(out)["photos"], record(out)["skipped"]) == (3, ["scene2"])


def test_other_calls_and_masks_of_nobody_are_in_the_way(seven: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = SHARDED["predict"](seven, trained, out)
    assert cli.main([*command, "--shard", "1/3"]) == 0
    with pytest.raises(InputError, match=r"scene0\.png exists"):
        getam.predict(seven / "photos", model=trained, out=out, scales=(48,), crf=False, shard="1/2")
    Image.new("L", (48, 40)).save(out / "scene3.png")  # corrected by hand
    with pytest.raises(InputError, match=r"scene3\.png exists"):
        getam.predict(seven / "photos", model=trained, out=out, scales=(32,), crf=False)
    assert cli.main([*command, "--shard", "3/3"]) == 0  # not its business


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/3", "", "²/3"])
def test_what_is_no_shard(text: str, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"is no shard: give its number, from 1, and how many there are, such as 3/16"
    ):
        getam.predict(tmp_path, shard=text)


def test_every_photo_is_in_one_shard() -> None:
    for several in (1, 2, 5, 16):
        parts = [Shard(number, several).part(range(11)) for number in range(1, several + 1)]
        assert sorted(number for part in parts for number in part) == list(range(11))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_under_torchrun_each_is_a_shard_and_the_first_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads in place of processes, whose second is slow at its part."""
    own, store, seen = threading.local(), HashStore(), list[tuple[int, str]]()

    class Own:
        def __next__(self) -> int:
            return next(own.meetings)

    monkeypatch.setattr(shards, "world", lambda: 2)
    monkeypatch.setattr(shards, "rank", lambda: own.rank)
    monkeypatch.setattr(shards, "_meetings", Own())
    monkeypatch.setattr(
        import_module("torch.distributed.rendezvous"), "rendezvous", lambda url: iter([(store, own.rank, 2)])
    )

    @over_processes
    def verb(name: str, *, shard: str | None = None, broken: bool = False) -> str:
        if own.rank or shard is None:  # whoever does not wait is early
            time.sleep(0.2)
        seen.append((own.rank, str(shard)))
        if broken and shard is None:
            raise SkippedError("one photo was left out")
        return f"{name} {shard}"

    def process(rank: int) -> list[str]:
        own.rank, own.meetings = rank, count()
        found = [verb("a")]
        seen.append((rank, "next"))
        found.append(verb("b", shard="7/9"))
        try:
            found.append(verb("c", broken=True))
        except SkippedError as error:
            found.append(str(error))
        return found

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(process, (0, 1))
    assert seen[:3] == [(0, "1/2"), (1, "2/2"), (0, "None")]
    assert seen.index((1, "next")) > 2
    assert first == ["a None", "b 7/9", "one photo was left out"]
    assert second == ["a 2/2", "b 7/9", "c 2/2"]


def test_a_shard_makes_the_saliency_maps_it_needs_and_no_others(
    seven: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own, those that all shards decide by whether maps are of use, and those of photos to calibrate on."""
    monkeypatch.setattr(saliency_source, "LOOKED_AT", 3)
    read = list[str]()
    map_of = MapCache.file
    monkeypatch.setattr(
        MapCache, "file", lambda self, photo: (read.append(photo.stem), map_of(self, photo))[1]
    )
    options: dict[str, Any] = {"data": seven / "photos", "tags": seven / "tags.csv", "model": trained, "scales": (32,),
                               "flip": False, "labels": "completion", "saliency": "attention"}  # fmt: skip
    getam.label(**options, out=tmp_path / "out", shard="2/7")
    assert sorted(read) == [f"scene{number}" for number in (0, 1, 3, 6)]
    assert made(tmp_path / "out") == [1]
    known = tmp_path / "known"
    known.mkdir()
    for name in ("classes.txt", "scene2.png", "scene5.png"):
        shutil.copy(seven / "truth" / name, known)
    read.clear()
    getam.label(**options, out=tmp_path / "calibrated", shard="2/7", calibrate=known)
    assert sorted(read) == [f"scene{number}" for number in (0, 1, 2, 3, 5, 6)]
    getam.label(**options, out=tmp_path / "calibrated", calibrate=known)
    assert record(tmp_path / "calibrated")["calibration"]["masks"] == 2


# Photos in tars


@pytest.mark.parametrize("verb", SHARDED)
def test_photos_in_tars_have_the_masks_they_have_in_a_folder(
    verb: str, seven: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (seven / "tags.csv").open() as table:
        rows = list(csv.DictReader(table))
    with ShardWriter(str(tmp_path / "p-%06d.tar"), maxcount=3, verbose=0) as writer:
        for row in rows:
            content = (seven / "photos" / row["image"]).read_bytes()
            writer.write({"__key__": Path(row["image"]).stem, "png": content, "txt": row["tags"]})
    one, out = tmp_path / "one", tmp_path / "out"
    assert cli.main(SHARDED[verb](seven, trained, one)) == 0
    pattern = str(tmp_path / "p-{000000..000002}.tar")
    command = [
        pattern if part == str(seven / "photos") else part for part in SHARDED[verb](seven, trained, out)
    ]
    if verb == "label":
        place = command.index("--tags")
        del command[place : place + 2]
    assert cli.main([*command, "--shard", "2/2"]) == 0
    assert cli.main([*command, "--to", "coco"]) == 0
    for number in range(PHOTOS):
        mask = out / f"p-00000{number // 3}" / f"scene{number}.png"
        assert mask.read_bytes() == (one / f"scene{number}.png").read_bytes()
    exported = json.loads((tmp_path / "out-coco" / "annotations.json").read_text())
    assert exported["images"][4]["file_name"] == "p-000001/scene4.png"
    assert record(out)["photos"] == PHOTOS
    # What was done is known by the photo's own bytes
    last = tmp_path / "p-000002.tar"
    last.write_bytes(last.read_bytes())
    assert cli.main([*command, "--overwrite", "--shard", "1/2"]) == 0
    capsys.readouterr()
    with TarWriter(str(tmp_path / "p-000000.tar")) as writer:
        for row in rows[:3]:
            content = (
                seven / "photos" / rows[1 if row is rows[2] else rows.index(row)]["image"]
            ).read_bytes()
            writer.write({"__key__": Path(row["image"]).stem, "png": content, "txt": row["tags"]})
    before = {file: file.stat().st_mtime_ns for file in out.rglob("scene*.png")}
    assert cli.main([*command, "--overwrite", "--shard", "1/2"]) == 0
    after = {file: file.stat().st_mtime_ns for file in out.rglob("scene*.png")}
    assert [file.stem for file in before if before[file] != after[file]] == ["scene2"]


# Two at the same work


def test_the_same_work_is_refused_while_a_process_is_at_it(tmp_path: Path) -> None:
    first, second = Shard(1, 2), Shard(2, 2)
    with hold(tmp_path, first):
        with (
            hold(tmp_path, second),
            pytest.raises(InputError, match=r"in use: another process is at shard 1/2"),
        ):
            hold(tmp_path, first)
        with hold(tmp_path, second):
            pass
        with pytest.raises(
            InputError, match=r"in use: shard 1/2 is at work there; wait for it, or give another --out"
        ):
            hold(tmp_path, None)
    with hold(tmp_path, None), pytest.raises(InputError, match=r"in use: the whole call is at work there"):
        hold(tmp_path, None)
    assert [file.name for file in tmp_path.iterdir() if file.name != LOCK] == []


def test_a_shard_waits_a_little_for_the_gate_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getam.outputs.shards.PATIENCE", 0.1)
    with hold(tmp_path, None), pytest.raises(InputError, match=r"in use: the whole call is at work there"):
        hold(tmp_path, Shard(1, 2))


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(self: Any, *_: Any, **__: Any) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("getam.outputs.shards.FileLock.acquire", none)
    with hold(tmp_path, Shard(1, 2)):
        pass
    assert "locks do not work there" in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills copies of this process")
def test_shards_killed_at_random_times_lose_nothing(seven: Path, trained: Path, tmp_path: Path) -> None:
    """Ten calls of which 1 to 4 shards at once are killed three times each, then ended: 30 rounds in all."""
    draw = random.Random(11)
    one = tmp_path / "one"
    assert cli.main(SHARDED["predict"](seven, trained, one)) == 0
    killed, found = 0, list[int]()
    for call in range(10):
        out = tmp_path / f"out{call}"
        command = SHARDED["predict"](seven, trained, out)
        for _ in range(3):
            several = draw.randint(1, 4)
            children = [
                _forked([*command, "--shard", f"{number}/{several}"]) for number in range(1, several + 1)
            ]
            wanted = len(made(out)) + draw.randint(0, 2)
            late = time.monotonic() + 20
            while len(made(out)) < min(wanted, PHOTOS) and time.monotonic() < late:
                time.sleep(0.01)
            for child in children:
                time.sleep(draw.uniform(0, 0.1))
                os.kill(child, signal.SIGKILL)
            killed += sum(os.WIFSIGNALED(os.waitpid(child, 0)[1]) for child in children)
            found.append(len(made(out)))
        assert cli.main(command) == 0
        assert results(out) == results(one)
        assert record(out) == record(one)
    print(f"{killed} processes were killed, with {found} photos made")
    assert killed > 30


def _forked(command: list[str]) -> int:
    """The process that does it, resting after each photo so that it can be killed in the middle."""
    if child := os.fork():
        return child
    write = OutputFolder.write

    def late(folder: OutputFolder, job: Any, contents: Any) -> None:
        time.sleep(0.1)
        write(folder, job, contents)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OutputFolder, "write", late)
        os._exit(cli.main(command))


@pytest.mark.slow
def test_a_killed_shards_lock_is_free_and_its_rest_is_done(
    seven: Path, trained: Path, tmp_path: Path
) -> None:
    """One process is killed in the middle, twice beside another; torchrun's two then end the call."""
    one, out = tmp_path / "one", tmp_path / "out"
    command = SHARDED["predict"](seven, trained, out)
    assert cli.main(SHARDED["predict"](seven, trained, one)) == 0
    slow = (
        "import sys, time; import getam.outputs.folder as o; from getam import cli; write = o.OutputFolder.write\n"
        "def late(self, job, contents):\n"
        "    write(self, job, contents); print('made', flush=True); time.sleep(60)\n"
        "o.OutputFolder.write = late; cli.main(sys.argv[1:])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", slow, *command, "--shard", "1/2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as dying:
        assert dying.stdout is not None
        assert dying.stdout.readline() == b"made\n"
        with pytest.raises(InputError, match="another process is at shard 1/2"):
            getam.predict(seven / "photos", model=trained, out=out, scales=(32,), crf=False, shard="1/2")
        with pytest.raises(InputError, match="shard 1/2 is at work there"):
            getam.predict(seven / "photos", model=trained, out=out, scales=(32,), crf=False)
        dying.send_signal(signal.SIGKILL)
    assert made(out) == [0]
    first = (out / "scene0.png").stat().st_mtime_ns
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "getam",
    ]
    done = subprocess.run([*launch, *command], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert "predicting 4/4" in done.stderr  # the first one's part
    assert "predicting 3/3" not in done.stderr
    assert results(out) == results(one)
    assert (out / "scene0.png").stat().st_mtime_ns == first
    assert record(out) == record(one)
    assert [file.name for file in out.glob("*.jsonl")] == ["protocol.jsonl"]
