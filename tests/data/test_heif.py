"""HEIC is read by what is installed for it, whichever of two that is, and named where there is none."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock

import pytest
from PIL import Image

from getam.data.heif import READERS, register

PLUGIN = '''
from PIL import Image, PngImagePlugin


class HeifImageFile(PngImagePlugin.PngImageFile):
    """Reads PNGs that begin as HEIC does: what a real decoder makes of real files is its own tests' concern."""

    format = "HEIF"

    def _open(self):
        self.fp.seek(12)
        self.fp = __import__("io").BytesIO(self.fp.read())
        super()._open()


def register_heif_opener():
    Image.register_open("HEIF", HeifImageFile, lambda prefix: prefix[4:8] == b"ftyp")
'''
READ = """
import sys
from pathlib import Path
from getam.data.photo_folder import find_photos, unread_photos
from getam.data.photos import read_photo
folder = Path(sys.argv[1])
print([file.name for file in find_photos(folder)], [file.name for file in unread_photos(folder)])
print(read_photo(folder / "b.heic").getpixel((0, 0)))
"""


@pytest.mark.parametrize(("missing", "asked"), [((), 0), ((0,), 1), ((0, 1), None)])
def test_the_first_that_is_installed_reads(
    missing: tuple[int, ...], asked: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    openers = [Mock(), Mock()]
    for number, name in enumerate(READERS):
        module = ModuleType(name)
        module.register_heif_opener = openers[number]  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, None if number in missing else module)  # type: ignore[arg-type]
    assert register() == (asked is not None)
    assert [opener.call_count for opener in openers] == [int(number == asked) for number in (0, 1)]


@pytest.mark.parametrize("reader", [None, *READERS])
def test_photos_of_phones_are_photos_where_they_can_be_read(reader: str | None, tmp_path: Path) -> None:
    photos, modules = tmp_path / "photos", tmp_path / "modules"
    photos.mkdir(), modules.mkdir()
    Image.new("RGB", (5, 4), (9, 8, 7)).save(photos / "a.png")
    (photos / "b.heic").write_bytes(b"\0\0\0\x0cftypheic" + (photos / "a.png").read_bytes())
    for name in READERS:  # those of this environment, if there are any, are hidden
        (modules / f"{name}.py").write_text(PLUGIN if name == reader else "raise ImportError")
    places = os.pathsep.join((str(modules), *filter(None, sys.path)))
    done = subprocess.run(
        [sys.executable, "-c", READ, str(photos)], env={**os.environ, "PYTHONPATH": places},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    if reader is None:
        assert done.stdout.splitlines()[0] == "['a.png'] ['b.heic']"
        assert (
            "b.heic cannot be read: nothing here reads .heic; convert to JPEG or PNG, or for HEIC pip"
            in done.stderr
        )
    else:
        assert done.stdout.splitlines() == ["['a.png', 'b.heic'] []", "(9, 8, 7)"], done.stderr
