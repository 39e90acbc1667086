"""The report: one file that loads nothing, says everything in text too, and escapes what it is given."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from getam.errors import InputError
from getam.report.gallery import LARGE_SIDE, SMALL_SIDE, ReportRow, render, write_report
from getam.report.overlay import label_colours

NAMES = ["cat", "dog"]
NASTY = "<script>alert('x')</script> & \"quotes\" {{ 7*7 }}"
LOADING = {"script", "iframe", "object", "embed", "audio", "video", "source", "base", "form"}
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """What a browser would see: every tag with attributes, all text, and whether the tags nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def photo(height=8, width=12):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def mask(label, height=8, width=12):
    labels = np.zeros((height, width), np.uint8)
    labels[2:5, 3:8] = label
    return labels


def full_row(caption="One photo"):
    heat = {"cat": np.eye(2), "dog": np.ones((3, 4))}
    return ReportRow(photo(), heat, mask(255), mask(1), mask(2), caption)


def page(**given):
    return Page(render(**{"title": "Title", "rows": [full_row()], "class_names": NAMES, **given}))


def test_the_page_loads_nothing(tmp_path):
    text = write_report(
        tmp_path, title="T", rows=[full_row(), full_row()], class_names=NAMES, table=[{"a": "b", "c": 0.5}]
    ).read_text()
    markup = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"(?i)\b(https?|ftp|file):|//|@import|url\(", markup)
    seen = Page(text)
    assert not LOADING & {tag for tag, _ in seen.tags}
    for _, attributes in seen.tags:
        for name in ("src", "href", "srcset", "poster", "action"):
            assert attributes.get(name, "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    policy = [a["content"] for a in seen.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_every_picture_is_there_and_described():
    images = page().all("img")
    assert [image["alt"] for image in images] == [
        "Photo: One photo",
        "Heat map of cat: One photo",
        "Heat map of dog: One photo",
        "Pseudo label (background only): One photo",
        "Prediction (cat): One photo",
        "Truth (dog): One photo",
    ]
    assert len({image["src"] for image in images}) == 6


def test_absent_pictures_are_left_out():
    images = page(rows=[ReportRow(photo())]).all("img")
    assert [image["alt"] for image in images] == ["Photo: Photo 1"]


def test_the_legend_names_the_classes_of_its_row_only():
    text = render(title="T", rows=[ReportRow(photo(), prediction=mask(2))], class_names=NAMES)
    colour = "#" + bytes(label_colours()[2].tolist()).hex()
    assert re.search(rf'style="background: {colour}"></span>dog</li>', text)
    assert "cat" not in Page(text).text
    assert "ignored" not in Page(text).text
    assert "ignored" in page().text


def test_all_text_is_escaped():
    row = ReportRow(photo(), {NASTY: np.eye(2)}, prediction=mask(1), caption=NASTY)
    seen = page(title=NASTY, rows=[row], class_names=[NASTY], table=[{NASTY: NASTY, "n": 1}], notes=[NASTY])
    assert "script" not in {tag for tag, _ in seen.tags}
    # title, h1, note, column, line, caption, legend, heat map
    assert seen.text.count(NASTY) == 8
    assert any(NASTY in image["alt"] for image in seen.all("img"))


def test_the_table_shows_numbers_bars_and_gaps():
    table = [
        {"method": "GETAM", "map": 0.51249, "scenes": 512},
        {"method": "CAM", "map": 1.5, "seconds": None},
    ]
    seen = page(table=table, rows=[])
    cells = [cell.strip() for cell in seen.text.split("\n") if cell.strip()]
    assert cells[cells.index("method") : cells.index("method") + 4] == ["method", "map", "scenes", "seconds"]
    assert cells[cells.index("GETAM") : cells.index("GETAM") + 4] == ["GETAM", "0.512", "512", "–"]
    assert cells[cells.index("CAM") : cells.index("CAM") + 4] == ["CAM", "1.500", "–", "–"]
    bars = [a["style"] for a in seen.all("span") if a.get("class") == "bar"]
    assert bars == ["--share: 51.2%"]
    assert [a["scope"] for a in seen.all("th")] == ["col"] * 4 + ["row"] * 2


@pytest.mark.parametrize(
    ("height", "width", "kind"), [(64, 64, "png"), (1, 3, "png"), (300, 451, "jpeg"), (2000, 1000, "jpeg")]
)
def test_pictures_are_neither_tiny_nor_huge(height, width, kind):
    image = page(rows=[ReportRow(photo(height, width))]).all("img")[0]
    shown = int(image["height"]), int(image["width"])
    assert SMALL_SIDE <= max(shown) <= LARGE_SIDE
    assert shown[0] / shown[1] == pytest.approx(height / width, rel=0.01)
    assert image["src"].startswith(f"data:image/{kind}")


def test_the_page_suits_phones_dark_rooms_and_screen_readers():
    text = render(title="T", rows=[full_row()], class_names=NAMES)
    seen = Page(text)
    assert seen.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in seen.all("meta")
    assert "prefers-color-scheme: dark" in text
    assert len(seen.all("main")) == len(seen.all("h1")) == 1


def test_the_same_input_gives_the_same_page():
    assert render(title="T", rows=[full_row()], class_names=NAMES) == render(
        title="T", rows=[full_row()], class_names=NAMES
    )


def test_an_old_report_is_replaced_and_nothing_else_is_left(tmp_path):
    out = tmp_path / "new" / "report"
    first = write_report(out, title="First", rows=[], class_names=[])
    second = write_report(out, title="Second", rows=[], class_names=[])
    assert first == second == out / "index.html"
    assert "Second" in second.read_text(encoding="utf-8")
    assert [path.name for path in out.iterdir()] == ["index.html"]


def test_a_failed_write_keeps_the_old_report(tmp_path, monkeypatch):
    write_report(tmp_path, title="First", rows=[], class_names=[])

    def fail(_source, _target):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(tmp_path, title="Second", rows=[], class_names=[])
    assert "First" in (tmp_path / "index.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_file_in_the_way_is_named(tmp_path):
    file = Path(tmp_path / "report")
    file.write_text("mine")
    with pytest.raises(InputError, match="report is a file"):
        write_report(file, title="T", rows=[], class_names=[])
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            ReportRow(photo(), truth=mask(1, 9, 9), caption="mine"),
            r'row 2 .*"mine".*\(9, 9\).*\(8, 12\)',
        ),
        (ReportRow(photo(), truth=mask(3)), "label 3 but there are 2 class names"),
        (ReportRow(photo(), {"cat": -np.eye(2)}), "≥ 0"),
        (ReportRow(photo()[:, :, 0]), r"\(H, W, 3\)"),
    ],
)
def test_misfits_name_the_row(row, message):
    with pytest.raises(InputError, match=message):
        render(title="T", rows=[full_row(), row], class_names=NAMES)
