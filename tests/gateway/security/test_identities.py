"""The file of those who may call: what its lines mean, and that errors do not repeat them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import Unauthenticated
from gateway.security.identities import Identities, Identity, line_of, read_identities
from gateway.security.tokens import digest_of, new_token


def read(folder: Path, text: str) -> Identities:
    file = folder / "tokens"
    file.write_text(text)
    return read_identities(file)


def test_a_token_opens_what_its_line_says(tmp_path: Path) -> None:
    first, second, other = new_token("edge-7"), new_token("edge-7"), new_token("ci")
    text = "\n".join(
        (
            "# two while one is replaced by the other",
            line_of("edge-7", first, ["infer"]) + "   # until June",
            line_of("edge-7", second, ["infer", "report"]),
            "",
            line_of("ci", other, ["fetch"]),
        )
    )
    known = read(tmp_path, text)
    assert known.by_token(first) == Identity("edge-7", frozenset({"infer"}))
    assert known.by_token(second).rights == {"infer", "report"}
    assert known.by_token(other) == Identity("ci", frozenset({"fetch"}))


def test_another_token_opens_nothing(tmp_path: Path) -> None:
    token = new_token("edge-7")
    known = read(tmp_path, line_of("edge-7", token, ["infer"]))
    others = [new_token("edge-7"), new_token("ci"), token.replace("edge-7", "edge-8")]
    for wrong in (*others, token[:-1], token + "x", token.upper(), digest_of(token), ""):
        with pytest.raises(Unauthenticated) as caught:
            known.by_token(wrong)
        assert caught.value.safe_message == "authorization: the token is not known"


def test_the_first_name_of_a_certificate_that_has_a_line_counts(tmp_path: Path) -> None:
    known = read(tmp_path, "a.local certificate infer,report\nspiffe://lab/b certificate fetch\n")
    assert known.by_certificate(["x", "spiffe://lab/b", "a.local"]).rights == {"fetch"}
    assert known.by_certificate(["x", "y"]) == Identity("x", frozenset({"infer"}))
    with pytest.raises(Unauthenticated, match="has no name"):
        known.by_certificate([])


def test_a_star_is_any_certificate_without_a_line(tmp_path: Path) -> None:
    known = read(tmp_path, "* certificate report\na.local certificate infer\n")
    assert known.by_certificate(["x"]) == Identity("x", frozenset({"report"}))
    assert known.by_certificate(["*", "a.local"]) == Identity("a.local", frozenset({"infer"}))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("edge-7", "expected NAME, then"),
        ("edge-7 certificate", "expected NAME, then"),
        ("edge-7 certificate infer fetch", "expected NAME, then"),
        ("edge-7 certificate infer,admin", "expected NAME, then"),
        ("edge-7 compofa_edge-7_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0 infer", "expected NAME, then"),
        ("edge-7 sha256:12ab infer", "expected NAME, then"),
        (f"Edge {digest_of('x')} infer", "name: expected at most 63"),
        ("a certificate infer", "the name has a line already"),
    ],
)
def test_a_line_that_is_none_is_named_and_not_repeated(
    tmp_path: Path, line: str, said: str
) -> None:
    with pytest.raises(ValueError, match="line 3: ") as caught:
        read(tmp_path, f"# the file\na certificate infer\n{line}\n")
    message = str(caught.value)
    assert f"{tmp_path}/tokens: line 3: {said}" in message
    assert "c2Vj" not in message
    assert "\n" not in message


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="tokens: expected text in UTF-8"):
        read_identities(tmp_path / "tokens")
