"""Tokens: what they look like, what is kept of them."""

from __future__ import annotations

import pytest

from gateway.security import tokens


def test_a_token_is_new_each_time_and_says_whose_it_is() -> None:
    made = {tokens.new_token("edge-7.lab") for _ in range(100)}
    assert len(made) == 100
    assert {tokens.name_in(token) for token in made} == {"edge-7.lab"}
    assert all(len(token.rpartition("_")[2]) >= 1 and len(token) < 128 for token in made)
    assert all(token.startswith("compofa_edge-7.lab_") for token in made)
    assert min(len(token) for token in made) >= len("compofa_edge-7.lab_") + 43  # 256 bits


@pytest.mark.parametrize("name", ["", "a b", "A", "-a", "a-", "a_b", "a" * 64, "ä", "a\n", "*"])
def test_a_name_that_logs_or_files_could_not_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"^name: expected at most 63"):
        tokens.new_token(name)


@pytest.mark.parametrize(
    "token", ["", "compofa", "compofa_a", "other_a_b", "x" * 10_000, "compofa_a_" + "b" * 200]
)
def test_what_is_no_token_has_no_name(token: str) -> None:
    assert tokens.name_in(token) == ""


def test_a_digest_is_not_the_token_and_only_the_same_is_the_same() -> None:
    token = tokens.new_token("a")
    digest = tokens.digest_of(token)
    assert tokens.is_digest(digest)
    assert not tokens.is_digest(digest.upper())
    assert not tokens.is_digest(token)
    assert token.rpartition("_")[2] not in digest
    assert tokens.same(digest, tokens.digest_of(token))
    assert not tokens.same(digest, tokens.digest_of(token[:-1] + "~"))
