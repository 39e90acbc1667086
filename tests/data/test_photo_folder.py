"""Which photos a folder holds: links, hidden files, results of earlier calls."""

import os
from pathlib import Path

import pytest
from PIL import Image

from getam.data.photo_folder import conversion, find_files, find_photos, left_out, photo_names, unread_photos
from getam.errors import InputError


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


def relative(files: list[Path], folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in files]


def test_find_photos_searches_folders_whatever_the_case(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "deep/er/c.TiFf", "notes.txt", ".hidden.jpg", ".cache/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_photos(tmp_path)]
    assert found == ["a.png", "b.JPG", "deep/er/c.TiFf"]
    assert find_photos(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]


def test_find_photos_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere does not exist"):
        find_photos(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no photo.*\.jpg"):
        find_photos(tmp_path)


def test_linked_folders_are_searched_once_and_by_their_own_name(tmp_path: Path) -> None:
    photos, outside = tmp_path / "photos", tmp_path / "outside"
    touch(photos / "a.jpg", photos / "deep" / "b.jpg", outside / "c.jpg", outside / "deeper" / "d.jpg")
    os.symlink(outside, photos / "link")
    os.symlink(photos / "deep", photos / "again")  # before "deep" in the alphabet
    os.symlink(photos, outside / "back")  # a circle
    os.symlink("itself", photos / "itself")
    os.symlink(tmp_path / "gone", photos / "broken")
    assert relative(find_photos(photos), photos) == ["a.jpg", "deep/b.jpg", "link/c.jpg", "link/deeper/d.jpg"]
    os.symlink(photos, tmp_path / "root")
    assert len(find_photos(tmp_path / "root")) == 4


def test_linked_photos_are_photos(tmp_path: Path) -> None:
    touch(tmp_path / "photos" / "a.jpg")
    os.symlink(tmp_path / "photos" / "a.jpg", tmp_path / "photos" / "b.jpg")
    assert relative(find_photos(tmp_path / "photos"), tmp_path / "photos") == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("out", ["photos/masks", "link/masks", "photos/deep/../masks"])
def test_a_folder_inside_can_be_left_out(tmp_path: Path, out: str) -> None:
    photos = tmp_path / "photos"
    touch(photos / "a.jpg", photos / "masks" / "a.png", photos / "deep" / "masks" / "b.jpg")
    os.symlink(photos, tmp_path / "link")
    assert relative(find_photos(photos, leave_out=tmp_path / out), photos) == ["a.jpg", "deep/masks/b.jpg"]
    assert len(find_photos(photos)) == 3
    assert len(find_photos(photos, leave_out=photos)) == 3  # the photos' own folder is not inside
    assert len(find_photos(photos, leave_out=tmp_path)) == 3


def test_hidden_files_and_folders_and_other_suffixes_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "a.PNG", tmp_path / ".b.png", tmp_path / ".trash" / "c.png", tmp_path / "d.txt")
    (tmp_path / "folder.png").mkdir()
    assert relative(find_files(tmp_path, (".png",)), tmp_path) == ["a.PNG"]
    assert find_files(tmp_path, (".gif",)) == []


def test_results_in_a_subfolder_are_no_photos_unless_they_are_asked_for(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name in ("a.png", "masks/a.png", "masks/deep/b.png", "other/c.png"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(photos / name)
    assert len(find_photos(photos)) == 4
    (photos / "masks" / "protocol.jsonl").write_text("{}\n")
    assert relative(find_photos(photos), photos) == ["a.png", "other/c.png"]
    assert len(find_photos(photos / "masks")) == 2
    (photos / "protocol.jsonl").write_text("{}\n")
    assert len(find_photos(photos)) == 2


def test_photos_that_nothing_reads_are_named(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    touch(photos / "b.jpg", photos / "notes.txt")
    assert left_out(unread_photos(photos)) == []
    touch(photos / "deep" / "c.NEF", photos / ".d.nef", photos / "masks" / "d.nef", photos / "out" / "e.nef")
    touch(photos / "masks" / "protocol.jsonl")
    unread = unread_photos(photos, leave_out=photos / "out")
    assert relative(unread, photos) == ["deep/c.NEF"]
    (line,) = left_out(unread)
    assert line == f"1 photo is left out, as nothing here reads .nef ({unread[0]}): convert to JPEG or PNG"
    touch(photos / "a.dcm")
    assert left_out(unread_photos(photos))[0].startswith(
        f"3 photos are left out, as nothing here reads .dcm, .nef ({photos / 'a.dcm'}): "
    )
    assert unread_photos(photos / "a.dcm") == []
    (photos / "b.jpg").unlink()
    with pytest.raises(InputError, match=r"holds no photo: .*\.jpg.*; 3 photos are left out"):
        find_photos(photos)


def test_for_photos_of_phones_there_is_another_way() -> None:
    assert conversion(".nef") == "convert to JPEG or PNG"
    assert conversion(".nef", ".heic") == "convert to JPEG or PNG, or for HEIC pip install pi-heif"


def test_a_link_after_its_folder_in_the_alphabet_is_passed_over_too(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "deep" / "a.jpg")
    os.symlink(tmp_path / "deep", tmp_path / "zebra")
    assert relative(find_photos(tmp_path), tmp_path) == ["deep/a.jpg"]


def test_names_are_paths_in_the_folder_without_suffix(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    files = [folder / "a.b.jpg", folder / "deep" / "c.PNG"]
    assert photo_names(files, folder) == ["a.b", "deep/c"]
    assert photo_names([folder / "a.b.jpg"], folder / "a.b.jpg") == ["a.b"]
