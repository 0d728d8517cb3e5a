from __future__ import annotations

from pathlib import Path

import pytest

from gateway.embedded_store import EmbeddedStore
from gateway.stores import STATE_DIR_VARIABLE, default_path, open_store


def test_the_default_store_lies_in_the_state_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(STATE_DIR_VARIABLE, str(tmp_path))
    store = open_store(None)
    assert isinstance(store, EmbeddedStore)
    assert store.path == tmp_path / "tables.sqlite3"
    monkeypatch.delenv(STATE_DIR_VARIABLE)
    assert "compofa" in default_path().parts


def test_a_store_by_its_url(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/a.sqlite3")
    assert isinstance(store, EmbeddedStore)
    assert store.path == tmp_path / "a.sqlite3"


@pytest.mark.parametrize("url", ["tables.sqlite3", "ftp://host", "sqlite://", "sqlite:///"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected a form like sqlite:///path/to/file"):
        open_store(url)
