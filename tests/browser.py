"""A headless Chromium for tests of pages: `from browser import browser` makes the fixture known in a test module."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
DESKTOP, PHONE = (1280, 900), (390, 844)


def start(downloads: str | None = None, *, trace: str | None = None) -> Any:
    """A Selenium driver of a Chromium without a window, or skip the calling test where there is none.

    Args:
        downloads: folder where what the page offers for download is kept; None: nothing is.
        trace: categories of Chromium's tracing that go to the log "performance"; None: there is none.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium with its chromedriver on the PATH (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    # The sandbox needs rights that containers lack; their /dev/shm is too small for pages with pictures.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={DESKTOP[0]},{DESKTOP[1]}")
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", **({"performance": "ALL"} if trace else {})}
    )
    if trace:
        only = {"enableNetwork": False, "enablePage": False, "traceCategories": trace}
        options.add_experimental_option("perfLoggingPrefs", only)
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": downloads})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def resize(driver: Any, size: tuple[int, int], *, phone: bool = False) -> None:
    """Give the page a viewport of (width, height) pixels, as a phone's (touch, no desktop scaling) or a window's."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": phone})


def prefer(driver: Any, scheme: str) -> None:
    """What the system prefers: "light" or "dark"."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def complaints(driver: Any) -> list[str]:
    """What the page has written to the console as errors and warnings since the last call."""
    return [
        entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")
    ]


@pytest.fixture
def browser() -> Iterator[Any]:
    """A Chromium of a test's own, 1280×900, closed at its end."""
    driver = start()
    try:
        yield driver
    finally:
        driver.quit()
