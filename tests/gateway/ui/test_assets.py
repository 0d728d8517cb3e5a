import re
from importlib.resources import files

from gateway.ui.assets import NAMES, PAGE, read_assets


def test_every_file_of_the_page_is_served() -> None:
    on_disk = {
        each.name for each in files("gateway.ui").iterdir() if not each.name.endswith(("py", "__"))
    }
    assert set(NAMES) == on_disk
    assert set(read_assets()) == on_disk


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    assets = {name: asset.content.decode() for name, asset in read_assets().items()}
    asked = set(re.findall(r'(?:src|href)="([^"]*)"', assets[PAGE]))
    for name, text in assets.items():
        if name.endswith(".js"):
            asked |= {each.removeprefix("./") for each in re.findall(r'from "([^"]*)"', text)}
        names = set(re.findall(r"https?://[^\s\"']*", text))
        assert names <= {"http://www.w3.org/2000/svg"}, name  # what SVG's elements are called
        assert "@import" not in text
        assert "url(" not in text
    assert asked | {PAGE} == set(assets)


def test_nothing_that_is_told_is_taken_for_markup() -> None:
    for name, asset in read_assets().items():
        if name.endswith(".js"):
            text = asset.content.decode()
            for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("):
                assert word not in text, name


def test_no_style_or_script_stands_in_the_page_itself() -> None:
    text = read_assets()[PAGE].content.decode()
    assert " style=" not in text
    assert "<style" not in text
    assert not re.search(r"\son\w+=", text)
    assert all(' src="' in tag for tag in re.findall(r"<script[^>]*>", text))
