"""The app where a user would use it: a Chromium drops, chooses, moves, paints, downloads and keeps; then trains."""

import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import browser
from getam.cli import main
from getam.data.masks import read_classes, read_mask
from getam.web import look as look_module
from getam.web.folder import open_folder
from getam.web.kept import KeptSet
from getam.web.limits import Limits
from getam.web.look import open_photo
from getam.web.models import EMBEDDED, Models
from getam.web.pictures import brushes
from getam.web.server import own_cache, start
from getam.web.visit import App

pytest.importorskip("gradio", reason="the extra app is not installed")
data = pytest.importorskip(
    "skimage.data", reason="the extra demo, which has the photo of a cat, is not installed"
)

WAIT = 90  # seconds for one answer on a busy machine


class Page:
    """What a hand does on the page."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        driver.get(url)
        self.until(lambda: self.value("source") == "getam")

    def until(self, done: Callable[[], Any]) -> Any:
        """Wait for something to be true; Selenium's errors count as not yet."""
        end, last = time.monotonic() + WAIT, None
        while time.monotonic() < end:
            try:
                if found := done():
                    return found
            except Exception as error:  # parts come and go while the page draws itself
                last = error
            time.sleep(0.1)
        raise AssertionError(f"waited {WAIT} s for nothing; last error: {last}") from last

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def value(self, part: str) -> str:
        return str(self.one(f"#{part} input").get_attribute("value"))

    def click(self, selector: str) -> None:
        self.until(lambda: self.one(selector).is_enabled())
        part = self.one(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", part)
        part.click()

    def drop(self, file: Path) -> None:
        self.one("#drop input[type=file]").send_keys(str(file))
        self.until(lambda: file.name in self.value("pick"))

    def tags(self) -> list[str]:
        return [
            tag.text.strip() for tag in self.driver.find_elements("css selector", "#tags .token") if tag.text
        ]

    def choose(self, part: str, text: str, *, listed: bool = True) -> None:
        """Type into a list and click what it offers; where it offers nothing (`listed`), press Enter."""
        from selenium.webdriver.common.keys import Keys

        field = self.one(f"#{part} input")
        self.driver.execute_script(  # a list that is still open would lie over the next one
            "document.activeElement.blur(); arguments[0].scrollIntoView({block: 'center'})", field
        )
        self.until(lambda: not self.driver.find_elements("css selector", "[role=option]"))
        field.click()
        if part != "tags":
            field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text)
        if not listed:
            field.send_keys(Keys.ENTER)
            return

        def click_option() -> bool:
            options = self.driver.find_elements("css selector", f"#{part} [role=option]")
            next(option for option in options if option.get_attribute("aria-label") == text).click()
            return True

        self.until(click_option)

    def legend(self) -> str:
        return str(self.one("#legend").text)

    def picture(self, part: str) -> str:
        """The address of a picture: another one for every other picture."""
        return str(self.one(f"#{part} img").get_attribute("src"))

    def threshold(self, value: float) -> None:
        from selenium.webdriver.common.keys import Keys

        field = self.one("#threshold input[type=number]")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(f"{value}", Keys.TAB)

    def tab(self, number: int) -> None:
        self.driver.execute_script("window.scrollTo(0, 0)")
        self.driver.find_elements("css selector", "button[role=tab]")[number].click()

    def paint(self, name: str, colour: tuple[int, int, int], dx: int, dy: int) -> None:
        """A horizontal stroke of 60 pixels that begins beside the middle of the editor, until it is seen there.

        The editor's brush learns late that it is over the picture, and a hand as fast as Selenium's may have begun
        its stroke before: the editor then draws nothing. A person would see that, and paint again.
        """
        from selenium.webdriver import ActionChains

        labels = self.driver.find_elements("css selector", "#paint label")
        next(label for label in labels if label.text.strip() == name).click()
        brush = f"rgba({', '.join(map(str, colour))}, 1)"
        self.until(lambda: self.one("#editor [aria-label=Color]").value_of_css_property("color") == brush)
        canvas = self.one("#editor canvas")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)

        def looks() -> Image.Image:
            return Image.open(io.BytesIO(canvas.screenshot_as_png)).convert("RGB")

        self.until(lambda: looks().tobytes() == looks().tobytes())  # the picture slides into its place

        def stroke() -> bool:
            hand = ActionChains(self.driver).move_to_element_with_offset(canvas, dx, dy).click_and_hold()
            for _ in range(6):
                hand = hand.move_by_offset(10, 0)
            hand.release().perform()
            time.sleep(0.5)
            seen = looks()
            return seen.getpixel((seen.width // 2 + dx + 30, seen.height // 2 + dy)) == colour

        self.until(stroke)


class Asked(list[tuple[str, ...]]):
    """Which sources ran a network, in order."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    seen, real = Asked(), look_module.find_out

    def count(opened: Any, photo: Any, tags: tuple[str, ...], source: str, saliency: Any = None) -> Any:
        seen.append((source, *tags))
        return real(opened, photo, tags, source, saliency)

    monkeypatch.setattr(look_module, "find_out", count)
    return seen


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    """A real photo, of scikit-image."""
    file = tmp_path / "my cat.jpg"
    Image.fromarray(data.chelsea()).save(file, quality=92)
    return file


@pytest.fixture
def photos(scenes: Path, tmp_path: Path) -> Path:
    shutil.copytree(scenes / "photos", tmp_path / "photos")
    shutil.copy(scenes / "tags.csv", tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def page(photos: Path, trained: Path, tmp_path: Path) -> Iterator[Page]:
    (tmp_path / "downloads").mkdir()
    driver = browser.start(str(tmp_path / "downloads"))
    folder = open_folder(photos)
    kept = KeptSet(tmp_path / "kept", folder.table, folder.names_of_rows())
    try:
        with own_cache() as place:
            from getam.web.page import CSS, build, theme

            app = App(Models(), Limits(1, 1), folder, kept)
            running = build(app, place)
            url = start(running, port=0, max_bytes=1_000_000, look={"theme": theme(), "css": CSS})
            try:
                yield Page(driver, url)
            finally:
                running.close()
    finally:
        driver.quit()


def test_a_photo_is_dropped_looked_at_mended_kept_and_learned_from(
    page: Page, asked: Asked, cat: Path, photos: Path, tmp_path: Path
) -> None:
    page.drop(cat)
    page.until(lambda: page.tags() == ["cat"])  # the embedded model finds it
    page.until(lambda: "cat · " in page.legend())
    assert asked == [("getam", "cat")]

    page.choose("tags", "dog")
    page.until(lambda: "dog · " in page.legend())
    assert asked == [("getam", "cat"), ("getam", "cat", "dog")]

    before, legend = page.picture("mask-one"), page.legend()
    map_before = page.picture("map-one")
    page.threshold(0.7)
    page.until(lambda: page.picture("mask-one") != before and page.legend() != legend)
    assert page.picture("map-one") == map_before
    assert len(asked) == 2  # the threshold moved, and no map was made

    page.choose("other", "gradcam")
    page.until(lambda: "agree on" in page.one("#note").text)
    assert asked[2:] == [("gradcam", "cat", "dog")]
    assert page.picture("mask-two") != page.picture("mask-one")

    page.tab(1)
    page.until(lambda: len(page.driver.find_elements("css selector", "#paint label")) == 4)
    colours = {name: colour for name, (_, colour) in brushes(("cat", "dog")).items()}
    page.paint("dog", colours["dog"], -100, -60)
    page.paint("background", colours["background"], 90, -130)  # over what is left of the cat
    page.click("#put")
    page.until(lambda: "painted or kept before" in page.one("#note").text)

    page.click("#offer")
    links = page.until(lambda: page.driver.find_elements("css selector", "#files a[href*='file=']"))
    assert len(links) == 3
    downloads = tmp_path / "downloads"

    def there() -> set[str]:
        """What has been downloaded; Chromium's own files, until they are whole, begin with a dot or end otherwise."""
        return {file.name for file in downloads.glob("[!.]*") if file.suffix != ".crdownload"}

    for count, link in enumerate(links, start=1):
        page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
        link.click()
        page.until(lambda count=count: len(there()) == count)
    assert there() == {"my cat.png", "my cat.npz", "classes.txt"}

    page.click("#keep")
    page.until(lambda: "Kept as my cat: 1 in" in page.one("#note").text)
    kept = tmp_path / "kept"
    mask = read_mask(kept / "masks" / "my cat.png", (300, 451))
    names = ("background", *read_classes(kept / "masks"))
    assert names == ("background", "blue", "red", "cat", "dog")
    assert (kept / "photos" / "my cat.jpg").read_bytes() == cat.read_bytes()
    downloaded = read_mask(downloads / "my cat.png")
    assert (downloads / "classes.txt").read_text().split() == ["background", "cat", "dog"]
    assert (np.array([0, 3, 4])[downloaded] == mask).all()
    with np.load(downloads / "my cat.npz") as maps:
        assert maps["classes"].tolist() == ["cat", "dog"]
        assert (maps["values"].shape[0], str(maps["method"])[:5]) == (2, "getam")

    # what was not painted is the mask of the threshold, and what was painted is what was painted
    opened = Models().open(EMBEDDED)
    alone = open_photo("my cat", cat, Image.open(cat)).with_tags(["cat", "dog"])
    _, found = alone.ask(opened, "getam")
    method = np.array([0, 3, 4])[found.mask(0.7, (300, 451))]
    changed = mask != method
    assert 0.005 < changed.mean() < 0.2
    assert set(np.unique(mask[changed])) == {0, 4}
    assert (mask == 4).sum() > (method == 4).sum() + 1000

    page.choose("pick", "scene2.png")
    page.until(lambda: page.tags() == ["blue", "red"])
    page.click("#keep-next")
    page.until(lambda: page.value("pick") == "scene3.png")
    assert {f.name for f in (kept / "masks").iterdir()} == {"my cat.png", "scene2.png", "classes.txt"}
    errors = [line for line in browser.complaints(page.driver) if "SEVERE" in line]
    assert errors == []

    # the next round: the kept set as it is, and the whole folder with the corrections, through the command
    usual = [
        "--backbone",
        "small-hybrid",
        "--size",
        "32",
        "--batch-size",
        "3",
        "--steps",
        "2",
        "--recipe",
        "supervised",
    ]
    alone_ = [
        "--data",
        str(kept / "photos"),
        "--tags",
        str(kept / "tags.csv"),
        "--masks",
        str(kept / "masks"),
    ]
    assert main(["train", *alone_, "--out", str(tmp_path / "alone"), *usual]) == 0
    both = ["--data", str(photos), "--tags", str(kept / "corrected-tags.csv"), "--masks", str(kept / "masks")]
    assert main(["train", *both, "--out", str(tmp_path / "both"), *usual]) == 0
    for run in ("alone", "both"):
        lines = [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        assert all(np.isfinite([line["cls"], line["pixel"]]).all() for line in lines if "cls" in line)
    assert main(["evaluate", str(kept / "masks"), str(kept / "masks")]) == 0


def test_tags_change_the_pseudo_label_and_an_error_is_said(page: Page, asked: Asked) -> None:
    page.choose("pick", "scene2.png")
    page.until(lambda: page.tags() == ["blue", "red"])
    page.until(lambda: "no map, paint it" in page.legend())  # the embedded model knows neither
    page.choose("tags", "cat")
    page.choose("source", "pseudo label")
    page.until(lambda: ("pseudo label", "blue", "red", "cat") in asked)
    page.until(lambda: "pseudo label" in page.one("#mask-one").text)
    first = page.picture("mask-one")
    page.choose("tags", "horse")
    page.until(
        lambda: ("pseudo label", "blue", "red", "cat", "horse") in asked and page.picture("mask-one") != first
    )
    page.choose("model", "no_such_model", listed=False)
    page.until(lambda: "there is no model 'no_such_model' here" in page.one("body").text)


def test_on_a_phone_in_the_dark_nothing_scrolls_sideways(page: Page, cat: Path) -> None:
    browser.resize(page.driver, browser.PHONE, phone=True)
    browser.prefer(page.driver, "dark")
    page.driver.refresh()
    page.until(lambda: page.value("source") == "getam")
    page.drop(cat)
    page.until(lambda: "cat · " in page.legend())
    wide, dark = page.driver.execute_script(
        "return [document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]"
    )
    assert wide <= browser.PHONE[0]
    assert max(int(part) for part in dark.strip("rgba() ").split(",")[:3]) < 60
