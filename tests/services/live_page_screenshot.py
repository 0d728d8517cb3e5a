"""README's picture of the live page, taken of a real gateway under real traffic.

    python -m tests.services.live_page_screenshot [--out FILE] [--width N] [--scheme dark]

Serves the net that ships, asks for its three device classes, drops an image, and takes what
Chromium shows.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from gateway.client import CallError, Client, Constraints
from supernet import shipped
from tests.services.browser import browser, emulate
from tests.services.conftest import running
from tests.services.test_live_page import port_of

OUT = Path(__file__).parents[2] / "docs" / "images" / "live-page.png"
MOST_BYTES = 300_000
SHOWN = shipped.artifact_folder().parent / "images" / "ankle-boot"
BUDGETS_MS = {  # some callers ask for less than a class's default; None is that
    "reference-cpu": (None, None, 1.6, 1.8, 2.2, 2.6),
    "simulated-4x-slower": (None, None, 6.5, 7.0, 9.0, 12.0),
    "simulated-16x-slower": (None, None, 25.0, 30.0, 40.0, 60.0),
}
TRAFFIC_S = 20.0
PAUSE_S = 0.06  # on average, between a caller's requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--width", type=int, default=1240)
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="compofa-page-") as name:
        folder = Path(name)
        serve = ("--ui", "--ui-port", "0", "--threads", "1")
        with (
            running(shipped.artifact_folder(), folder, *serve) as gateway,
            traffic(gateway.target),
            browser(folder / "profile") as chrome,
        ):
            emulate(chrome, width=options.width, height=900, scheme=options.scheme)
            chrome.get(f"http://127.0.0.1:{port_of(gateway)}/")
            time.sleep(TRAFFIC_S)
            _ask(chrome)
            take(chrome, options.out, options.width, options.scheme)


@contextmanager
def traffic(target: str) -> Iterator[None]:
    """Callers of each class for as long as the body runs."""
    images = [path.read_bytes() for path, _ in shipped.images()]
    stop = threading.Event()

    def ask(name: str, seed: int) -> None:
        chosen = random.Random(seed)
        with Client(target, Constraints(name)) as client:
            while not stop.wait(chosen.expovariate(1 / PAUSE_S)):
                budget = chosen.choice(BUDGETS_MS[name])
                try:
                    client.infer(chosen.choice(images), Constraints(name, budget))
                except CallError:
                    continue

    threads = [
        threading.Thread(target=ask, args=(name, seed)) for seed, name in enumerate(BUDGETS_MS)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _ask(chrome: Chrome) -> None:
    image = sorted(SHOWN.glob("*.png"))[0]
    chrome.find_element(By.ID, "file").send_keys(str(image))
    said = chrome.find_element(By.ID, "ask-said")
    WebDriverWait(chrome, 20).until(lambda _: "what each device class answers" in said.text)


def take(chrome: Chrome, out: Path, width: int, scheme: str) -> None:
    """All of the page, in few colours: it is text and lines."""
    height = chrome.execute_script("return document.documentElement.scrollHeight")
    emulate(chrome, width=width, height=height, scheme=scheme)
    time.sleep(1.0)
    with tempfile.NamedTemporaryFile(suffix=".png") as whole:
        chrome.save_screenshot(whole.name)
        with Image.open(whole.name) as picture:
            picture.convert("RGB").quantize(192).save(out, optimize=True)
    size = out.stat().st_size
    print(f"{out}: {size} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"{out}: expected at most {MOST_BYTES} bytes, got {size}")


if __name__ == "__main__":
    main()
