"""The slippage of entries: a market beyond it is missed, told, and not bought."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from accounts.gateway import live_view
from accounts.models import Account
from automations import services
from automations.models import AutoEntry, JournalEntry
from exchange.client import Client
from exchange.market import Source
from exchange.money import UsdPerBtc
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    enter,
    events,
    move,
    written,
)
from tests.automations.test_entries import entry

pytestmark = pytest.mark.usefixtures("chain")

MISSED = pytest.mark.parametrize(
    ("fields", "last", "beyond"),
    [
        pytest.param({}, "94525", "94524.5", id="buy below"),
        pytest.param({"side": "sell"}, "95475", "95475.5", id="sell above"),
        pytest.param({"breakout": True}, "95475", "95475.5", id="buy a breakout"),
        pytest.param({"breakout": True, "side": "sell"}, "94525", "94524.5", id="sell a breakout"),
        pytest.param({"slippage_percent": Decimal(2)}, "93100", "93099.5", id="a bound of its own"),
    ],
)


@MISSED
def test_a_market_within_the_slippage_is_opened_at(
    venue: Simulator,
    account: Account,
    *,
    fields: dict[str, Any],
    last: str,
    beyond: str,  # noqa: ARG001
) -> None:
    mine = entry(account, **fields)
    move(venue, last)

    assert enter(mine)["status"] == "completed"


@MISSED
def test_a_market_beyond_the_slippage_is_missed_told_and_not_opened(
    venue: Simulator,
    account: Account,
    *,
    fields: dict[str, Any],
    last: str,  # noqa: ARG001
    beyond: str,
) -> None:
    mine = entry(account, **fields)
    move(venue, beyond)
    assert list(services.due(AutoEntry)) == [services.Due(automation_id=mine.pk, position_id=None)]

    answer = enter(mine)

    assert (answer["status"], answer["currentPrice"]) == ("missed", beyond)
    assert written(venue) == []
    assert not AutoEntry.objects.get().enabled
    assert events() == ["auto_entry_missed"]
    assert "beyond the trigger 95000" in JournalEntry.objects.get().message
    assert enter(mine)["status"] == "disabled, quarantined, or its account may not act"
    assert events() == ["auto_entry_missed"]


def test_95_000_wanted_and_a_market_of_80_000_is_missed(venue: Simulator, account: Account) -> None:
    mine = entry(account)
    move(venue, 80_000)

    assert enter(mine) == {
        "status": "missed",
        "reason": "the market at 80000 is 15.79 % beyond the trigger 95000.0,"
        " more than the 0.5 % allowed",
        "currentPrice": "80000",
        "triggerPrice": "95000",
    }


@pytest.mark.parametrize(
    ("fields", "price", "word"),
    [
        pytest.param({}, 150_000, "pending", id="far on the side where it waits"),
        pytest.param({"breakout": True}, 60_000, "pending", id="likewise for a breakout"),
        pytest.param({"trigger_price": None}, 60_000, "completed", id="at once, at any price"),
        pytest.param({"trigger_type": "limit"}, 60_000, "placed", id="a limit is the exchange's"),
    ],
)
def test_nothing_else_is_missed(
    venue: Simulator, account: Account, fields: dict[str, Any], price: int, word: str
) -> None:
    mine = entry(account, **fields)
    move(venue, price)

    assert enter(mine)["status"] == word


def test_one_wrong_price_of_the_stream_misses_nothing(
    venue: Simulator, client: Client, account: Account
) -> None:
    mine = entry(account)
    move(venue, 96_000)
    quote = client.price(5)
    wrong = replace(quote, price=UsdPerBtc(Decimal(60_000)), source=Source.STREAM)
    live_view().put_price(account.network, wrong)

    assert enter(mine)["status"] == "pending"

    assert AutoEntry.objects.get().enabled
