from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.stores import by_url as stores
from gateway.stores.by_url import (
    CREATED_BY_VARIABLE,
    STATE_DIR_VARIABLE,
    STORE_VARIABLE,
    default_path,
    open_store,
    signed,
)
from gateway.stores.embedded_store import EmbeddedStore
from gateway.stores.tables import StoreUnavailableError, TableStore
from supernet.latency import LatencyTable


def test_the_default_store_lies_in_the_state_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(STATE_DIR_VARIABLE, str(tmp_path))
    store = open_store(None)
    assert isinstance(store, EmbeddedStore)
    assert store.path == tmp_path / "tables.sqlite3"
    monkeypatch.delenv(STATE_DIR_VARIABLE)
    assert "compofa" in default_path().parts


def test_the_environment_names_a_store_for_every_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, "redis://:secret@host")
    assert open_store(None).name == "redis://host:6379"
    assert open_store(f"sqlite://{tmp_path}/a.sqlite3").name == f"sqlite://{tmp_path}/a.sqlite3"
    monkeypatch.setenv(STORE_VARIABLE, "")
    assert open_store(None).name.startswith("sqlite://")


def test_a_question_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def never(_: TableStore) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(stores, "ANSWER_WITHIN_S", 0.05)
    with pytest.raises(StoreUnavailableError, match=r"a.sqlite3: no answer within 0.05 s"):
        stores.ask(f"sqlite://{tmp_path}/a.sqlite3", never)


def test_a_table_says_who_put_it_there_and_nothing_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, tables: tuple[LatencyTable, LatencyTable]
) -> None:
    monkeypatch.delenv(CREATED_BY_VARIABLE, raising=False)
    monkeypatch.setenv("LOGNAME", "maria")
    assert signed(tables[0]).created_by == "maria"
    monkeypatch.setenv(CREATED_BY_VARIABLE, "release\npipeline " + 99 * "x")
    who = signed(tables[0]).created_by
    assert who is not None
    assert who.startswith("releasepipeline xxx")
    assert LatencyTable.model_validate_json(signed(tables[0]).model_dump_json()).created_by == who
    monkeypatch.setenv(CREATED_BY_VARIABLE, "")
    assert signed(tables[0]).created_by is None


def test_a_store_by_its_url(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/a.sqlite3")
    assert isinstance(store, EmbeddedStore)
    assert store.path == tmp_path / "a.sqlite3"


@pytest.mark.parametrize("url", ["tables.sqlite3", "ftp://host", "sqlite://", "sqlite:///"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected a form like sqlite:///path/to/file"):
        open_store(url)
