"""Results: nothing in the way is replaced unasked, no input ever; what an unfinished call has made counts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from getam.errors import InputError, SkippedError
from getam.outputs.folder import Job, OutputFolder
from getam.outputs.shards import LOCK
from getam.outputs.unfinished import UNFINISHED

CALL = {"verb": "predict", "weights_sha256": "w", "options": {"scales": (32,), "model": Path("run")}}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.png").write_bytes(f"pixels of {name}".encode())
    return folder


def jobs(photos: Path, facts: str = "") -> list[Job]:
    return [Job(name, (f"{name}.png",), (photos / f"{name}.png",), facts) for name in ("a", "b", "c")]


def opened(photos: Path, out: Path, *, overwrite: bool = False, facts: str = "", **call: Any) -> OutputFolder:
    with OutputFolder(out, jobs(photos, facts), {**CALL, **call}, overwrite=overwrite) as folder:
        return folder


def unfinished(photos: Path, out: Path) -> None:
    """A call that stopped after a and b."""
    folder = opened(photos, out)
    for job in folder.todo[:2]:
        folder.write(job, {job.results[0]: f"mask of {job.name}".encode()})


def names(folder: OutputFolder) -> list[str]:
    return [job.name for job in folder.todo]


def test_the_same_call_does_the_rest(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    unfinished(photos, out)
    for overwrite in (False, True):
        assert names(opened(photos, out, overwrite=overwrite)) == ["c"]
    folder = opened(photos, out)
    assert [job.name for job in folder.jobs] == ["a", "b", "c"]
    folder.write(folder.todo[0], {"c.png": b"mask of c"})
    assert names(opened(photos, out)) == []
    folder.finish({})
    assert not (out / UNFINISHED).exists()
    with pytest.raises(
        InputError, match=r"a\.png exists: choose another --out, or replace it with --overwrite"
    ):
        opened(photos, out)
    assert names(opened(photos, out, overwrite=True)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "other",
    [{"verb": "label"}, {"weights_sha256": "v"}, {"options": {"scales": (64,), "model": Path("run")}}],
)
def test_another_call_does_not_go_on(photos: Path, tmp_path: Path, other: dict[str, Any]) -> None:
    unfinished(photos, tmp_path / "out")
    with pytest.raises(InputError, match=r"a\.png exists"):
        opened(photos, tmp_path / "out", **other)
    assert names(opened(photos, tmp_path / "out", overwrite=True, **other)) == ["a", "b", "c"]
    assert names(opened(photos, tmp_path / "out")) == ["c"]  # nothing was written yet


def test_other_versions_do_not_go_on(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished(photos, tmp_path / "out")
    monkeypatch.setattr("getam.outputs.folder.environment", lambda: {"versions": {"getam": "9"}})
    with pytest.raises(InputError, match=r"a\.png exists"):
        opened(photos, tmp_path / "out")


def test_the_list_of_another_call_is_replaced(photos: Path, tmp_path: Path) -> None:
    unfinished(photos, tmp_path / "out")
    folder = opened(photos, tmp_path / "out", overwrite=True, weights_sha256="v")
    folder.write(folder.todo[0], {"a.png": b"other"})
    assert names(opened(photos, tmp_path / "out", weights_sha256="v", overwrite=True)) == ["b", "c"]
    with pytest.raises(InputError, match="exists"):
        opened(photos, tmp_path / "out")


def test_a_replaced_photo_and_other_tags_are_done_again(photos: Path, tmp_path: Path) -> None:
    unfinished(photos, tmp_path / "out")
    (photos / "a.png").write_bytes(b"other pixels")
    assert names(opened(photos, tmp_path / "out")) == ["a", "c"]
    assert names(opened(photos, tmp_path / "out", facts="cat")) == ["a", "b", "c"]


def test_a_result_that_was_removed_is_made_again_and_a_corrected_one_is_in_the_way(
    photos: Path, tmp_path: Path
) -> None:
    unfinished(photos, tmp_path / "out")
    (tmp_path / "out" / "a.png").unlink()
    assert names(opened(photos, tmp_path / "out")) == ["a", "c"]
    (tmp_path / "out" / "b.png").write_bytes(b"corrected by hand")
    with pytest.raises(InputError, match=r"b\.png exists"):
        opened(photos, tmp_path / "out")


def test_results_of_which_some_were_not_written_are_ours(photos: Path, tmp_path: Path) -> None:
    job = Job("a", ("a.npz", "a.cat.png"), (photos / "a.png",))
    with OutputFolder(tmp_path / "out", [job], CALL, overwrite=False) as folder:
        folder.write(job, {"a.cat.png": b"picture", "a.npz": b"maps"})
    (tmp_path / "out" / "a.npz").unlink()  # as a kill between the two leaves it
    with OutputFolder(tmp_path / "out", [job], CALL, overwrite=False) as again:
        assert again.todo == (job,)


def test_a_list_cut_off_by_a_power_cut_counts_up_to_there(photos: Path, tmp_path: Path) -> None:
    unfinished(photos, tmp_path / "out")
    listed = tmp_path / "out" / UNFINISHED
    listed.write_bytes(listed.read_bytes()[:-20])
    (tmp_path / "out" / "b.png").unlink()
    folder = opened(photos, tmp_path / "out")
    assert names(folder) == ["b", "c"]
    for job in folder.todo:
        folder.write(job, {job.results[0]: b"mask"})
    assert names(opened(photos, tmp_path / "out")) == []
    listed.write_bytes(b"[1, 2]\n\0\xff")
    with pytest.raises(InputError, match=r"a\.png exists"):
        opened(photos, tmp_path / "out")


# Inputs


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("out", ["photos", "link", "photos/../photos"])
def test_no_photo_is_written_over(photos: Path, tmp_path: Path, out: str, overwrite: bool) -> None:
    os.symlink(photos, tmp_path / "link")
    with pytest.raises(
        InputError, match=r"a\.png is read here and would be written over: choose another --out"
    ):
        opened(photos, tmp_path / out, overwrite=overwrite)
    assert (photos / "a.png").read_bytes() == b"pixels of a"


def test_nor_by_a_result_whose_name_was_not_known_beforehand(photos: Path) -> None:
    job = Job("a", ("a.npz",), (photos / "a.png",))
    with (
        OutputFolder(photos, [job], CALL, overwrite=True) as folder,
        pytest.raises(InputError, match=r"a\.png is read here"),
    ):
        folder.write(job, {"a.npz": b"maps", "a.png": b"picture"})
    assert (photos / "a.png").read_bytes() == b"pixels of a"
    assert not (photos / "a.npz").exists()


def test_nor_another_file_that_is_read(photos: Path, tmp_path: Path) -> None:
    saliency = tmp_path / "saliency"
    saliency.mkdir()
    (saliency / "a.png").write_bytes(b"saliency")
    job = Job("a", ("a.png",), (photos / "a.png", saliency / "a.png"))
    with pytest.raises(InputError, match="is read here"):
        OutputFolder(saliency, [job], CALL, overwrite=True)


# The end


def test_the_protocol_says_what_was_done(photos: Path, tmp_path: Path) -> None:
    folder = opened(photos, tmp_path / "out")
    folder.finish({}, split="val")
    (record,) = [json.loads(line) for line in (tmp_path / "out" / "protocol.jsonl").read_text().splitlines()]
    assert record["verb"] == "predict"
    assert (record["photos"], record["split"], record["weights_sha256"]) == (3, "val", "w")
    assert record["options"] == {"scales": [32], "model": "run"}
    assert "skipped" not in record
    assert record["environment"]["versions"]["getam"]
    assert record["finished"].endswith("+00:00")
    opened(photos, tmp_path / "out").finish({})
    assert len((tmp_path / "out" / "protocol.jsonl").read_text().splitlines()) == 2


def test_what_a_killed_process_left_half_written_goes_at_the_end(photos: Path, tmp_path: Path) -> None:
    job = Job("farm/a", ("farm/a.png",), (photos / "a.png",))
    with OutputFolder(tmp_path / "out", [job], CALL, overwrite=False) as folder:
        folder.write(job, {"farm/a.png": b"mask"})
        for left in (tmp_path / "out" / ".5e.partial", tmp_path / "out" / "farm" / ".5e.partial"):
            left.write_bytes(b"half")
        folder.finish({})
    kept = {file.name for file in (tmp_path / "out").rglob("*") if file.is_file() and file.name != LOCK}
    assert kept == {"a.png", "protocol.jsonl"}


def test_skipped_photos_are_named_and_tried_again(photos: Path, tmp_path: Path) -> None:
    unfinished(photos, tmp_path / "out")
    message = r"1 of 3 photos were left out \(all are named in .*protocol\.jsonl.*\): photo c is broken"
    with pytest.raises(SkippedError, match=message):
        opened(photos, tmp_path / "out").finish({"c": InputError("photo c is broken")})
    record = json.loads((tmp_path / "out" / "protocol.jsonl").read_text())
    assert (record["photos"], record["skipped"]) == (2, ["c"])
    assert names(opened(photos, tmp_path / "out")) == ["c"]
