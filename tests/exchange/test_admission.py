import random

import pytest

from exchange.admission import Admission, Attempt
from exchange.config import StreamCaps


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def dialled(admission: Admission, clock: Clock, count: int) -> list[float]:
    """Return when each of so many impatient sessions got to dial."""
    times: list[float] = []
    while len(times) < count:
        wait_s = admission.wait_s(authenticates=True)
        if wait_s == 0:
            times.append(clock.now)
        clock.now += wait_s
    return times


def most_within(times: list[float], window_s: float) -> int:
    return max(sum(start <= time < start + window_s for time in times) for start in times)


def test_a_restart_of_thirty_accounts_never_trips_a_cap() -> None:
    clock = Clock()
    times = dialled(Admission(StreamCaps(), clock=clock), clock, 30)
    assert most_within(times, 60) <= 20
    assert times[-1] - times[0] < 70


def test_storms_through_a_day_never_trip_a_cap() -> None:
    clock, chance = Clock(), random.Random(7)  # noqa: S311 - a seeded storm
    admission = Admission(StreamCaps(), clock=clock)
    times: list[float] = []
    for _ in range(60):
        times += dialled(admission, clock, 31)
        clock.now += chance.random() * 600
    assert most_within(times, 60) <= 20
    assert most_within(times, 3600) <= 500


def test_late_arrivals_do_not_trip_the_cap_either() -> None:
    clock, chance = Clock(), random.Random(7)  # noqa: S311 - a seeded storm
    times = dialled(Admission(StreamCaps(), clock=clock), clock, 200)
    arrived = sorted(time + 3 * chance.random() for time in times)
    assert most_within(arrived, 60) <= 20


@pytest.mark.parametrize("authenticates", [True, False])
def test_a_connection_without_a_key_costs_no_authentication(*, authenticates: bool) -> None:
    admission = Admission(StreamCaps(), clock=Clock())
    for _ in range(20):
        assert admission.wait_s(authenticates=True) == 0
    assert (admission.wait_s(authenticates=authenticates) > 0) is authenticates


def ended(
    admission: Admission, name: str, attempt: Attempt, *, authenticates: bool = True, alone: bool = True
) -> None:
    admission.ended(attempt, authenticates=authenticates, name=name, alone=alone)


def test_what_was_refused_before_a_connection_stood_costs_nothing() -> None:
    admission = Admission(StreamCaps(), clock=Clock())
    for number in range(1000):
        assert admission.wait_s(authenticates=True, name=str(number)) == 0
        ended(admission, str(number), Attempt(), alone=False)


def test_what_stood_and_showed_no_key_costs_no_sign_in() -> None:
    admission = Admission(StreamCaps(), clock=Clock())
    for number in range(100):
        assert admission.wait_s(authenticates=True, name=str(number)) == 0
        ended(admission, str(number), Attempt(stood=True), alone=False)


def test_prices_keep_a_share_of_the_dials() -> None:
    clock = Clock()
    admission = Admission(StreamCaps(authentications_per_minute=1000), clock=clock)
    while admission.wait_s(authenticates=True) == 0:
        pass
    left = 0
    while admission.wait_s(authenticates=False) == 0:
        left += 1
    assert left == 125


def test_while_all_are_down_one_dial_at_a_time_probes_at_growing_intervals() -> None:
    clock = Clock()
    admission = Admission(StreamCaps(), clock=clock)
    for name in ("a", "b"):  # nothing has failed so far: all may dial
        assert admission.wait_s(authenticates=True, name=name, alone=True) == 0
    for name in ("a", "b"):
        ended(admission, name, Attempt())
    intervals: list[float] = []
    for _ in range(8):
        wait_s = admission.wait_s(authenticates=True, alone=True)
        intervals.append(wait_s)
        clock.now += wait_s
        assert admission.wait_s(authenticates=True, name="probe", alone=True) == 0
        assert admission.wait_s(authenticates=True, alone=True) > 0, "one is on its way"
        ended(admission, "probe", Attempt())
    assert intervals == [1, 2, 4, 8, 16, 32, 45, 45]


@pytest.mark.parametrize("authenticates", [True, False])
def test_who_is_live_calls_the_others(*, authenticates: bool) -> None:
    admission = Admission(StreamCaps(), clock=Clock())
    assert admission.wait_s(authenticates=True, name="a", alone=True) == 0
    ended(admission, "a", Attempt())
    assert admission.wait_s(authenticates=True, alone=True) > 0
    assert admission.wait_s(authenticates=True, alone=False) == 0, "where others are live it may dial"

    live = Attempt(stood=True, live=True)
    ended(admission, "b", live, authenticates=authenticates)

    assert admission.wait_s(authenticates=True, alone=True) == 0
