from exchange.admission import Attempt
from exchange.config import Timeouts
from exchange.dialling import DialQueue, Redials

RISKS = {1: 0.2, 2: 0.9, 3: 0.9}


def test_the_account_most_at_risk_dials_first_then_the_next() -> None:
    queue = DialQueue(RISKS.__getitem__, clock=lambda: 0.0)
    assert queue.wait_s(1) == 0, "nobody else waits"
    assert queue.wait_s(2) == 0
    assert queue.wait_s(3) > 0
    assert queue.wait_s(1) > 0
    queue.dials(2)
    assert queue.wait_s(3) == 0


def test_who_asks_no_more_holds_up_nobody() -> None:
    now = [0.0]
    queue = DialQueue(RISKS.__getitem__, clock=lambda: now[0])
    assert queue.wait_s(2) == 0
    assert queue.wait_s(1) > 0
    now[0] = 2.1
    assert queue.wait_s(1) == 0


def test_who_tries_in_vain_comes_after_all_others_until_it_is_live() -> None:
    queue = DialQueue(RISKS.__getitem__, clock=lambda: 0.0)
    queue.dials(2)
    assert queue.wait_s(2) == 0, "alone it may try again"
    assert queue.wait_s(1) == 0
    assert queue.wait_s(2) > 0
    queue.is_live(2)
    assert queue.wait_s(2) == 0
    assert queue.wait_s(1) > 0


TIMEOUTS = Timeouts(reconnect_first_s=1, reconnect_most_s=20, refused_most_s=300)
STOOD = Attempt(stood=True)


def waits(*, has_key: bool, attempt: Attempt, is_alone: bool) -> list[float]:
    redials = Redials(TIMEOUTS, has_key=has_key, chance=lambda: 1.0)
    return [redials.wait_s(attempt, lasted_s=1, is_alone=is_alone) for _ in range(12)]


def test_a_fault_of_one_key_alone_has_its_connections_rarer_and_rarer() -> None:
    assert waits(has_key=True, attempt=STOOD, is_alone=False)[-1] == 300


def test_where_all_are_down_or_nothing_stood_it_is_no_fault_of_its_own() -> None:
    for is_alone, attempt in ((True, STOOD), (False, Attempt())):
        assert waits(has_key=True, attempt=attempt, is_alone=is_alone)[-1] == 20
    assert waits(has_key=False, attempt=STOOD, is_alone=False)[-1] == 20


def test_a_session_that_was_live_for_long_begins_anew() -> None:
    redials = Redials(TIMEOUTS, has_key=True, chance=lambda: 1.0)
    for _ in range(5):
        redials.wait_s(STOOD, lasted_s=1, is_alone=True)
    assert redials.wait_s(Attempt(stood=True, live=True), lasted_s=60, is_alone=True) == 1
