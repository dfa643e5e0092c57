import random

import pytest

from exchange.admission import Admission
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
