from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.allotment import Moves, allot


def moves(
    risks: Mapping[int, float], holding: set[int], *, sockets: int = 2, may_swap: bool = True
) -> Moves:
    return allot(risks, holding, sockets=sockets, swap_margin=0.05, may_swap=may_swap)


@pytest.mark.parametrize(
    ("risks", "holding", "expected"),
    [
        pytest.param({1: 0.1, 2: 0.9, 3: 0.5}, set(), Moves((2, 3), ()), id="most at risk first"),
        pytest.param({1: 0, 2: 0, 3: 0}, set(), Moves((1, 2), ()), id="equal: in fixed order"),
        pytest.param({1: 0.1, 2: 0.1}, {1, 2}, Moves((), ()), id="all served: nothing to do"),
        pytest.param({1: 0.1, 2: 0.2, 3: 0.9}, {1, 2}, Moves((), (1,)), id="the safest gives way"),
        pytest.param({1: 0.1, 2: 0.2, 3: 0.14}, {1, 2}, Moves((), ()), id="not for a trifle"),
        pytest.param({2: 0.2, 3: 0.9}, {1, 2}, Moves((), (1,)), id="useless: given back first"),
        pytest.param(
            {1: 0.1, 2: 0.2, 3: 0.9, 4: 0.8}, {1, 2}, Moves((), (1,)), id="one swap at a time"
        ),
    ],
)
def test_sockets_go_to_those_at_risk(
    risks: Mapping[int, float], holding: set[int], expected: Moves
) -> None:
    assert moves(risks, holding) == expected


def test_no_socket_changes_hands_while_swaps_rest() -> None:
    assert moves({1: 0.1, 2: 0.2, 3: 0.9}, {1, 2}, may_swap=False) == Moves((), ())


accounts = st.integers(1, 12)


@given(st.dictionaries(accounts, st.floats(0, 1)), st.sets(accounts), st.integers(0, 6))
def test_there_are_never_more_sockets_than_allowed(
    risks: dict[int, float], holding: set[int], sockets: int
) -> None:
    found = moves(risks, holding, sockets=sockets)
    assert not set(found.start) & holding
    assert set(found.stop) <= holding
    if len(holding) <= sockets:
        assert len(holding) + len(found.start) <= sockets
    else:
        assert found.start == ()
