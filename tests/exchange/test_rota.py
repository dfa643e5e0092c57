from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import inf

import pytest

from exchange.config import PoolPace
from exchange.keeping import Keeping
from exchange.market import Source
from exchange.position import PositionsSnapshot
from exchange.rota import Rota
from exchange.wire import one, position
from tests.exchange import documents

START = datetime(2026, 1, 1, tzinfo=UTC)
PACE = PoolPace(poll_s=4, poll_empty_s=30, empty_per_s=50, reread_s=15, retry_s=1)
POSITION = one(position)(documents.running_trade(), "here")
TURN_S = 0.25


def kept(count: int, *, positions: int = 0, live: bool = False) -> dict[int, Keeping]:
    """Return accounts that were all read at second 0."""
    accounts = {number: Keeping(pace=PACE, since_s=0) for number in range(count)}
    for keeping in accounts.values():
        keeping.live, keeping.heard_s = live, inf if live else -inf
        read(keeping, 0, positions=positions)
    return accounts


def read(keeping: Keeping, now_s: float, *, positions: int) -> None:
    at = START + timedelta(seconds=now_s)
    keeping.begin_reading(now_s)
    keeping.read(PositionsSnapshot(positions=(POSITION,) * positions, at=at, source=Source.REST), now_s)


def turn(rota: Rota, accounts: Mapping[int, Keeping], now_s: float) -> list[float]:
    """Read whoever is due, and return how old what was known of them had become."""
    ages_s = []
    for account_id in rota.due(accounts, now_s):
        keeping = accounts[account_id]
        ages_s.append(now_s - keeping.tried_s)
        read(keeping, now_s, positions=keeping.empty_since_s is None)
    return ages_s


def turns(
    rota: Rota, accounts: Mapping[int, Keeping], since_s: float, until_s: float
) -> list[list[float]]:
    times_s = [since_s + TURN_S * number for number in range(int((until_s - since_s) / TURN_S))]
    return [turn(rota, accounts, now_s) for now_s in times_s]


@pytest.mark.parametrize(
    ("count", "positions", "live", "every_s"),
    [
        pytest.param(1000, 1, False, 4, id="with positions: always soon"),
        pytest.param(169, 0, False, 4, id="few without: as soon"),
        pytest.param(1000, 0, False, 20, id="many without share the readings there are"),
        pytest.param(3000, 0, False, 30, id="very many: not ever more rarely"),
        pytest.param(31, 1, True, 15, id="with a stream: rarely"),
        pytest.param(1, 1, False, 4, id="a single one"),
    ],
)
def test_no_account_waits_longer_than_its_pace_and_none_come_in_crowds(
    *, count: int, positions: int, live: bool, every_s: float
) -> None:
    accounts = kept(count, positions=positions, live=live)
    ages_s = turns(Rota(PACE), accounts, 0, 4 * every_s + TURN_S)

    assert max(age_s for each in ages_s for age_s in each) < every_s + TURN_S
    assert max(map(len, ages_s)) <= count * TURN_S / every_s + 1
    assert sum(map(len, ages_s)) == pytest.approx(4 * count, rel=0.05, abs=1)


def test_accounts_with_positions_take_nothing_from_those_without() -> None:
    empty, held = kept(200), kept(1000, positions=1)
    accounts = empty | {200 + number: keeping for number, keeping in held.items()}
    ages_s = turns(Rota(PACE), accounts, 0, 20)
    assert max(age_s for each in ages_s for age_s in each) < PACE.poll_s + TURN_S


def test_after_a_pause_all_are_read_at_once_and_then_spread_again() -> None:
    accounts, rota = kept(400, positions=1), Rota(PACE)
    turns(rota, accounts, 0, 10)
    assert len(turn(rota, accounts, 60)) == 400
    assert max(map(len, turns(rota, accounts, 60 + TURN_S, 80))) <= 26


def test_one_that_was_just_changed_is_read_now_whatever_the_others_take() -> None:
    accounts, rota = kept(1000), Rota(PACE)
    rota.due(accounts, 0)
    accounts[999].changed = True
    assert 999 in rota.due(accounts, 0.001)


def test_whose_stream_fell_silent_is_read_now() -> None:
    accounts, rota = kept(31, positions=1, live=True), Rota(PACE)
    turns(rota, accounts, 0, 10)
    accounts[7].heard_s = 10 - PACE.stale_s - 0.1
    accounts[7].tried_s = 10 - PACE.poll_s
    assert 7 in rota.due(accounts, 10)


def test_whom_we_could_not_read_or_are_reading_is_not_read_early() -> None:
    accounts, rota = kept(2, positions=1), Rota(PACE)
    rota.due(accounts, 0)
    accounts[0].reading = True
    accounts[1].failed(3.9)
    assert rota.due(accounts, 3.8) == []
    assert rota.due(accounts, 3.9) == [1]
