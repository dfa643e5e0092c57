"""Take profit and stop loss: each action, native where it can be, and the owner's hand wins."""

from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Account
from automations import planning, services
from automations.models import (
    Execution,
    TakeProfitStopLoss,
)
from exchange.client import Client
from exchange.formulas import Side
from exchange.money import Usd, UsdPerBtc
from exchange.position import Position
from exchange.simulator.running import Simulator
from exchange.trade import NewTrade
from tests.automations.acting import (
    STOPLOSS,
    TAKEPROFIT,
    effects,
    events,
    last_write,
    look,
    move,
    rest_until_ready,
    written,
)

pytestmark = pytest.mark.usefixtures("chain")


def exits(account: Account, **fields: Any) -> TakeProfitStopLoss:
    """A valid automation that acts at 20 % of the margin: 102,040.8 or 98,039.2 for `long`."""
    made = TakeProfitStopLoss(
        enabled=True,
        account=account,
        **(
            {"name": "exits", "trigger_pnl_percentage": Decimal(20), "on_exchange": False}
            | fields
            | {"cooldown_s": 1}
        ),
    )
    made.full_clean()
    made.save()
    return made


def running(client: Client) -> Position:
    (position,) = client.rest.running_trades()
    return position


def at(price: int | str) -> UsdPerBtc:
    return UsdPerBtc(Decimal(price))


@pytest.mark.parametrize(
    ("fields", "market", "level"),
    [
        pytest.param({"level": "price", "new_takeprofit": 110_000}, 103_000, "110000", id="a price"),
        pytest.param(
            {"level": "from_entry", "distance_percent": 5}, 103_000, "105000", id="from entry"
        ),
        pytest.param(
            {"level": "from_market", "distance_percent": 1}, 103_000, "104030", id="from market"
        ),
        pytest.param(
            {"level": "break_even", "when": "loss"}, 97_000, "100200.5", id="break-even, fees paid"
        ),
    ],
)
def test_moves_the_take_profit(
    venue: Simulator,
    client: Client,
    account: Account,
    long: Position,
    *,
    fields: dict[str, Any],
    market: int,
    level: str,
) -> None:
    mine = exits(account, does="update_tp", **fields)
    move(venue, market)

    assert look(mine, long) == "confirmed"

    assert running(client).takeprofit == at(level)
    assert Execution.objects.get().after["takeprofit"] == level


@pytest.mark.parametrize(
    ("fields", "market", "level"),
    [
        pytest.param({"level": "price", "new_stoploss": 95_000}, 103_000, "95000", id="a price"),
        pytest.param({"level": "from_entry", "distance_percent": 5}, 103_000, "95000", id="from entry"),
        pytest.param(
            {"level": "from_entry", "distance_percent": -1}, 103_000, "101000", id="beyond the entry"
        ),
        pytest.param(
            {"level": "from_market", "distance_percent": 1}, 103_000, "101970", id="from market"
        ),
        pytest.param({"level": "break_even"}, 103_000, "100200.5", id="break-even, fees paid"),
        pytest.param({"level": "trailing", "distance_percent": 2}, 103_000, "100940", id="trailing"),
        pytest.param(
            {"level": "from_market", "distance_percent": 1, "when": "loss"}, 97_000, "96030",
            id="in loss",
        ),
        pytest.param(
            {"level": "from_market", "distance_percent": 1, "when": "either"}, 97_000, "96030",
            id="either",
        ),
    ],
)  # fmt: skip
def test_moves_the_stop(
    venue: Simulator,
    client: Client,
    account: Account,
    long: Position,
    *,
    fields: dict[str, Any],
    market: int,
    level: str,
) -> None:
    mine = exits(account, does="update_sl", **fields)
    move(venue, market)

    assert look(mine, long) == "confirmed"

    assert running(client).stoploss == at(level)
    assert effects(venue, STOPLOSS) == 1


def test_a_short_has_its_exits_the_other_way_round(
    venue: Simulator, client: Client, account: Account
) -> None:
    short = client.open_trade(NewTrade(side=Side.SELL, leverage=Decimal(10), quantity=Usd(1000)))
    mine = exits(account, does="update_sl", level="from_market", distance_percent=1)
    move(venue, 97_000)

    assert look(mine, short.id) == "confirmed"

    assert running(client).stoploss == at(97_970)


def test_a_stop_never_loosens_unless_asked(
    venue: Simulator, client: Client, account: Account, long: Position
) -> None:
    mine = exits(account, does="update_sl", level="from_market", distance_percent=1)
    levels = []
    for market in (103_000, 102_500, 104_000):
        move(venue, market)
        look(mine, long)
        rest_until_ready(mine)
        levels.append(running(client).stoploss)
    assert levels == [at(101_970), at(101_970), at(102_960)]

    TakeProfitStopLoss.objects.update(may_loosen=True)
    move(venue, 103_000)
    assert look(mine, long) == "confirmed"
    assert running(client).stoploss == at(101_970)


def test_nothing_is_moved_before_the_trigger(
    venue: Simulator, account: Account, long: Position
) -> None:
    mine = exits(account, does="update_sl", level="break_even")
    move(venue, "102040.5")

    assert "has not reached 20.00 %" in look(mine, long)
    move(venue, 102_041)
    assert look(mine, long) == "confirmed"


@pytest.mark.parametrize(
    ("does", "when", "market", "word"),
    [
        pytest.param("close_tp", "profit", 102_041, "confirmed", id="profit reached"),
        pytest.param("close_tp", "profit", 97_000, "has not reached", id="a loss is no profit"),
        pytest.param("close_sl", "loss", 98_039, "confirmed", id="loss reached"),
        pytest.param("close_sl", "loss", 104_000, "has not reached", id="a profit is no loss"),
    ],
)
def test_closes_on_its_own_side_only(
    venue: Simulator,
    client: Client,
    account: Account,
    long: Position,
    *,
    does: str,
    when: str,
    market: int,
    word: str,
) -> None:
    mine = exits(account, does=does, when=when)
    move(venue, market)

    assert word in look(mine, long)

    assert len(client.rest.running_trades()) == (0 if word == "confirmed" else 1)
    if word == "confirmed":
        assert events() == ["tp_sl_intended", "tp_sl_executed", "tp_sl_read_back"]


def test_of_the_notional_ten_times_as_much_is_needed(
    venue: Simulator, account: Account, long: Position
) -> None:
    mine = exits(account, does="close_tp", when="profit", base="notional")
    move(venue, 120_000)

    assert "has not reached 20.00 %" in look(mine, long)
    move(venue, 125_000)
    assert look(mine, long) == "confirmed"


@pytest.mark.parametrize(
    ("does", "when", "path", "level"),
    [
        pytest.param("close_tp", "profit", TAKEPROFIT, "102041", id="take profit"),
        pytest.param("close_sl", "loss", STOPLOSS, "98039.5", id="stop"),
    ],
)
def test_a_closing_level_is_left_with_the_exchange_once_and_acts_while_we_are_down(
    venue: Simulator,
    client: Client,
    account: Account,
    long: Position,
    *,
    does: str,
    when: str,
    path: str,
    level: str,
) -> None:
    mine = exits(account, does=does, when=when, on_exchange=True)

    assert look(mine, long) == "confirmed"
    rest_until_ready(mine)
    assert "has not reached" in look(mine, long)

    assert effects(venue, path) == 1
    assert last_write(venue).params["value"] == float(level)
    move(venue, level)
    assert client.rest.running_trades() == (), "closed by the exchange itself"


def test_what_closes_at_a_loss_is_urgent_and_what_takes_profit_waits(
    venue: Simulator, account: Account, long: Position
) -> None:
    loss = exits(account, does="close_sl", when="loss")
    profit = exits(account, name="profit", does="close_tp", when="profit")
    move(venue, 97_000)

    assert list(services.due(TakeProfitStopLoss)) == [
        services.Due(automation_id=loss.pk, position_id=long.id, urgent=True)
    ]
    plans = planning.plans_of([loss, profit])
    assert [plan.urgent for plan in plans] == [True, False]


def test_a_tighter_stop_of_the_owner_is_left_alone(
    client: Client, account: Account, long: Position
) -> None:
    client.set_stoploss(long.id, at(99_000))
    mine = exits(account, does="close_sl", when="loss", on_exchange=True)

    assert "has not reached" in look(mine, long)

    assert running(client).stoploss == at(99_000)


def test_an_exit_that_would_already_be_crossed_is_not_sent(
    venue: Simulator, account: Account, long: Position
) -> None:
    mine = exits(account, does="update_tp", level="price", new_takeprofit=102_500)
    move(venue, 103_000)

    assert "not beyond the market" in look(mine, long)

    assert written(venue) == ["isolated/trade"]
