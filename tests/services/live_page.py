"""The live page as whoever looks at it sees it."""

from __future__ import annotations

from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.services.browser import complaints, emulate

WITHIN_S = 60


class Page:
    """Opened, and live."""

    def __init__(self, chrome: Chrome, port: int, width: int = 1280) -> None:
        self.chrome, self.port = chrome, port
        emulate(chrome, width=width, height=1000)
        chrome.get("about:blank")
        complaints(chrome)
        chrome.get(f"http://127.0.0.1:{port}/")
        self.until(lambda: self.text("said") == "live")

    def until(self, condition: Any) -> None:
        WebDriverWait(self.chrome, WITHIN_S, 0.05).until(lambda _: condition())

    def find(self, selector: str) -> WebElement:
        return self.chrome.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.chrome.find_elements(By.CSS_SELECTOR, selector)

    def text(self, element_id: str) -> str:
        return self.find(f"#{element_id}").text

    def rows(self, table: str) -> list[list[str]]:
        """The cells' texts, without rows that are there to hold the place."""
        script = """return [...document.querySelectorAll(arguments[0])].map(
            (row) => [...row.cells].map((cell) => cell.textContent.trim()))"""
        found = self.chrome.execute_script(script, f"#{table} tbody tr:not(.blank)")
        return [[str(cell) for cell in row] for row in found]
