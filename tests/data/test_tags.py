"""tags.csv: what is accepted, and the sentence for everything that is not."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.data.formats.registry import read_tags
from getam.data.masks import read_classes, write_classes
from getam.data.tags import TagRow, suggest, synonyms
from getam.errors import InputError


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "tags.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_rows_and_sorted_classes(tmp_path: Path) -> None:
    table = read_tags(write(tmp_path, "image,tags\nb.jpg,dog;cat\na.jpg,\n"))
    assert table.classes == ("cat", "dog")
    assert table.rows == (TagRow("b.jpg", ("cat", "dog"), 2), TagRow("a.jpg", (), 3))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfimage,tags\na.jpg,cat\n",
        b"image,tags\r\na.jpg,cat\r\n",
        b"image,tags\ra.jpg,cat\r",
        b'"image","tags"\n"a.jpg","cat"',
        b"tags,image\ncat,a.jpg\n",
        b"Image , Tags\n a.jpg , cat ; cat;;\n",
        b"image,size,tags\na.jpg,12,cat\n",
        b"\nimage,tags\n\na.jpg,cat\n   \n",
        b"image,tags\n.\\a.jpg,cat\n",
    ],
)
def test_the_same_table_in_many_spellings(tmp_path: Path, content: bytes) -> None:
    table = read_tags(write(tmp_path, content))
    assert table.classes == ("cat",)
    assert [(row.image, row.tags) for row in table.rows] == [("a.jpg", ("cat",))]


def test_quoted_names_and_unicode(tmp_path: Path) -> None:
    table = read_tags(write(tmp_path, 'image,tags\n"a, ""b"".jpg",Kühe;traffic light\n'))
    assert table.rows[0].image == 'a, "b".jpg'
    assert table.classes == ("Kühe", "traffic light")


def test_subset_keeps_other_tags_apart(tmp_path: Path) -> None:
    path = write(tmp_path, "image,tags\na.jpg,sofa;dog;cat;bird\nb.jpg,bird\n")
    table = read_tags(path, classes=("dog", "cat"))
    assert table.classes == ("dog", "cat")
    assert table.rows[0].tags == ("dog", "cat")
    assert table.rows[0].others == ("bird", "sofa")
    assert table.rows[1].tags == ()


def test_line_numbers_survive_quoted_line_breaks_in_other_columns(tmp_path: Path) -> None:
    path = write(tmp_path, 'image,tags,note\na.jpg,cat,"two\nlines"\nb.jpg,cat\n')
    with pytest.raises(InputError, match=r"tags\.csv, line 4: 2 columns where the header has 3"):
        read_tags(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"tags\.csv is empty.*image,tags"),
        (b" \n\n", r"tags\.csv is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", r"line 3: a binary file"),
        (b"image,tags\na\0,cat\nb\0,dog\n", r"line 2: a binary file"),
        (b"\xff\xd8\xff\xe0abc", r"line 1: byte 0xff is not UTF-8"),
        ("image,tags\na.jpg,cat\nb.jpg,Kühe\n".encode("latin-1"), r"line 3: byte 0xfc is not UTF-8"),
        ("image,tags\n".encode("utf-16") + b"a", r"broken UTF-16.*UTF-8"),
        (b"PK\x03\x04..", r"zip archive or an Excel workbook: unpack it, or save the sheet as CSV"),
        (b"a.jpg,cat\nb.jpg,dog\n", r"line 1: the header 'a\.jpg,cat' has no column 'image'"),
        (b"image,notes\na.jpg,cat\n", r"line 1: .*no column 'tags'"),
        (b"photo of;tags\na.jpg;cat\n", r"line 1: .*separate columns by commas"),
        (b"image,tags,tags\na.jpg,cat,dog\n", r"line 1: .*more than one column 'tags'"),
        (b"image,tags\n", r"a header and no rows"),
        (
            b"image,tags\na.jpg,cat\nb.jpg,cat,dog\n",
            r"line 3: 3 columns where the header has 2; join .* by ';'",
        ),
        (b"image,tags\na.jpg\n", r"line 2: 1 columns"),
        (b"image,tags\na.jpg,cat\nb.jpg,cat\na.jpg,dog\n", r"line 4: a\.jpg is already on line 2"),
        (b"image,tags\na.jpg,cat\n./a.jpg,dog\n", r"line 3: a\.jpg is already on line 2"),
        (b"image,tags\n,cat\n", r"line 2: the image cell is empty"),
        (b"image,tags\na.jpg,cat;background\n", r"line 2: the tag 'background' is reserved"),
        (b"image,tags\na.jpg,Background\n", r"line 2: the tag 'Background' is reserved"),
        (b'image,tags\na.jpg,"cat\ndog"\n', r"line 2: the tag 'cat\\ndog' contains a line break"),
        (b"image,tags\na.jpg,\n", r"1 rows and no tag"),
        (b'image,tags\na.jpg,"cat\n', r"line 2: not valid CSV"),
    ],
)
def test_bad_files_get_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=message) as caught:
        read_tags(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "end"),
    [
        ("picture no;tags", "it must be 'image,tags'; separate columns by commas, tags by semicolons."),
        ("image,note", "it must be 'image,tags'."), ("image,tags,tags", "more than one column 'tags'; it must be"),
        ("x" * 81, "the header '" + "x" * 80 + "…' has no column 'image'"),
        ("x" * 80, "the header '" + "x" * 80 + "' has"),
    ],
)  # fmt: skip
def test_a_wrong_header_is_shown_with_a_hint(tmp_path: Path, header: str, end: str) -> None:
    with pytest.raises(InputError) as caught:
        read_tags(write(tmp_path, f"{header}\na.jpg,cat\n"))
    assert end in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv does not exist"):
        read_tags(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is a folder"):
        read_tags(tmp_path)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("hrose",), r"no row of .*tags\.csv is tagged 'hrose'; did you mean 'horse'\? Known: cat, horse"),
        (("zebra",), r"tagged 'zebra'; known: cat, horse"),
        (("cat", "cat"), "names 'cat' twice"),
        (("background", "cat"), "always label 0"),
        ((), "is empty"),
    ],
)
def test_bad_class_lists(tmp_path: Path, classes: tuple[str, ...], message: str) -> None:
    path = write(tmp_path, "image,tags\na.jpg,cat;horse\n")
    with pytest.raises(InputError, match=message):
        read_tags(path, classes)


def test_as_many_classes_as_16_bits_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def names(count: int) -> str:
        return "image,tags\n" + "".join(f"{n}.jpg,class{n}\n" for n in range(count))

    assert len(read_tags(write(tmp_path, names(1000))).classes) == 1000
    monkeypatch.setattr("getam.data.formats.classes.MAX_CLASSES", 254)
    assert len(read_tags(write(tmp_path, names(254))).classes) == 254
    with pytest.raises(InputError, match=r"255 classes.*room for 254"):
        read_tags(write(tmp_path, names(255)))
    assert read_tags(tmp_path / "tags.csv", classes=("class7",)).classes == ("class7",)


plain = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1).filter(
    lambda text: text.strip() and text.isprintable()
)
tag_names = plain.filter(lambda text: ";" not in text and text.strip().casefold() != "background").map(
    str.strip
)
image_names = plain.map(lambda text: text.replace("\\", "_").strip()).filter(
    lambda text: not text.startswith("./")
)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.dictionaries(image_names, st.lists(tag_names, unique=True, max_size=4), min_size=1, max_size=8)
)
def test_what_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, list[str]]
) -> None:
    known = {tag for tags in rows.values() for tag in tags}
    if not known or len({tag.casefold() for tag in known}) < len(known):
        return
    path = tmp_path_factory.mktemp("csv") / "tags.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "tags"])
        writer.writerows([image, ";".join(tags)] for image, tags in rows.items())
    table = read_tags(path)
    assert table.classes == tuple(sorted(known))
    assert {row.image: set(row.tags) for row in table.rows} == {
        image: set(tags) for image, tags in rows.items()
    }


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_cleanly(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "tags.csv"
    path.write_bytes(b"image,tags\n" + content)
    try:
        outcome = f"{path}" if read_tags(path).classes else "a table without classes"
    except InputError as error:
        outcome = str(error)
    assert "tags.csv" in outcome


# Letters


@pytest.mark.parametrize(
    "tag",
    [
        "👨\u200d👩\u200d👧",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "❤️",
        "می\u200cخواهم",
    ],
)
def test_joined_letters_and_emoji_are_tags_and_classes(tmp_path: Path, tag: str) -> None:
    table = read_tags(write(tmp_path, f"image,tags\na.jpg,{tag}\n"))
    assert table.classes == (tag,)
    write_classes(tmp_path, table.classes)
    assert read_classes(tmp_path) == (tag,)


def test_a_space_that_does_not_break_is_a_space(tmp_path: Path) -> None:
    path = write(tmp_path, "image,tags\na.jpg,polar\u00a0bear;\u00a0cat\u2003\nb\u00a0c.jpg,polar bear\n")
    table = read_tags(path)
    assert table.classes == ("cat", "polar bear")
    assert [row.tags for row in table.rows] == [("cat", "polar bear"), ("polar bear",)]
    assert table.rows[1].image == "b\u00a0c.jpg"  # files are called what they are called
    (tmp_path / "classes.txt").write_text("background\npolar\u00a0bear\n", encoding="utf-8")
    assert read_classes(tmp_path) == ("polar bear",)


@pytest.mark.parametrize("letter", ["\u200b", "\u202e", "\x07", "\u2028", "\ufeff", "\ue000"])
def test_other_letters_that_cannot_be_seen_are_refused(tmp_path: Path, letter: str) -> None:
    with pytest.raises(
        InputError, match=r"line 2: the tag .* contains a line break or an invisible character"
    ):
        read_tags(write(tmp_path, f"image,tags\na.jpg,ca{letter}t\n"))


def test_suggestions_name_the_closest_and_at_most_thirty() -> None:
    known = [f"class {number}" for number in range(31)]
    assert suggest("clas 7", known).startswith("did you mean 'class 7'? Known: class 0, class 1, ")
    assert suggest("zzz", known).endswith("class 29 and 1 more")
    assert suggest("zzz", known[:30]).endswith("class 28, class 29")
    assert suggest("zzz", []) == "known: none"


# Words


def test_a_column_of_words_gives_tags_with_synonyms(tmp_path: Path) -> None:
    table = write(tmp_path, "image,words\na.jpg,a cat | a kitten;road\nb.jpg,road\nc.jpg,\n")
    found = read_tags(table)
    assert found.classes == ("a cat", "road")
    assert [row.tags for row in found.rows] == [("a cat", "road"), ("road",), ()]
    assert found.synonyms == {"a cat": ("a cat", "a kitten"), "road": ("road",)}
    assert read_tags(table, ["road"]).synonyms == {"road": ("road",)}
    assert read_tags(table, ["road"]).rows[0].others == ("a cat",)


def test_synonyms_are_known_in_a_column_of_words_only(tmp_path: Path) -> None:
    for header in ("image,tags", "image,tags,words"):
        cells = "a|b" + (",c" if "words" in header else "")
        found = read_tags(write(tmp_path, f"{header}\nx.jpg,{cells}\n"))
        assert (found.classes, found.synonyms) == (("a|b",), {})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "a.jpg,cat|kitten\nb.jpg,cat\n",
            r"line 3: 'cat' and an earlier 'cat\|kitten' are one class with two lists",
        ),
        ("a.jpg,cat\nb.jpg,dog;cat|\n", r"line 3: the word 'cat\|' is empty, or one of its synonyms is"),
    ],
)
def test_words_that_cannot_be_meant_are_refused_with_their_line(
    tmp_path: Path, rows: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_tags(write(tmp_path, f"image,words\n{rows}"))


@pytest.mark.parametrize("word", ["", "cat|", "|"])
def test_an_empty_synonym_is_refused(word: str) -> None:
    with pytest.raises(InputError, match="is empty, or one of its synonyms is"):
        synonyms(word)
