"""The report: one file that loads nothing, says everything in text too, and escapes what it is given."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from getam.errors import InputError
from getam.report.gallery import LARGE_SIDE, SMALL_SIDE, ReportRow, render, write_report
from getam.report.overlay import heat_colours, heat_overlay, label_overlay

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
    assert re.search(r'style="background: #56B4E9"></span>dog</li>', text)
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
    assert {"name": "color-scheme", "content": "light dark"} in seen.all("meta")
    assert "--page: light-dark(" in text
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


def picture(image):
    """The pixels a browser shows."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))).convert("RGB"))


def repeated(array, times):
    return np.kron(array, np.ones((times, times, *[1] * (array.ndim - 2)), array.dtype))


def test_pictures_show_photo_maps_and_masks_whole_times_larger():
    row = full_row()
    large = repeated(row.photo, 22)  # 12 pixels wide: the first whole times beyond 256
    expected = [
        large,
        heat_overlay(large, row.heat_maps["cat"]),
        heat_overlay(large, row.heat_maps["dog"]),
        *(label_overlay(large, repeated(mask(label), 22)) for label in (255, 1, 2)),
    ]
    images = page().all("img")
    for image, pixels in zip(images, expected, strict=True):
        assert (int(image["width"]), int(image["height"])) == (264, 176)
        np.testing.assert_array_equal(picture(image), pixels)


def test_large_photos_shrink_smoothly_and_their_masks_keep_their_labels():
    # smooth, so that JPEG keeps it
    y, x = np.indices((800, 1600))
    large = np.stack([y // 4, x // 8, (x + y) // 12], axis=2).astype(np.uint8)
    labels = np.where(x < 803, 1, 2).astype(np.uint8)
    shown, truth = page(rows=[ReportRow(large, truth=labels)]).all("img")
    assert (int(shown["width"]), int(shown["height"])) == (LARGE_SIDE, 320) == (640, 320)
    small = np.asarray(Image.fromarray(large).resize((640, 320), Image.Resampling.LANCZOS))
    assert np.abs(picture(shown).astype(int) - small).max() <= 8
    nearest = np.asarray(Image.fromarray(labels).resize((640, 320), Image.Resampling.NEAREST))
    assert np.abs(picture(truth).astype(int) - label_overlay(small, nearest)).mean() < 3


@pytest.mark.parametrize(
    ("side", "kind", "shown"), [(256, "jpeg", 256), (255, "png", 510), (640, "jpeg", 640), (641, "jpeg", 640)]
)
def test_where_magnifying_ends_and_shrinking_begins(side, kind, shown):
    image = page(rows=[ReportRow(photo(64, side))]).all("img")[0]
    assert image["src"].startswith(f"data:image/{kind}")
    assert int(image["width"]) == shown
    figures = [
        a["class"]
        for a in page(rows=[ReportRow(photo(64, side))]).all("div")
        if "figures" in a.get("class", "")
    ]
    assert figures == (["figures large"] if kind == "jpeg" else ["figures"])


def test_a_very_long_photo_keeps_a_row_of_pixels():
    image = page(rows=[ReportRow(photo(1, 3000))]).all("img")[0]
    assert (int(image["width"]), int(image["height"])) == (640, 1)


def test_captions_name_the_kind_and_the_tag():
    text = render(title="T", rows=[full_row()], class_names=NAMES)
    captions = re.findall("<figcaption>(.*?)</figcaption>", text)
    assert captions == [
        "Photo", "Heat map: <b>cat</b>", "Heat map: <b>dog</b>", "Pseudo label", "Prediction", "Truth",
    ]  # fmt: skip


def test_the_legend_lists_all_classes_of_the_row_in_order_of_their_labels():
    both = mask(2)
    both[0, 0] = 1
    text = render(title="T", rows=[ReportRow(photo(), prediction=both)], class_names=NAMES)
    listed = re.findall(r'background: (#\w{6})"></span>(\w+)</li>', text)
    assert listed == list(zip(["#E69F00", "#56B4E9"], NAMES))
    alts = [image["alt"] for image in Page(text).all("img")]
    assert alts[1] == "Prediction (cat, dog): Photo 1"
    assert "ignored" not in text.partition("<main>")[2]
    assert 'class="legend"' not in render(title="T", rows=[ReportRow(photo())], class_names=NAMES)


def test_numbers_are_marked_as_numbers_and_shares_have_bars():
    table = [
        {
            "a": "x",
            "int": 3,
            "text": "y",
            "none": None,
            "zero": 0.0,
            "one": 1.0,
            "less": -0.1,
            "np": np.float32(0.5),
        }
    ]
    text = render(title="T", rows=[], class_names=[], table=table)
    cells = re.findall(r"<td( class=\"number\")?>(.*?)</td>", text)
    shown = [
        (bool(number), re.sub("<.*", "", cell), re.findall(r"share: (.*?)%", cell)) for number, cell in cells
    ]
    assert shown == [
        (True, "3", []), (False, "y", []), (True, "–", []), (True, "0.000", ["0.0"]), (True, "1.000", ["100.0"]),
        (True, "-0.100", []), (True, "0.500", ["50.0"]),
    ]  # fmt: skip


def test_the_scale_beside_the_heat_maps_has_their_colours():
    text = render(title="T", rows=[full_row()], class_names=NAMES)
    colours = ["#" + bytes(c.tolist()).hex() for c in heat_colours(np.linspace(0, 1, 32))]
    stops = re.findall(r"#[0-9a-f]{6}", re.search(r"\.ramp[^}]*\}", text, re.S).group())
    assert stops == colours
    assert "Heat maps, each relative" not in render(title="T", rows=[], class_names=NAMES)


def test_labels_up_to_the_last_class_are_taken_and_255_is_no_class():
    assert render(title="T", rows=[ReportRow(photo(), truth=mask(2))], class_names=NAMES)
    assert render(title="T", rows=[ReportRow(photo(), truth=mask(255))], class_names=[])
    with pytest.raises(
        InputError, match=r'row 1 of the report \("Photo 1"\): a mask holds label 1 but there are 0'
    ):
        render(title="T", rows=[ReportRow(photo(), truth=mask(1))], class_names=[])


def test_notes_are_paragraphs_above_the_table(tmp_path):
    text = write_report(
        tmp_path, title="T", rows=[], class_names=[], table=[{"a": "b"}], notes=["One.", "Two."]
    ).read_text()
    assert re.findall("<p>(.*?)</p>", text) == ["One.", "Two."]
    assert text.index("<p>Two.</p>") < text.index("<table>")
    assert 'class="notes"' not in render(title="T", rows=[], class_names=[])
    assert "<table>" not in render(title="T", rows=[], class_names=[])
