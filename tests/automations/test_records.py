"""Records of the journal as other programs read them: the event's name, and numbers as numbers."""

import json
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from accounts.models import Account
from automations.models import AutoEntry, MarginGuard, TakeProfitStopLoss
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import enter, look, move

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("chain")]


def exported(event: str) -> dict[str, Any]:
    """Return the one record of that type, as a file has it."""
    said = StringIO()
    call_command("journal", "export", "--format", "jsonl", stdout=said)
    call_command("journal", "verify", stdout=StringIO())
    records = [json.loads(line) for line in said.getvalue().splitlines()]
    [found] = [record for record in records if record["type"] == event]
    assert isinstance(found, dict)
    return found


def test_16_a_guards_record_has_position_margin_ratio_and_action(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    move(venue, "95000.5")
    look(guard, long)

    record = exported("margin_guard_executed")

    assert record["automationId"] == guard.pk
    data = record["data"]
    assert (data["positionId"], data["action"], data["amount"]) == (long.id, "add_margin", 20_000)
    assert (data["marginRatio"], data["price"], data["liquidation"]) == (0.022693, 95000.5, 90909)
    assert data["after"]["liquidation"] == 89285.5
    assert data["stoploss"] is None
    sealed = record["sealed"]
    assert (sealed["type"], sealed["data"]["marginRatio"]) == ("margin_guard", "0.022693")


def test_16_an_exits_record_has_position_profit_and_action(
    venue: Simulator, long: Position, account: Account
) -> None:
    exits = TakeProfitStopLoss.objects.create(
        account=account,
        name="exits",
        does="close_tp",
        trigger_pnl_percentage=Decimal(10),
        when="profit",
        on_exchange=False,
    )
    move(venue, 105_000)
    look(exits, long)

    data = exported("tp_sl_executed")["data"]

    assert (data["positionId"], data["action"]) == (long.id, "close_position")
    assert (data["pnl"], data["pnlPercentage"]) == (47_619, 47.619048)


def test_16_an_entrys_record_has_trade_side_quantity_leverage_and_market(account: Account) -> None:
    entry = AutoEntry.objects.create(
        account=account, name="entry", side="sell", quantity=100, leverage=Decimal("2.5")
    )
    answer = enter(entry)

    data = exported("auto_entry_executed")["data"]

    assert {name: data[name] for name in ("tradeId", "side", "quantity", "leverage", "market")} == {
        "tradeId": answer["tradeId"],
        "side": "sell",
        "quantity": 100,
        "leverage": 2.5,
        "market": "btcusd",
    }
