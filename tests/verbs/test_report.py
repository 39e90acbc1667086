"""`getam report` on tiny photos through Python, and on real photos in a browser, as somebody uses it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import getam
from browser import DESKTOP, PHONE, browser, complaints, prefer, resize
from getam.data.confidences import with_confidences
from getam.data.masks import encode_mask, read_mask, write_classes, write_mask
from getam.data.photo_folder import find_photos
from getam.errors import InputError
from getam.metrics.confusion import ConfusionMatrix

__all__ = ["browser"]

CLASSES = ("cat", "person", "cup", "rocket")
PHOTOS = {"cat": "chelsea", "person": "astronaut", "cup": "coffee", "rocket": "rocket"}


def told(page: Path) -> dict[str, Any]:
    return json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.S)[1])  # type: ignore[index]


def masks_of(
    scenes: Path, folder: Path, change: Callable[[np.ndarray], np.ndarray] = lambda mask: mask
) -> Path:
    """The scenes' true masks, changed."""
    write_classes(folder, ["blue", "red"])
    for file in (scenes / "truth").glob("*.png"):
        write_mask(folder / file.name, change(read_mask(file)))
    return folder


def test_masks_are_measured_against_the_truth_and_each_other(scenes: Path, tmp_path: Path) -> None:
    masks = masks_of(scenes, tmp_path / "masks", lambda mask: np.roll(mask, 3, 0))
    other = masks_of(scenes, tmp_path / "other", lambda mask: np.where(mask == 2, 0, mask).astype(np.uint8))
    page = getam.gallery(
        masks, photos=scenes / "photos", truth=scenes / "truth", against=other, out=tmp_path / "report"
    )
    assert page == tmp_path / "report" / "index.html"
    data = told(page)
    assert data["layers"] == ["masks", "other", "truth"]
    assert data["classes"] == ["blue", "red"]
    assert sorted(photo["name"] for photo in data["photos"]) == [f"scene{number}" for number in range(6)]
    for photo in data["photos"]:
        mask = read_mask(masks / f"{photo['name']}.png")
        for key, place, folder in (("truth", 3, scenes / "truth"), ("other", 4, other)):
            matrix = ConfusionMatrix(2)
            matrix.update(mask, read_mask(folder / f"{photo['name']}.png"))
            iou = matrix.compute().iou[1:]
            assert photo[key] == pytest.approx(np.nanmean(iou), abs=1e-4)
            for number, *row in photo["classes"]:
                assert row[place - 1] == pytest.approx(iou[number], abs=1e-4)
        assert (photo["width"], photo["height"], photo["exact"]) == (48, 40, True)
        pixels = Image.open(scenes / "photos" / f"{photo['name']}.png").convert("RGB")
        for size in ("thumbs", "pictures"):
            drawn = Image.open(page.parent / size / f"{photo['file']}.png").convert("RGB")
            assert np.array_equal(np.asarray(drawn), np.asarray(pixels))
            for layer in range(3):
                assert (page.parent / size / f"{photo['file']}-{layer}.png").is_file()
    assert "IoU with the true masks" in page.read_text()
    assert "IoU with other" in page.read_text()


def test_photos_without_a_true_mask_are_shown_all_the_same(scenes: Path, tmp_path: Path) -> None:
    masks = masks_of(scenes, tmp_path / "masks")
    truth = masks_of(scenes, tmp_path / "truth")
    (truth / "scene3.png").unlink()
    data = told(getam.gallery(masks, photos=scenes / "photos", truth=truth, out=tmp_path / "report"))
    without = {photo["name"] for photo in data["photos"] if photo["layers"] == [True, False]}
    assert without == {"scene3"}
    assert [photo["truth"] for photo in data["photos"] if photo["name"] == "scene3"] == [None]
    assert all(photo["truth"] == 1 for photo in data["photos"] if photo["name"] != "scene3")


def test_the_least_sure_come_first_and_confidences_are_told(scenes: Path, tmp_path: Path) -> None:
    masks = masks_of(scenes, tmp_path / "masks")
    for number in range(6):
        mask = read_mask(masks / f"scene{number}.png")
        sure = {name: 0.9 - number / 10 for label, name in ((1, "blue"), (2, "red")) if (mask == label).any()}
        (masks / f"scene{number}.png").write_bytes(with_confidences(encode_mask(mask), sure))
    data = told(getam.gallery(masks, photos=scenes / "photos", out=tmp_path / "report"))
    assert [photo["name"] for photo in data["photos"]] == [f"scene{number}" for number in reversed(range(6))]
    assert [photo["sure"] for photo in data["photos"]] == pytest.approx([0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


def test_photos_are_where_the_protocol_says(scenes: Path, trained: Path, tmp_path: Path) -> None:
    masks = getam.predict(scenes / "photos", model=trained, out=tmp_path / "masks", crf=False)
    page = getam.gallery(masks, out=tmp_path / "report")
    assert len(told(page)["photos"]) == 6
    assert "Losses" in page.read_text()  # of the run that made them
    moved = tmp_path / "moved"
    lines = (masks / "protocol.jsonl").read_text().replace(str(scenes / "photos"), str(moved))
    (masks / "protocol.jsonl").write_text(lines)
    with pytest.raises(InputError, match=re.escape(f"says the photos are in {moved}, which is not there")):
        getam.gallery(masks, out=tmp_path / "again")
    (masks / "protocol.jsonl").write_text("{}\nnot json\n")
    with pytest.raises(InputError, match="does not say where its photos are"):
        getam.gallery(masks, out=tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_run_with_photos_shows_its_segmenter_beside_its_maps(
    scenes: Path, trained: Path, tmp_path: Path
) -> None:
    page = getam.gallery(
        trained,
        photos=scenes / "photos",
        tags=scenes / "tags.csv",
        truth=scenes / "truth",
        out=tmp_path / "look",
    )
    data = told(page)
    assert data["layers"] == ["segmenter", "maps", "truth"]
    for photo in data["photos"]:
        made, labels = (
            read_mask(tmp_path / folder / f"{photo['name']}.png") for folder in ("look-masks", "look-labels")
        )
        matrix = ConfusionMatrix(2)
        matrix.update(made, labels)
        scored = matrix.compute().iou
        expected = np.nanmean(scored[1:]) if not np.isnan(scored[1:]).all() else scored[0]
        assert photo["other"] == pytest.approx(expected, abs=1e-4)
    assert "Losses" in page.read_text()
    with pytest.raises(InputError, match="look exists: choose another --out, or replace it with --overwrite"):
        getam.gallery(trained, photos=scenes / "photos", tags=scenes / "tags.csv", out=tmp_path / "look")
    again = getam.gallery(trained, photos=scenes / "photos", out=tmp_path / "look", overwrite=True)
    assert told(again)["layers"] == ["segmenter"]  # there are no tags beside the photos


def test_a_run_may_be_what_masks_are_compared_with(scenes: Path, trained: Path, tmp_path: Path) -> None:
    masks = masks_of(scenes, tmp_path / "masks")
    data = told(getam.gallery(masks, photos=scenes / "photos", against=trained, out=tmp_path / "look"))
    assert data["layers"] == ["masks", "look-against"]
    assert (tmp_path / "look-against" / "scene0.png").is_file()


def test_a_run_without_photos_has_a_page_of_curves(trained: Path, tmp_path: Path) -> None:
    text = getam.gallery(trained, out=tmp_path / "curves").read_text()
    assert "Losses" in text
    assert 'id="grid"' not in text
    blank = tmp_path / "blank"
    blank.mkdir()
    shutil.copy(trained / "config.yaml", blank)
    with pytest.raises(InputError, match="the run has logged nothing yet"):
        getam.gallery(blank, out=tmp_path / "nothing")
    with pytest.raises(InputError, match="has saved no model yet"):
        getam.gallery(blank, photos=tmp_path, out=tmp_path / "nothing")


def test_nothing_but_a_page_of_ours_is_replaced(scenes: Path, tmp_path: Path) -> None:
    masks = masks_of(scenes, tmp_path / "masks")
    out = tmp_path / "out"
    page = getam.gallery(masks, photos=scenes / "photos", out=out)
    (masks / "scene5.png").unlink()
    with pytest.raises(InputError, match="out exists: choose another --out, or replace it with --overwrite"):
        getam.gallery(masks, photos=scenes / "photos", out=out)
    assert len(told(page)["photos"]) == 6
    getam.gallery(masks, photos=scenes / "photos", out=out, overwrite=True)
    assert len(told(page)["photos"]) == 5
    for text in ("<html>somebody's</html>", None):
        page.unlink(missing_ok=True)
        if text is not None:
            page.write_text(text)
        with pytest.raises(InputError, match="exists and is no page of `getam report`"):
            getam.gallery(masks, photos=scenes / "photos", out=out, overwrite=True)
    assert (out / "thumbs").is_dir()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda masks: (masks / "scene0.png").rename(masks / "what.png"), "no photo belongs to the mask 'what'"),
        (lambda masks: write_mask(masks / "scene0.png", np.zeros((3, 4), np.uint8)), "is 4×3 but its photo is 48×40"),
        (lambda masks: write_mask(masks / "scene0.png", np.full((40, 48), 9, np.uint8)), "masks of scene0: label 9"),
        (lambda masks: (masks / "classes.txt").unlink(), "classes.txt does not exist"),
        (lambda masks: [file.unlink() for file in masks.glob("*.png")], "holds no PNG"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_nothing_is_left(
    break_it: Callable[[Path], Any], message: str, scenes: Path, tmp_path: Path
) -> None:
    masks = masks_of(scenes, tmp_path / "masks")
    break_it(masks)
    with pytest.raises(InputError, match=message):
        getam.gallery(masks, photos=scenes / "photos", out=tmp_path / "report")
    assert {file.name for file in tmp_path.iterdir()} == {"masks"}


def test_its_pictures_are_nobody_s_photos(scenes: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes / "photos", tmp_path / "photos")
    masks = masks_of(scenes, tmp_path / "masks")
    getam.gallery(masks, photos=tmp_path / "photos", out=tmp_path / "photos" / "report")
    getam.gallery(trained, out=tmp_path / "photos" / "curves")
    assert [file.parent for file in find_photos(tmp_path / "photos")] == [tmp_path / "photos"] * 6
    for folder, photos in (("report", 6), ("curves", 0)):
        noted = json.loads((tmp_path / "photos" / folder / "protocol.jsonl").read_text())
        assert (noted["verb"], noted["photos"]) == ("report", photos)


def test_tags_belong_to_a_run(scenes: Path, tmp_path: Path) -> None:
    masks = masks_of(scenes, tmp_path / "masks")
    with pytest.raises(InputError, match="--tags belongs to a run folder"):
        getam.gallery(masks, photos=scenes / "photos", tags=scenes / "tags.csv", out=tmp_path / "report")


# ---- in a browser


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 40 crops of real photos, whose masks are discs of known classes, sizes and confidences."""
    data = pytest.importorskip("skimage.data", reason="scikit-image has the photos")
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "photos").mkdir()
    for kind in ("masks", "other", "truth"):
        write_classes(folder / kind, CLASSES)
    whole = [Image.fromarray(getattr(data, source)()[..., :3]) for source in PHOTOS.values()]
    random = np.random.default_rng(0)
    for number in range(40):
        label = number % 4 + 1
        photo = whole[label - 1].resize((480, 360)).crop((number, 0, 280 + number, 300 - 2 * number))
        photo.save(folder / "photos" / f"photo {number:02}.jpg", quality=80)
        rows, columns = np.indices((photo.height, photo.width))

        def disc(radius: float) -> np.ndarray:
            inside = (rows - photo.height / 2) ** 2 + (columns - 140) ** 2 < radius**2  # noqa: B023
            return np.where(inside, label, 0).astype(np.uint8)  # noqa: B023

        name = f"photo {number:02}.png"
        write_mask(folder / "truth" / name, disc(80))
        write_mask(folder / "other" / name, disc(30 + number))
        mask = disc(float(random.uniform(40, 100)))
        if number == 7:
            mask[:] = 3  # covers everything, and is no cup
        sure = {CLASSES[label - 1]: float(random.uniform(0.3, 1))}
        (folder / "masks" / name).write_bytes(with_confidences(encode_mask(mask), sure))
    return getam.gallery(
        folder / "masks", photos=folder / "photos", truth=folder / "truth", against=folder / "other",
        out=folder / "report",
    )  # fmt: skip


def names_shown(driver: Any) -> list[str]:
    """Names of the tiles from top to bottom, as far as they are there."""
    return driver.execute_script(
        "return [...document.querySelectorAll('.tile')].sort((a, b) => a.dataset.index - b.dataset.index)"
        ".map((tile) => tile.querySelector('.words span').textContent)"
    )


def settle(driver: Any) -> None:
    """Wait until the page has drawn what it is going to, and its pictures are there."""
    driver.execute_async_script(
        "const done = arguments[0], tiles = () => document.querySelectorAll('.tile').length; let before = -1;"
        "const wait = () => { if (tiles() === before) return done(); before = tiles(); setTimeout(wait, 150); };"
        "wait();"
    )


def press(driver: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def choose(driver: Any, box: str, value: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(driver.find_element("id", box)).select_by_value(value)
    settle(driver)


def count(driver: Any) -> str:
    return driver.find_element("id", "count").text


def is_visible(driver: Any, selector: str) -> bool:
    return driver.execute_script(
        "return getComputedStyle(document.querySelector(arguments[0])).visibility === 'visible'", selector
    )


def test_a_browser_sorts_filters_compares_and_is_dark(gallery: Path, browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    resize(browser, DESKTOP)
    prefer(browser, "light")
    browser.get(gallery.as_uri())
    settle(browser)
    photos = {photo["name"]: photo for photo in told(gallery)["photos"]}

    # What looks wrong comes first, then the least sure; pictures are beside the page and load.
    shown = names_shown(browser)
    assert shown == [photo["name"] for photo in told(gallery)["photos"]][: len(shown)]
    assert shown[0] == "photo 07"
    assert 12 <= len(shown) < 40  # only what is near the window exists
    browser.execute_async_script(
        "const done = arguments[0], wait = () => [...document.images].slice(0, 8).every((image) => image.complete)"
        " ? done() : setTimeout(wait, 50); wait();"
    )
    assert browser.execute_script(
        "return [...document.images].slice(0, 8).every((image) => image.naturalWidth > 0)"
    )
    alt = browser.execute_script("return document.querySelector('.tile img').alt")
    assert alt == "photo 07: cup 100 %"

    # Sorted by each measure, from its beginning and from its end.
    for key, rising in (("truth", True), ("other", True), ("sure", True), ("covers", False), ("name", True)):
        choose(browser, "sort", key)
        ranked = sorted(photos, key=lambda name: photos[name][key], reverse=not rising)
        shown = names_shown(browser)
        assert shown == ranked[: len(shown)], key
    browser.find_element("id", "turn").click()
    settle(browser)
    assert names_shown(browser)[0] == "photo 39"
    browser.find_element("id", "turn").click()

    # Filters: a class by its key and by its button, a range, a name, what looks wrong.
    press(browser, "1")
    settle(browser)
    assert count(browser) == "10 of 40 photos"
    assert all(photos[name]["classes"][0][0] == 0 for name in names_shown(browser))
    press(browser, "2")
    assert count(browser) == "20 of 40 photos"
    pressed = browser.find_elements("css selector", "#classes [aria-pressed=true]")
    assert [button.text.split()[0] for button in pressed] == ["cat", "person"]
    press(browser, "0")
    assert count(browser) == "40 photos"
    browser.find_elements("css selector", "#classes button")[2].click()
    assert count(browser) == "11 of 40 photos"  # with the photo that is covered by it wrongly
    press(browser, "3")
    choose(browser, "sort", "truth")
    browser.find_element("id", "high").send_keys("0.5")
    low = {name for name, photo in photos.items() if photo["truth"] <= 0.5}
    assert 0 < len(low) < 40
    assert count(browser) == f"{len(low)} of 40 photos"
    browser.find_element("id", "high").clear()
    browser.find_element("id", "find").send_keys("photo 3")
    assert count(browser) == "10 of 40 photos"
    browser.find_element("id", "find").send_keys("nothing like it")
    assert count(browser).startswith("0 of 40 photos: choose")
    browser.find_element("id", "find").clear()
    browser.find_element("id", "find").send_keys(" ")
    browser.find_element("id", "doubtful").click()
    assert count(browser) == "1 of 40 photos"
    browser.find_element("id", "doubtful").click()

    # Keyboard: arrows go from tile to tile, space takes the masks away, Enter opens, Escape closes, ? helps.
    choose(browser, "sort", "name")
    browser.execute_script("document.activeElement.blur()")
    press(browser, Keys.ARROW_RIGHT)
    focused = "return document.activeElement.querySelector('.words span')?.textContent"
    assert browser.execute_script(focused) == "photo 00"
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    columns = browser.execute_script("return Math.floor(document.getElementById('grid').clientWidth / 190)")
    assert browser.execute_script(focused) == f"photo {1 + columns:02}"
    assert is_visible(browser, ".tile .layer")
    press(browser, " ")
    assert not is_visible(browser, ".tile .layer")
    press(browser, " ")
    press(browser, "?")
    assert browser.find_element("id", "keys").is_displayed()
    press(browser, Keys.ESCAPE)
    press(browser, Keys.ENTER)
    view = browser.find_element("id", "view")
    assert view.is_displayed()
    assert browser.find_element("id", "name").text == f"photo {1 + columns:02}"
    press(browser, Keys.ARROW_RIGHT)
    assert browser.find_element("id", "name").text == f"photo {2 + columns:02}"
    press(browser, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert browser.find_element("id", "name").text == f"photo {columns:02}"
    assert browser.find_element("id", "place").text == f"{columns + 1} of 40"

    # The slider, by keys: what is left of it is the photo alone.
    slider = browser.find_element("id", "slider")
    slider.send_keys(Keys.END)
    cut = "return getComputedStyle(document.getElementById('right')).clipPath"
    assert browser.execute_script(cut) == "inset(0px 0px 0px 100%)"
    slider.send_keys(Keys.HOME)
    assert browser.execute_script(cut) == "inset(0px 0px 0px 0%)"
    assert slider.get_attribute("aria-valuetext") == "0 % photo, then masks"
    assert browser.find_element("id", "name").text == f"photo {columns:02}"  # its arrows are its own
    choose(browser, "left-layer", "2")
    place = photos[f"photo {columns:02}"]["file"]
    assert browser.find_element("id", "left").get_attribute("src").endswith(f"pictures/{place}-2.png")
    rows = [row.text for row in browser.find_elements("css selector", "#facts tr")]
    number, covers, sure, truth, other = photos[f"photo {columns:02}"]["classes"][0]
    assert rows == [f"{CLASSES[number]} {round(100 * covers)} % {sure:.2f} {other:.2f} {truth:.2f}"]
    browser.execute_script("document.getElementById('view').focus()")
    press(browser, Keys.ESCAPE)
    assert not view.is_displayed()
    assert browser.execute_script(focused) == f"photo {columns:02}"  # where one was looking

    # Dark as the system is, until it is chosen otherwise, which is kept.
    ground = "return getComputedStyle(document.body).backgroundColor"
    assert browser.execute_script(ground) == "rgb(246, 245, 242)"
    prefer(browser, "dark")
    assert browser.execute_script(ground) == "rgb(20, 19, 18)"
    assert browser.find_element("id", "theme").get_attribute("aria-pressed") == "true"
    browser.execute_script("scrollTo(0, 0)")
    browser.find_element("id", "theme").click()
    assert browser.execute_script(ground) == "rgb(246, 245, 242)"
    browser.refresh()
    assert browser.execute_script(ground) == "rgb(246, 245, 242)"
    assert complaints(browser) == []


def test_on_a_phone_nothing_scrolls_sideways(gallery: Path, browser: Any) -> None:
    resize(browser, PHONE, phone=True)
    browser.get(gallery.as_uri())
    settle(browser)
    widths = "return [document.documentElement.scrollWidth, document.getElementById('view').scrollWidth, innerWidth]"
    assert browser.execute_script(widths)[::2] == [390, 390]
    assert len({round(tile.rect["x"]) for tile in browser.find_elements("css selector", ".tile")[:6]}) == 2
    browser.execute_script("document.querySelector('details').open = true")
    assert browser.execute_script(widths)[0] == 390
    plot = browser.find_element("css selector", ".plot").rect
    assert plot["x"] >= 0
    assert plot["x"] + plot["width"] <= 390
    browser.execute_script("document.querySelector('.tile').click()")
    page, view, window = browser.execute_script(widths)
    assert page <= window
    assert view <= window
    sideways = browser.execute_script(
        "return [...document.querySelectorAll('#view, #view *')]"
        ".filter((each) => each.scrollWidth > each.clientWidth + 1)"
        ".filter((each) => ['auto', 'scroll'].includes(getComputedStyle(each).overflowX))"
        ".map((each) => each.id || each.tagName)"
    )
    assert sideways == []
    assert complaints(browser) == []


def test_scrolling_far_keeps_few_tiles_and_shows_the_right_ones(gallery: Path, browser: Any) -> None:
    resize(browser, (500, 400))
    browser.get(gallery.as_uri())
    choose(browser, "sort", "name")
    browser.execute_script("scrollTo(0, document.body.scrollHeight)")
    settle(browser)
    shown = names_shown(browser)
    assert shown[-1] == "photo 39"
    assert "photo 00" not in shown
    tile = browser.find_element("css selector", "li[aria-posinset='40']")
    assert tile.get_attribute("aria-setsize") == "40"
    assert tile.rect["y"] + tile.rect["height"] <= browser.execute_script("return document.body.scrollHeight")
    browser.execute_script("scrollTo(0, 0)")
    settle(browser)
    assert names_shown(browser)[0] == "photo 00"
