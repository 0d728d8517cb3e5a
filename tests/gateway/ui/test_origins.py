import pytest

from gateway.ui.origins import ForeignRequest, check

HERE = {"Host": "127.0.0.1:8080"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "localhost:9999", "[::1]:8080", "LOCALHOST:1"]
)
def test_this_machine_by_any_of_its_names_and_any_port(host: str) -> None:
    check("GET", {"Host": host}, is_navigation=False)
    check("POST", {"Host": host, "Origin": f"http://{host}"}, is_navigation=False)


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example",
     "127.0.0.1@evil.example", "evil.example@127.0.0.1", "0.0.0.0:8080", "192.168.1.2:8080",
     "[::1", "127.0.0.1:port"],
)  # fmt: skip
def test_a_name_that_was_made_to_mean_this_machine(host: str) -> None:
    with pytest.raises(ForeignRequest, match="Host: expected one of 127"):
        check("GET", {"Host": host}, is_navigation=True)
    with pytest.raises(ForeignRequest, match="Host"):
        check("POST", {"Host": host, "Origin": f"http://{host}"}, is_navigation=False)


@pytest.mark.parametrize(
    "origin",
    [None, "", "null", "https://evil.example", "http://127.0.0.1", "http://127.0.0.1:8081",
     "http://localhost:8080", "http://127.0.0.1:8080.evil.example"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_only_the_page_itself_may_post(origin: str | None, method: str) -> None:
    headers = HERE if origin is None else HERE | {"Origin": origin}
    with pytest.raises(ForeignRequest, match="Origin"):
        check(method, headers, is_navigation=False)


def test_what_browsers_say_of_the_asking_site() -> None:
    for site in ("same-origin", "none"):
        check("GET", HERE | {"Sec-Fetch-Site": site}, is_navigation=False)
    for site in ("cross-site", "same-site", "anything"):
        with pytest.raises(ForeignRequest, match="Sec-Fetch-Site"):
            check("GET", HERE | {"Sec-Fetch-Site": site}, is_navigation=False)
        check("GET", HERE | {"Sec-Fetch-Site": site}, is_navigation=True)


def test_a_long_value_is_not_repeated() -> None:
    with pytest.raises(ForeignRequest) as caught:
        check("GET", {"Host": "x" * 5000}, is_navigation=False)
    assert len(str(caught.value)) < 200
