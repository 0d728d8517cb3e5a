"""A real browser without a window, driven as WebDriver lets one be: Debian's chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

PROGRAMS = ("chromium", "chromedriver")
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # continuous integration is root, whom the sandbox refuses
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # it finds this machine alone
)
ADDED_UP = """
const done = arguments[0];
let sum = 0;
new PerformanceObserver((list) => {
  for (const shift of list.getEntries()) if (!shift.hadRecentInput) sum += shift.value;
}).observe({type: "layout-shift", buffered: true});
setTimeout(() => done(sum), 200);
"""


def skip_without_browser() -> None:
    """Skip the test that asks, by the name of the program that is not there."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@contextmanager
def browser(folder: Path, width: int = 1280, height: int = 1000) -> Iterator[Chrome]:
    """With a profile of its own in `folder`; ended at the end."""
    program, driver = map(shutil.which, PROGRAMS)
    assert program is not None
    options = ChromeOptions()
    options.binary_location = program
    for option in (*_OPTIONS, f"--window-size={width},{height}", f"--user-data-dir={folder}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options, Service(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def complaints(chrome: Chrome) -> list[str]:
    """What its console has said since the last time."""
    lines = chrome.get_log("browser")  # type: ignore[no-untyped-call]
    return [str(line["message"]) for line in lines]


def layout_shift(chrome: Chrome) -> float:
    """By how much what is shown has jumped; 0.1 is what counts as good."""
    shift = chrome.execute_async_script(ADDED_UP)
    assert isinstance(shift, int | float)
    return float(shift)


def emulate(chrome: Chrome, *, width: int, height: int, scheme: str = "light") -> None:
    """A screen of that size, and `light` or `dark`."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
