"""Files inside tars: the bytes that another library puts in, wherever they lie; what is no plain tar is refused."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from braceexpand import braceexpand
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from webdataset import TarWriter

from getam.data import tars
from getam.data.fingerprint import file_hash
from getam.data.photo_folder import PHOTO_SUFFIXES, find_photos, path_in, photo_root
from getam.data.photos import read_photo, read_photo_near, suffix_of
from getam.errors import InputError


def photo(red: int, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 12), (red, 100, 50)).save(file, kind)
    return file.getvalue()


def tar_of(path: Path, *files: tuple[str, bytes], **options: object) -> Path:
    """As Python writes it."""
    with tarfile.open(path, "w", **options) as tar:  # type: ignore[call-overload]
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """As webdataset writes it."""
    path = tmp_path / "photos-000000.tar"
    with TarWriter(str(path)) as writer:
        for number in range(3):
            writer.write(
                {"__key__": f"farm/{number}", "jpg": photo(60 * number), "cls": str(number).encode()}
            )
    return path


def test_every_file_is_what_was_put_in(shard: Path) -> None:
    with tarfile.open(shard) as oracle:
        inside = {m.name: oracle.extractfile(m).read() for m in oracle}  # type: ignore[union-attr]
    assert list(tars.contents(shard)) == list(inside)
    for name in (*reversed(inside), *inside):
        assert tars.open_file(shard / name).read() == inside[name]
        assert file_hash(shard / name) == hashlib.sha256(inside[name]).hexdigest()
        assert tars.is_file(shard / name)
        assert tars.on_disk(shard / name) == shard
    assert not tars.is_file(shard / "farm" / "9.jpg")
    assert not tars.is_file(shard / "farm")
    with pytest.raises(FileNotFoundError):
        tars.open_file(shard / "farm" / "9.jpg")


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-zé]{1,150}(/[a-z]{1,9})?\.[a-z]{1,4}", fullmatch=True), st.binary(max_size=1500)
    ),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_whatever_the_dialect(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], form: int
) -> None:
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    try:
        tar_of(path, *files.items(), format=form)
    except ValueError:  # a name too long for the oldest
        return
    assert {name: tars.open_file(path / name).read() for name in tars.contents(path)} == files


def test_photos_inside_are_photos(shard: Path) -> None:
    found = find_photos(shard)
    assert found == [shard / "farm" / f"{number}.jpg" for number in range(3)]
    assert [path_in(photo_root(shard), file) for file in found] == [
        f"photos-000000/farm/{n}.jpg" for n in range(3)
    ]
    for number, file in enumerate(found):
        with Image.open(io.BytesIO(photo(60 * number))) as expected:
            assert read_photo(file).tobytes() == expected.convert("RGB").tobytes()
        assert read_photo_near(file, 4)[1] == (12, 16)
        assert suffix_of(file) == ".jpg"
    with pytest.raises(InputError, match=r"photos-000000\.tar/farm/9\.jpg does not exist"):
        read_photo(shard / "farm" / "9.jpg")


def test_bad_photos_inside_are_named(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", ("no.jpg", b"no photo"), ("none.jpg", b""))
    with pytest.raises(InputError, match=r"a\.tar/no\.jpg cannot be read \(cannot identify image file\)"):
        read_photo(path / "no.jpg")
    with pytest.raises(InputError, match=r"a\.tar/none\.jpg is empty \(0 bytes\)"):
        read_photo(path / "none.jpg")


def test_a_tar_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", ("a.txt", b"first"))
    assert tars.open_file(path / "a.txt").read() == b"first"
    tar_of(path, ("b.txt", b"x" * 600), ("a.txt", b"second"))
    os.utime(path, ns=(time.time_ns(), time.time_ns() + 10**9))
    assert tars.open_file(path / "a.txt").read() == b"second"


def test_a_folder_that_is_called_like_a_tar_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.tar").mkdir()
    (tmp_path / "a.tar" / "a.jpg").write_bytes(photo(9))
    assert find_photos(tmp_path / "a.tar") == [tmp_path / "a.tar" / "a.jpg"]
    assert read_photo(tmp_path / "a.tar" / "a.jpg").size == (16, 12)


# Keys


def test_keys_end_at_the_first_dot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tar_of(
        tmp_path / "a.tar", ("./a.JPG", b"1"), ("a.seg.png", b"2"), ("d.x/b.png", b"3"), ("c.left.jpg", b"4"),
        (".hidden.jpg", b"5"), ("README", b"6"), ("e.txt", b"7"),
    )  # fmt: skip
    assert tars.samples(path) == {
        "a": {"jpg": "a.JPG", "seg.png": "a.seg.png"}, "d.x/b": {"png": "d.x/b.png"}, "c": {"left.jpg": "c.left.jpg"},
        "e": {"txt": "e.txt"},
    }  # fmt: skip
    assert tars.photos(path, PHOTO_SUFFIXES) == {"a": "a.JPG", "d.x/b": "d.x/b.png"}
    assert "1 files such as c.left.jpg are left out: a photo has one dot in its name" in caplog.text


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("a.jpg", "a.png"), r"two photos called a, a\.jpg and a\.png: keep one"),
        (("a.jpg", "a.JPG"), r"has both a\.jpg and a\.JPG: keep one"),
        (("a.jpg", "a.jpg"), r"has a\.jpg twice"),
        (("../a.jpg",), r"\.\./a\.jpg leads out of it"),
        (("/a.jpg",), r"/a\.jpg leads out of it"),
        (("b/../../a.jpg",), "leads out of it"),
        (("a.txt",), "holds no photo"),
        ((), "holds no photo"),
    ],
)
def test_what_is_ambiguous_or_leads_out_is_refused(tmp_path: Path, files: tuple[str, ...], said: str) -> None:
    path = tar_of(tmp_path / "a.tar", *((name, b"x") for name in files))
    with pytest.raises(InputError, match=said):
        find_photos(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_are_refused_and_folders_are_none(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        folder = tarfile.TarInfo("farm")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        tar.addfile(folder)
    assert dict(tars.contents(path)) == {}
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("farm/a.jpg")
        link.type, link.linkname = kind, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(InputError, match=r"farm/a\.jpg is a link or no plain file: .*--dereference"):
        find_photos(path)


# Damage


@pytest.mark.parametrize(
    ("pack", "called"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")]
)
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_compressed_tars_are_refused(
    shard: Path, pack: Callable[[bytes], bytes], called: str, name: str
) -> None:
    path = shard.with_name(name)
    path.write_bytes(pack(shard.read_bytes()))
    with pytest.raises(InputError, match=rf"is compressed \({called}\).*unpack it to a plain tar"):
        find_photos(path)


def test_a_tar_cut_anywhere_loses_nothing_silently(tmp_path: Path) -> None:
    whole = tar_of(tmp_path / "whole.tar", ("a.jpg", b"a" * 700), ("b.jpg", b"b" * 300)).read_bytes()
    cut = tmp_path / "cut.tar"
    end = 512 + 1024 + 512 + 512
    for size in (*range(0, end + 512, 128), end + 511):
        cut.write_bytes(whole[:size])
        with pytest.raises(InputError, match="is no tar, or it is damaged"):
            tars.contents(cut)
    for size in (end + 512, end + 513, len(whole)):  # in the blocks after the end
        cut.write_bytes(whole[:size])
        assert list(tars.contents(cut)) == ["a.jpg", "b.jpg"]


def test_joined_tars_are_refused(shard: Path) -> None:
    shard.write_bytes(2 * shard.read_bytes())
    with pytest.raises(InputError, match="something follows its end, as where several tars were joined"):
        tars.contents(shard)


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", ("a.jpg", b"a"), ("b.jpg", b"b"), ("c.jpg", b"c"))
    content = bytearray(path.read_bytes())
    content[1024 + 150] ^= 1  # in the second one's checksum
    path.write_bytes(content)
    with tarfile.open(path) as careless:
        assert careless.getnames() == ["a.jpg"]
    with pytest.raises(InputError, match=r"damaged \(at byte 1024 there is neither a file nor its end\)"):
        tars.contents(path)


# Patterns


@given(st.lists(st.one_of(
    st.sampled_from(["a", "-", "0", "{x,y}", "{,z}"]),
    st.tuples(st.integers(0, 120), st.integers(0, 120), st.integers(1, 4)).map(
        lambda t: f"{{{t[0]:0{t[2]}d}..{t[1]:0{t[2]}d}}}"
    ),
), max_size=2))  # fmt: skip
def test_braces_mean_what_the_shell_and_webdataset_mean(parts: list[str]) -> None:
    assert tars.expanded("".join(parts)) == list(braceexpand("".join(parts)))


def test_several_tars_come_in_order(tmp_path: Path) -> None:
    for place in ("train", "val"):
        (tmp_path / place).mkdir()
        for number in (8, 9, 10):
            tar_of(tmp_path / place / f"p-{number:02}.tar", (f"{place}{number}.jpg", photo(number)))

    def names(pattern: str) -> list[str]:
        given = tmp_path / pattern
        return [path_in(photo_root(given), file) for file in find_photos(given)]

    assert names("train/p-{08..10}.tar") == ["p-08/train8.jpg", "p-09/train9.jpg", "p-10/train10.jpg"]
    assert names("train/p-*.tar") == names("train/p-{08..10}.tar")
    assert names("{val,train}/p-?0.tar") == ["val/p-10/val10.jpg", "train/p-10/train10.jpg"]
    assert names("*/p-{08,08}.tar") == ["train/p-08/train8.jpg", "val/p-08/val8.jpg"]
    for missing in ("train/p-{08..11}.tar", "train/q-*.tar", "train/q.tar"):
        with pytest.raises(
            InputError, match=r"does not exist: give a tar of photos, or several as .*in quotes"
        ):
            find_photos(tmp_path / missing)


def test_a_tar_with_braces_in_its_name_is_itself(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "p-{1..2}.tar", ("a.jpg", b"x"))
    assert find_photos(path) == [path / "a.jpg"]
    assert photo_root(path) == tmp_path
