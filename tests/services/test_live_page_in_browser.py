"""The live page in a real browser, before a real gateway that answers real gRPC calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

from protos.compofa.v1.gateway_pb2 import InferRequest
from tests.services.browser import browser, complaints, emulate, layout_shift, skip_without_browser
from tests.services.conftest import running
from tests.services.live_page import Page
from tests.services.test_live_page import port_of

if TYPE_CHECKING:
    from tests.services.conftest import Client, Connect, GatewayProcess, MakeTensor

DROP = """
const transfer = new DataTransfer();
for (const file of arguments[0].files) transfer.items.add(file);
for (const kind of ["dragenter", "dragover", "drop"]) {
  const event = new DragEvent(kind, {dataTransfer: transfer, bubbles: true, cancelable: true});
  arguments[1].dispatchEvent(event);
}
"""
DRAWN = """
const picture = document.querySelector(".card svg");
return `${picture.querySelectorAll(".dot").length} dots, NaN: ${picture.outerHTML.includes("NaN")}`;
"""
HAND = """
const input = document.createElement("input");
input.type = "file"; input.id = "hand"; input.multiple = true;
document.body.append(input);
return input;
"""


@pytest.fixture(scope="module")
def served(
    artifact_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    skip_without_browser()
    folder = tmp_path_factory.mktemp("gateway")
    with running(artifact_folder, folder, "--ui", "--ui-port", "0") as started:
        yield started


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    skip_without_browser()
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def page(served: GatewayProcess, chrome: Chrome) -> Page:
    return Page(chrome, port_of(served))


@pytest.fixture
def client(served: GatewayProcess, connect: Connect) -> Client:
    return connect(served.target)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "bag.png"
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_every_class_has_its_frontier_and_what_an_idle_gateway_chooses(
    page: Page, client: Client
) -> None:
    page.until(lambda: len(page.all(".card")) == 2)
    for card, name in zip(page.all(".card"), ("alpha", "beta"), strict=True):
        assert card.find_element(By.TAG_NAME, "h3").text == name
        chosen = client.stub.SelectSubnet(_select(name), timeout=10)
        assert f"idle: {chosen.subnet}" in str(card.get_attribute("innerHTML"))
        assert len(card.find_elements(By.CSS_SELECTOR, ".dot")) >= 2
        assert len(card.find_elements(By.CSS_SELECTOR, ".idle")) == 1
    assert complaints(page.chrome) == []


def _select(name: str) -> Any:
    from protos.compofa.v1.gateway_pb2 import SelectSubnetRequest

    return SelectSubnetRequest(device_class=name)


def test_grpc_traffic_appears_row_by_row_and_in_the_pictures(
    page: Page, client: Client, tensor: MakeTensor
) -> None:
    answers = [client.infer(tensor=tensor(), device_class="alpha") for _ in range(3)]
    answers.append(client.infer(tensor=tensor(), device_class="beta", latency_budget_ms=1e5))
    client.error(InferRequest(device_class="<b>nobody</b>", tensor=tensor()))
    page.until(lambda: len(page.rows("answers")) >= 5)
    turned_away, newest, *_ = page.rows("answers")
    assert turned_away[1:3] == ["<b>nobody</b>", "NOT_FOUND"]
    assert newest[1:3] == ["beta", answers[-1].subnet]
    assert newest[4] == _written(answers[-1].predicted_latency_ms)
    assert newest[5] == _written(answers[-1].compute_ms)
    page.until(lambda: len(page.all(".card .live")) >= 2)
    page.until(lambda: len(page.all("#compare .measured")) >= 2)
    assert "1 answered" in page.all(".card")[1].text
    assert int(page.text("count")) >= 5
    assert complaints(page.chrome) == []


def _written(milliseconds: float) -> str:
    """As JavaScript writes it, but for ties."""
    digits = 0 if milliseconds >= 100 else 1 if milliseconds >= 10 else 2
    return f"{milliseconds:.{digits}f}"


def test_what_load_does_to_answers_is_said(page: Page) -> None:
    """Told by hand: whether a real gateway degrades is a matter of its machine."""
    row = {"number": 10**9, "at": 1.5, "device_class": "alpha", "code": "OK", "subnet": "d2-2@12",
           "accuracy": 0.5, "predicted_ms": 1.234, "compute_ms": 123.4, "queue_ms": 12.34,
           "batch": 4, "degraded": True}  # fmt: skip
    shared = row | {"number": 10**9 + 1, "degraded": False}
    script = """const [told, done] = arguments;
        import("/answers.js").then((answers) => { answers.showAnswers(told); done(); });"""
    page.chrome.execute_async_script(script, {"rows": [row, shared], "left_out": 7})
    newest, older, *_ = page.rows("answers")
    assert newest[1:] == ["alpha", "d2-2@12", "50.00 %", "1.23", "123", "12.3", "4 together"]
    assert older[1:] == [*newest[1:-1], "degraded"]
    assert page.text("left-out").startswith("More come than can be read")


def test_an_image_that_is_chosen_is_answered_for_each_class(
    page: Page, client: Client, image: Path
) -> None:
    page.find("#file").send_keys(str(image))
    page.until(lambda: "what each device class answers" in page.text("ask-said"))
    _check_answers(page, client, image)
    assert page.find("#preview").is_displayed()
    assert complaints(page.chrome) == []


def test_an_image_that_is_dropped_is_too(page: Page, client: Client, image: Path) -> None:
    hand = page.chrome.execute_script(HAND)
    hand.send_keys(str(image))
    page.chrome.execute_script(DROP, hand, page.find("#drop"))
    page.until(lambda: "what each device class answers" in page.text("ask-said"))
    _check_answers(page, client, image)
    page.chrome.execute_script(DROP, page.chrome.execute_script(HAND), page.find("main"))
    assert page.text("ask-said") == "Expected one image, got 0 files."
    assert complaints(page.chrome) == []


def _check_answers(page: Page, client: Client, image: Path) -> None:
    shown = page.rows("asked")
    assert [row[0] for row in shown] == ["alpha", "beta"]
    for name, label, subnet, accuracy, predicted, measured in shown:
        answer = client.infer(image=image.read_bytes(), device_class=name)
        assert (label, subnet) == (answer.predictions[0].label, answer.subnet)
        assert accuracy == f"{100 * answer.expected_accuracy:.2f} %"
        assert predicted == _written(answer.predicted_latency_ms)
        assert float(measured) > 0


def test_what_is_no_image_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    text, large = tmp_path / "notes.png", tmp_path / "large.png"
    text.write_text("no image")
    page.find("#file").send_keys(str(text))
    page.until(lambda: "refused" in page.text("ask-said"))
    assert "image: expected one whole image: PNG, JPEG or WEBP" in page.text("ask-said")
    large.write_bytes(b"x" * (17 * 1024 * 1024))
    page.find("#file").send_keys(str(large))
    page.until(lambda: "expected at most 16.0 MiB" in page.text("ask-said"))
    (complaint,) = complaints(page.chrome)  # the browser's own line for a status of 400
    assert "answers" in complaint
    assert "400" in complaint


def test_the_keyboard_is_enough(page: Page, client: Client, tensor: MakeTensor) -> None:
    body = page.find("body")
    body.send_keys(Keys.TAB)
    reached = [_focused(page)]
    ActionChains(page.chrome).send_keys(Keys.TAB).perform()
    reached.append(_focused(page))
    assert reached == ["file", "pause"]
    ActionChains(page.chrome).send_keys(Keys.ENTER).perform()
    assert page.find("#pause").get_attribute("aria-pressed") == "true"
    before, count = page.rows("answers"), int(page.text("count"))
    client.infer(tensor=tensor())
    page.until(lambda: int(page.text("count")) > count)
    assert page.rows("answers") == before
    ActionChains(page.chrome).send_keys(Keys.SPACE).perform()
    page.until(lambda: page.rows("answers") != before)


def _focused(page: Page) -> str:
    return str(page.chrome.execute_script("return document.activeElement.id"))


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_jumps_while_it_fills(
    served: GatewayProcess, chrome: Chrome, client: Client, tensor: MakeTensor, width: int
) -> None:
    page = Page(chrome, port_of(served), width)
    for _ in range(20):
        client.infer(tensor=tensor())
    page.until(lambda: len(page.rows("answers")) == 12)
    assert layout_shift(page.chrome) < 0.1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_it_fits_a_phone_and_is_light_or_dark(page: Page, width: int, scheme: str) -> None:
    emulate(page.chrome, width=width, height=800, scheme=scheme)
    script = "return document.documentElement.scrollWidth"
    assert page.chrome.execute_script(script) <= width
    colour = page.find("body").value_of_css_property("background-color")
    red = int(colour.partition("(")[2].partition(",")[0])
    assert (red > 128) == (scheme == "light")
    assert complaints(page.chrome) == []


def test_a_gateway_that_goes_is_missed_and_found_again(
    chrome: Chrome, artifact_folder: Path, tmp_path: Path, image: Path
) -> None:
    options = ["--ui", "--ui-port"]
    with running(artifact_folder, tmp_path, *options, "0") as first:
        port = port_of(first)
        page = Page(chrome, port)
        first.process.kill()
        page.until(lambda: page.find("body").get_attribute("data-state") == "down")
        page.until(lambda: "does not answer; trying again" in page.text("said"))
        page.find("#file").send_keys(str(image))
        page.until(lambda: "The gateway does not answer" in page.text("ask-said"))
    with running(artifact_folder, tmp_path, *options, str(port)):
        page.until(lambda: page.text("said") == "live")


def test_a_gateway_without_tables_says_what_to_do(
    chrome: Chrome, artifact_folder: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("artifact.json", "weights.safetensors", "norm.safetensors"):
        (bare / name).write_bytes((artifact_folder / name).read_bytes())
    with running(bare, tmp_path, "--ui", "--ui-port", "0") as gateway:
        page = Page(chrome, port_of(gateway))
        assert "No device class yet" in page.text("classes")
        assert "compofa tables import" in page.text("classes")
        assert "no device class to ask for yet" in page.text("ask-said")
        assert not page.find("#file").is_enabled()
        assert page.find("#no-answers").is_displayed()
        _import_table(bare, tmp_path)
        page.until(lambda: [card.text.split()[0] for card in page.all(".card")] == ["phone"])
        assert page.find("#file").is_enabled()
        assert page.chrome.execute_script(DRAWN) == "1 dots, NaN: false"
        assert complaints(chrome) == []


def _import_table(artifact: Path, folder: Path) -> None:
    """As the page says."""
    table = folder / "phone.json"
    table.write_text(json.dumps({"d2-2@12": 1.0}))
    command = [sys.executable, "-m", "gateway", "tables", "import", str(table), "--format", "json"]
    command += ["--artifact", str(artifact), "--device-class", "phone"]
    own = {"COMPOFA_STATE_DIR": str(folder / "state")}
    subprocess.run(command, check=True, env=os.environ | own, capture_output=True, timeout=60)
