"""CSV as people and programs write it: every dialect is the same table, and what cannot be read is one sentence."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from getam.data.formats.registry import read_tags
from getam.errors import InputError

BOX_CSV = """filename,width,height,class,xmin,ymin,xmax,ymax
a.jpg,500,375,cat,8,12,352,498
a.jpg,500,375,dog,1,1,20,20
b.jpg,500,375,cat,5,5,30,30
"""  # TensorFlow's object detection CSV, as Roboflow exports it
ROBOFLOW = """filename, cat, dog
a_jpg.rf.8c1f.jpg, 1, 0
b_jpg.rf.02aa.jpg, 1, 1
c_jpg.rf.77de.jpg, 0, 0
"""  # multi-label classification, _classes.csv
LABEL_STUDIO = """image,id,choice,annotator,annotation_id,created_at,updated_at,lead_time
/x/a.jpg,1,cat,1,1,2024-05-01T10:00:00Z,2024-05-01T10:00:00Z,2.9
/x/b.jpg,2,"{""choices"": [""cat"", ""dog""]}",1,2,2024-05-01T10:00:00Z,2024-05-01T10:00:00Z,4.4
"""


def write(folder: Path, content: str | bytes, name: str = "tags.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def tags_of(path: Path) -> dict[str, tuple[str, ...]]:
    return {row.image: row.tags for row in read_tags(path).rows}


@pytest.mark.parametrize(
    "content",
    [
        "image;tags\na.jpg;cat,dog\nb.jpg;\n",
        'image;tags\r\na.jpg;"cat;dog"\r\nb.jpg;\r\n',
        "\ufeffimage;tags\na.jpg;cat|dog\nb.jpg;\n",
        "sep=;\nimage;tags\na.jpg;dog,cat\nb.jpg;\n",
        "image\ttags\na.jpg\tcat;dog\nb.jpg\t\n",
        "image\ttags\r\na.jpg\tcat,dog\r\nb.jpg\t\r\n".encode("utf-16"),
        "filename,label\na.jpg,cat;dog\nb.jpg,\n",
        "filename,label\na.jpg,cat\na.jpg,dog\nb.jpg,\n",
        'file,labels\na.jpg,"cat, dog"\nb.jpg,\n',
        "photo,classes\na.jpg,\"['cat', 'dog']\"\nb.jpg,[]\n",
        'photo,classes\na.jpg,"[""cat"", ""dog""]"\nb.jpg,[]\n',
        "Filename;Class;Notes\na.jpg;dog,cat;blurred\nb.jpg;;\n",
        "image;tags\n;\na.jpg;cat,dog;\nb.jpg;;;\n",
    ],
)
def test_the_same_table_in_many_dialects(tmp_path: Path, content: str | bytes) -> None:
    assert tags_of(write(tmp_path, content)) == {"a.jpg": ("cat", "dog"), "b.jpg": ()}


def test_exports_of_programs(tmp_path: Path) -> None:
    assert tags_of(write(tmp_path, BOX_CSV)) == {"a.jpg": ("cat", "dog"), "b.jpg": ("cat",)}
    assert tags_of(write(tmp_path, LABEL_STUDIO)) == {"/x/a.jpg": ("cat",), "/x/b.jpg": ("cat", "dog")}
    table = read_tags(write(tmp_path, ROBOFLOW, "_classes.csv"))
    assert [row.tags for row in table.rows] == [("cat",), ("cat", "dog"), ()]
    assert table.notes == ("_classes.csv: CSV, one-hot, 3 photos, 2 classes",)


def test_what_was_recognised_is_said_but_for_getams_own(tmp_path: Path) -> None:
    assert read_tags(write(tmp_path, "image,tags\na.jpg,cat\n")).notes == ()
    assert read_tags(write(tmp_path, "image;tags\na.jpg;cat\n")).notes == (
        "tags.csv: CSV with semicolons, image and tags, 1 photo, 1 class",
    )
    utf16 = read_tags(write(tmp_path, "file\tlabel\na.jpg\tcat\nb.jpg\tdog\n".encode("utf-16")))
    assert utf16.notes == ("tags.csv: tab-separated values, UTF-16, file and label, 2 photos, 2 classes",)


def test_a_quoted_comma_stays_in_the_tag_of_getams_own(tmp_path: Path) -> None:
    assert tags_of(write(tmp_path, 'image,tags\na.jpg,"light, red"\n')) == {"a.jpg": ("light, red",)}


def test_a_column_of_what_nobody_looked_for(tmp_path: Path) -> None:
    table = read_tags(write(tmp_path, "file,label,unknown\na.jpg,cat,dog;cat\nb.jpg,dog,\nc.jpg,,yak\n"))
    assert [(row.tags, row.unknown) for row in table.rows] == [(("cat",), ("dog",)), (("dog",), ()), ((), ())]
    assert table.classes == ("cat", "dog")  # no photo has a yak
    assert table.notes[0].endswith("2 classes, not all of them looked for in 1")


@pytest.mark.parametrize("state", ["", "-1", "?", "unknown", "nan", "-1.0"])
def test_one_hot_unknown_is_not_absent(tmp_path: Path, state: str) -> None:
    table = read_tags(write(tmp_path, f"image,cat,dog\na.jpg,1,{state}\nb.jpg,0,1\n"))
    assert [(row.tags, row.unknown) for row in table.rows] == [(("cat",), ("dog",)), (("dog",), ())]


@pytest.mark.parametrize(
    ("yes", "no"), [("1", "0"), ("True", "False"), ("yes", "no"), ("x", "n"), ("1.0", "0.0")]
)
def test_one_hot_words(tmp_path: Path, yes: str, no: str) -> None:
    path = write(tmp_path, f"image;cat;dog\na.jpg;{yes};{no}\nb.jpg;{no};{yes}\n")
    assert tags_of(path) == {"a.jpg": ("cat",), "b.jpg": ("dog",)}
    assert not any(row.unknown for row in read_tags(path).rows)


def test_crosses_alone_leave_the_others_absent_and_say_so(tmp_path: Path) -> None:
    table = read_tags(write(tmp_path, "image;cat;dog\na.jpg;x;\nb.jpg;?;x\n"))
    assert [(row.tags, row.unknown) for row in table.rows] == [(("cat",), ()), (("dog",), ("cat",))]
    assert table.notes[0].endswith("an empty cell: not there")
    table = read_tags(write(tmp_path, "image;cat;dog\na.jpg;1;\nb.jpg;0;1\n"))
    assert table.notes[0].endswith("an empty cell: nobody looked")


def test_columns_that_are_no_classes_are_passed_over_and_named(tmp_path: Path) -> None:
    table = read_tags(write(tmp_path, "id,image,split,cat,weight\n0,a.jpg,1,1,3.5\n1,b.jpg,0,0,2.5\n"))
    assert table.classes == ("cat",)
    assert table.notes[0].endswith("; passed over: id, split, weight")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,cat\na.jpg,1\nb.jpg,0\nc.jpg,maybe\n", r"line 4: 'maybe' in column 'cat' is neither 1 nor 0"),
        ("image,cat,cat\na.jpg,1,0\n", r"line 1: two columns are called 'cat'"),
        ("image,cat,dog\na.jpg,1\n", r"line 2: 2 columns where the header has 3"),
        ("image,cat,dog\na.jpg,1,0\na.jpg,0,1\n", r"line 3: a\.jpg is already in line 2; list every photo once"),
        ("image;tags\na.jpg;cat;dog\n", r"line 2: 3 columns where the header has 2; put a cell that holds several"),
        ("image;tags\n", r"a header and no rows"),
        ("image,cat\n", r"a header and no rows"),
        ("image,notes\na.jpg,nice\nb.jpg,good\n", r"line 1: .*no column 'tags'"),
        ("image;tags\n;cat\n", r"line 2: the image cell is empty"),
        ("image;tags\na.jpg;Background\n", r"line 2: the tag 'Background' is reserved"),
        ("image,cat\na.jpg,0\n", r"1 rows and no tag"),
        ('image;tags\na.jpg;"cat\n', r"line 2: not valid CSV"),
    ],
)  # fmt: skip
def test_refusals(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=message) as caught:
        read_tags(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


names = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=6).filter(
    lambda text: text.casefold() not in ("background", "image", "tags")
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(names, max_size=3, unique=True), min_size=1, max_size=5),
    dialect=st.sampled_from([(",", ";"), (";", ","), (";", ";"), ("\t", ","), ("\t", ";")]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_any_dialect_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], dialect: tuple[str, str], quoting: int,
    encoding: str, end: str,
) -> None:  # fmt: skip
    known = {tag for tags in rows for tag in tags}
    if not known or len({tag.casefold() for tag in known}) < len(known):
        return
    delimiter, joiner = dialect
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerow(["image", "tags"])
    writer.writerows([f"{n}.jpg", joiner.join(tags)] for n, tags in enumerate(rows))
    path = tmp_path_factory.mktemp("csv") / "tags.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    assert {image: set(tags) for image, tags in tags_of(path).items()} == {
        f"{n}.jpg": set(tags) for n, tags in enumerate(rows)
    }


@settings(max_examples=60, deadline=None)
@given(
    states=st.lists(st.tuples(*[st.sampled_from(["1", "0", "-1"])] * 3), min_size=1, max_size=6),
    delimiter=st.sampled_from([",", ";", "\t"]),
)
def test_one_hot_states_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, states: list[tuple[str, str, str]], delimiter: str
) -> None:
    there = [name for name, column in zip("abc", zip(*states, strict=True), strict=True) if "1" in column]
    if not there:
        return
    lines = [["image", "a", "b", "c"], *([f"{n}.jpg", *row] for n, row in enumerate(states))]
    path = tmp_path_factory.mktemp("csv") / "tags.csv"
    path.write_text("\n".join(delimiter.join(line) for line in lines))
    for row, given_states in zip(read_tags(path).rows, states, strict=True):
        by_name = dict(zip("abc", given_states, strict=True))
        assert row.tags == tuple(name for name in there if by_name[name] == "1")
        assert row.unknown == tuple(name for name in there if by_name[name] == "-1")
