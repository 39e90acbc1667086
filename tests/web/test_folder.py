"""The folder that is shown: what is in it, and that nothing else is."""

from pathlib import Path

import pytest
from PIL import Image

from getam.errors import InputError
from getam.web.folder import inside, open_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("photos/b.png", "photos/farm/a.jpg", "photos/c.png", "secret.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path / "photos"


def test_photos_are_named_by_their_path_in_it(folder: Path) -> None:
    opened = open_folder(folder)
    assert opened.names == ("b.png", "c.png", "farm/a.jpg")
    assert opened.file("farm/a.jpg") == folder.resolve() / "farm/a.jpg"
    assert opened.table is None
    assert opened.tags("b.png") is None


@pytest.mark.parametrize(
    "name",
    [
        "../secret.png",
        "farm/../../secret.png",
        "/etc/passwd",
        "secret.png",
        "",
        ".",
        "farm",
        "b.png\0",
        "B.PNG/..",
        "tags.csv",
    ],
)
def test_a_name_that_is_not_in_its_list_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="the folder has no photo"):
        open_folder(folder).file(name)


def test_absolute_and_full_paths_are_refused_though_the_file_lies_inside(folder: Path) -> None:
    with pytest.raises(InputError, match="the folder has no photo"):
        open_folder(folder).file(str(folder.resolve() / "b.png"))


def test_links_that_lead_out_are_left_out(folder: Path) -> None:
    (folder / "out.png").symlink_to(folder.parent / "secret.png")
    (folder / "within.png").symlink_to(folder / "b.png")
    assert open_folder(folder).names == ("b.png", "c.png", "farm/a.jpg", "within.png")


def test_a_file_that_becomes_a_link_is_refused(folder: Path) -> None:
    opened = open_folder(folder)
    (folder / "b.png").unlink()
    with pytest.raises(InputError, match=r"b\.png is no longer in .*choose another photo"):
        opened.file("b.png")
    (folder / "b.png").symlink_to(folder.parent / "secret.png")
    with pytest.raises(InputError, match=r"b\.png lies outside"):
        opened.file("b.png")
    with pytest.raises(InputError, match="lies outside"):
        inside(folder / "farm", folder / "c.png")


def test_tags_come_from_the_table_in_it_or_the_one_that_is_given(folder: Path) -> None:
    (folder / "tags.csv").write_text("image,tags\nb.png,cat;dog\nfarm/a,\n")
    opened = open_folder(folder)
    assert [opened.tags(name) for name in opened.names] == [("cat", "dog"), None, ()]
    assert opened.names_of_rows() == {"b.png": "b", "farm/a": "farm/a"}
    (folder.parent / "other.csv").write_text("image,tags\nc.png,cow\n")
    given = open_folder(folder, folder.parent / "other.csv")
    assert [given.tags(name) for name in given.names] == [None, ("cow",), None]


def test_a_table_that_names_a_photo_outside_is_refused(folder: Path) -> None:
    (folder / "tags.csv").write_text("image,tags\n../secret.png,cat\n")
    with pytest.raises(InputError, match=r"line 2: photo \.\./secret\.png lies outside"):
        open_folder(folder)


def test_what_is_no_folder_of_photos_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"give a folder of photos with --folder"):
        open_folder(folder / "b.png")
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="holds no photo"):
        open_folder(folder / "empty")
