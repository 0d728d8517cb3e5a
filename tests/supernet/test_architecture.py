"""The subnet id is a faithful name of an architecture."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supernet.architecture import Architecture

numbers = st.integers(1, 9999)
several = st.lists(numbers, min_size=1, max_size=8).map(tuple)
architectures = st.builds(
    Architecture,
    depths=several,
    resolution=numbers,
    kernels=several | st.just(()),
    expand_ratios=several | st.just(()),
)


@given(architectures)
def test_id_and_parse_are_inverse(arch: Architecture) -> None:
    assert Architecture.parse(arch.id) == arch


@given(architectures, architectures)
def test_two_architectures_share_an_id_only_if_equal(a: Architecture, b: Architecture) -> None:
    assert (a.id == b.id) == (a == b)


@given(st.text(alphabet="dke@/-0123456789 \n", max_size=20))
def test_text_is_refused_or_is_the_id_of_what_it_parses_to(text: str) -> None:
    try:
        arch = Architecture.parse(text)
    except ValueError:
        return
    assert arch.id == text


@pytest.mark.parametrize(
    ("subnet_id", "arch"),
    [
        ("d2-3-4-2-3@192", Architecture((2, 3, 4, 2, 3), 192)),
        ("d2/k3-5@64", Architecture((2,), 64, kernels=(3, 5))),
        ("d2/e3-6@64", Architecture((2,), 64, expand_ratios=(3, 6))),
        ("d2/k3-5/e3-6@64", Architecture((2,), 64, kernels=(3, 5), expand_ratios=(3, 6))),
    ],
)
def test_ids_are_written_as_documented(subnet_id: str, arch: Architecture) -> None:
    assert arch.id == str(arch) == subnet_id
    assert Architecture.parse(subnet_id) == arch


@pytest.mark.parametrize(
    "text",
    [
        "", "d@28", "d2", "2-3@28", "d2-3@", "d2--3@28", "d2-3-@28", "d0-2@28", "d02@28",
        "d2@28 ", " d2@28", "d2@28\n", "D2@28", "d2@-28", "d2@2.8", "d2@28@28", "d2/e3/k3@28",
        "d2/k@28", "d²@28", "d٢@28", "d12345@28",
    ],
)  # fmt: skip
def test_bad_id_is_named_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match="expected a form like") as caught:
        Architecture.parse(text)
    message = str(caught.value)
    assert repr(text) in message
    assert "\n" not in message


def test_an_architecture_is_a_value() -> None:
    first, second = Architecture((2, 3), 28), Architecture((2, 3), 28)
    assert len({first, second, Architecture((2, 3), 24)}) == 2
    assert sorted([Architecture((3, 2), 28), first]) == [first, Architecture((3, 2), 28)]
