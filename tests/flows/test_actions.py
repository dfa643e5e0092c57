"""Each action of each kind, swept and done by a real worker, counted at the exchange."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from automations import tasks
from automations.models import AutoEntry, Execution, GuardStep, MarginGuard, TakeProfitStopLoss
from automations.models.kinds import Kind
from exchange.position import Regime
from tests.automations.acting import events, reasons, states
from tests.flows.conftest import Story

pytestmark = pytest.mark.timeout(120)

HALF_LOST = {"isolated": 95_000, "cross": 80_000}
"""Where half of the margin, or somewhat more, is lost."""
OPEN, CLOSE, ADD = "isolated/trade", "isolated/trade/close", "isolated/trade/add-margin"
STOP, PROFIT = "isolated/trade/stoploss", "isolated/trade/takeprofit"
DEPOSIT, ORDER, CROSS_CLOSE = "cross/deposit", "cross/order", "cross/position/close"
Effects = list[tuple[str, dict[str, Any]]]


def guard(
    story: Story,
    regime: str,
    *,
    shadow: bool = False,
    accepts: bool = True,
    metric: str = "margin_used",
    **step: Any,
) -> MarginGuard:
    """Act when half of the margin is lost, or where the step says."""
    made = MarginGuard(
        enabled=True,
        account=story.account,
        name="guard",
        shadow=shadow,
        regime=regime,
        metric=metric,
        budget_per_position_percent=None,
        budget_per_position_sats=1_000_000,
        budget_per_day_sats=1_000_000,
        accepts_reopening=accepts and regime == Regime.ISOLATED,
    )
    made.full_clean()
    made.save()
    GuardStep.objects.create(guard=made, **{"threshold_percent": Decimal(50), **step})
    return made


@pytest.mark.parametrize(
    ("regime", "step", "effects"),
    [
        pytest.param("isolated", {"does": "notify"}, [], id="isolated: only tells"),
        pytest.param("cross", {"does": "notify"}, [], id="cross: only tells"),
        pytest.param(
            "isolated", {"does": "add_fixed", "amount_sats": 20_000}, [(ADD, {"amount": 20_000})],
            id="isolated: adds a fixed amount",
        ),
        pytest.param(
            "cross", {"does": "add_fixed", "amount_sats": 20_000}, [(DEPOSIT, {"amount": 20_000})],
            id="cross: deposits a fixed amount",
        ),
        pytest.param(
            "isolated", {"does": "add_share", "share_percent": 10}, [(ADD, {"amount": 10_000})],
            id="isolated: adds a share of its 100,000",
        ),
        pytest.param(
            "cross", {"does": "add_share", "share_percent": 10}, [(DEPOSIT, {"amount": 49_750})],
            id="cross: deposits a share of its 497,500",
        ),
        pytest.param(
            # 52,632 lost are 30 % of 175,439.
            "isolated", {"does": "add_to_reach", "target_percent": 30}, [(ADD, {"amount": 75_439})],
            id="isolated: adds just enough",
        ),
        pytest.param(
            # 250,000 lost are 30 % of 833,334.
            "cross", {"does": "add_to_reach", "target_percent": 30}, [(DEPOSIT, {"amount": 335_834})],
            id="cross: deposits just enough",
        ),
        pytest.param(
            "isolated", {"does": "reduce_position", "reduce_percentage": 40},
            [
                (CLOSE, {}),
                # The leverage is what the 46,000 left after loss and fees allow.
                (
                    OPEN,
                    {"type": "market", "side": "buy", "quantity": 600, "leverage": Decimal("13.72")},
                ),
            ],
            id="isolated: closes and opens the rest anew",
        ),
        pytest.param(
            "cross",
            {
                "does": "reduce_position", "reduce_percentage": 40,
                "metric": "liquidation_distance", "threshold_percent": 20,
            },
            [(ORDER, {"type": "market", "side": "sell", "quantity": 400})],
            id="cross: orders the other way",
        ),
        pytest.param(
            "isolated", {"does": "close_position"}, [(CLOSE, {})], id="isolated: closes"
        ),
        pytest.param("cross", {"does": "close_position"}, [(CROSS_CLOSE, {})], id="cross: closes"),
    ],
)  # fmt: skip
def test_a_guard_does_what_its_step_says(
    story: Story, *, regime: str, step: dict[str, Any], effects: Effects
) -> None:
    story.open(regime)
    guard(story, regime, **step)
    story.move(HALF_LOST[regime])

    answers = story.worker.sweep(tasks.sweep_margin_guards)

    assert answers == [{"status": "confirmed"}]
    assert story.effects() == effects
    assert states() == ["confirmed"] * max(1, len(effects))
    assert events().count("margin_guard_executed") == len(states())


def test_a_trade_is_not_reduced_where_its_owner_did_not_accept_the_cost(story: Story) -> None:
    story.open()
    guard(story, "isolated", accepts=False, does="reduce_position", reduce_percentage=40)
    story.move(95_000)

    answers = story.worker.sweep(tasks.sweep_margin_guards)

    assert answers == [{"status": "not_accepted"}]
    assert (story.effects(), states(), reasons()) == ([], [], ["not_accepted"])


def exits(story: Story, **fields: Any) -> TakeProfitStopLoss:
    """Act at 20 % of the margin: 102,040.8 or 98,039.2 for an isolated trade."""
    usual = {"name": "exits", "trigger_pnl_percentage": Decimal(20), "on_exchange": False}
    made = TakeProfitStopLoss(enabled=True, account=story.account, **(usual | fields))
    made.full_clean()
    made.save()
    return made


NATIVE = {"on_exchange": True}


@pytest.mark.parametrize(
    ("fields", "market", "effects"),
    [
        pytest.param(
            {"does": "update_tp", "level": "price", "new_takeprofit": 110_000}, 103_000,
            [(PROFIT, {"value": 110_000})], id="update_tp: to a price",
        ),
        pytest.param(
            {"does": "update_tp", "level": "from_market", "distance_percent": 1}, 103_000,
            [(PROFIT, {"value": 104_030})], id="update_tp: from the market",
        ),
        pytest.param(
            {"does": "update_sl", "level": "price", "new_stoploss": 99_000}, 103_000,
            [(STOP, {"value": 99_000})], id="update_sl: to a price",
        ),
        pytest.param(
            {"does": "update_sl", "level": "break_even"}, 103_000,
            [(STOP, {"value": Decimal("100200.5")})], id="update_sl: to break-even",
        ),
        pytest.param(
            {"does": "update_sl", "level": "from_market", "distance_percent": 1, "when": "loss"},
            97_000, [(STOP, {"value": 96_030})], id="update_sl: in loss",
        ),
        pytest.param(
            {"does": "update_sl", "level": "trailing", "distance_percent": 2}, 103_000,
            [(STOP, {"mode": "trailing", "value": Decimal("0.02")})], id="update_sl: a trailing stop",
        ),
        pytest.param(
            {"does": "close_tp", "when": "profit"}, 103_000, [(CLOSE, {})], id="close_tp: isolated",
        ),
        pytest.param(
            {"does": "close_sl", "when": "loss"}, 97_000, [(CLOSE, {})], id="close_sl: isolated",
        ),
        pytest.param(
            {"does": "close_tp", "when": "profit"} | NATIVE, 100_000,
            [(PROFIT, {"value": 102_041})], id="close_tp: left with the exchange",
        ),
        pytest.param(
            {"does": "close_sl", "when": "loss"} | NATIVE, 100_000,
            [(STOP, {"value": Decimal("98039.5")})], id="close_sl: left with the exchange",
        ),
        pytest.param(
            {"does": "close_tp", "when": "profit", "regime": "cross"} | NATIVE, 126_000,
            [(CROSS_CLOSE, {})], id="close_tp: cross, which knows no native exit",
        ),
        pytest.param(
            {"does": "close_sl", "when": "loss", "regime": "cross"} | NATIVE, 85_000,
            [(CROSS_CLOSE, {})], id="close_sl: cross, which knows no native exit",
        ),
    ],
)  # fmt: skip
def test_take_profit_and_stop_loss_do_what_they_say(
    story: Story, *, fields: dict[str, Any], market: int, effects: Effects
) -> None:
    story.open(fields.get("regime", "isolated"))
    exits(story, **fields)
    story.move(market)

    answers = story.worker.sweep(tasks.sweep_exits)
    again = story.worker.sweep(tasks.sweep_exits)

    assert answers == [{"status": "confirmed"}]
    assert again == []
    assert story.effects() == effects
    assert states() == ["confirmed"]
    assert events()[:3] == ["tp_sl_intended", "tp_sl_executed", "tp_sl_read_back"]


def entry(story: Story, **fields: Any) -> AutoEntry:
    """Buy 100 USD at 10x, once, at 95,000 or below."""
    usual = {"name": "entry", "side": "buy", "quantity": 100, "trigger_price": Decimal(95_000)}
    made = AutoEntry(enabled=True, account=story.account, **(usual | fields))
    made.full_clean()
    made.save()
    return made


EXITS = {"stoploss": Decimal(90_000), "takeprofit": Decimal(110_000)}
BOUGHT = {"side": "buy", "quantity": 100}
LEVERED = BOUGHT | {"leverage": 10}


@pytest.mark.parametrize(
    ("fields", "market", "effect"),
    [
        pytest.param({}, 95_000, (OPEN, LEVERED | {"type": "market"}), id="isolated, market"),
        pytest.param(
            {"trigger_type": "limit"}, 100_000,
            (OPEN, LEVERED | {"type": "limit", "price": 95_000}), id="isolated, limit",
        ),
        pytest.param(
            EXITS, 95_000, (OPEN, LEVERED | {"type": "market"} | EXITS),
            id="isolated, market, with stop and take profit",
        ),
        pytest.param(
            EXITS | {"trigger_type": "limit"}, 100_000,
            (OPEN, LEVERED | {"type": "limit", "price": 95_000} | EXITS),
            id="isolated, limit, with stop and take profit",
        ),
        pytest.param(
            {"regime": "cross"}, 95_000, (ORDER, BOUGHT | {"type": "market"}), id="cross, market"
        ),
        pytest.param(
            {"regime": "cross", "trigger_type": "limit"}, 100_000,
            (ORDER, BOUGHT | {"type": "limit", "price": 95_000}), id="cross, limit",
        ),
    ],
)  # fmt: skip
def test_an_entry_opens_once_and_disarms(
    story: Story, *, fields: dict[str, Any], market: int, effect: tuple[str, dict[str, Any]]
) -> None:
    story.deposit(100_000)
    mine = entry(story, **fields)
    story.move(market)

    (answer,) = story.worker.sweep(tasks.sweep_entries)
    again = story.worker.sweep(tasks.sweep_entries)

    done = "placed" if mine.trigger_type == "limit" else "completed"
    assert (answer["status"], answer["side"], answer["market"]) == (done, "buy", "btcusd")
    assert again == []
    assert story.effects() == [effect]
    mine.refresh_from_db()
    assert not mine.enabled
    assert Execution.objects.get().position_id == answer["tradeId"]
    assert "auto_entry_executed" in events()


def test_an_entry_waits_for_its_price(story: Story) -> None:
    mine = entry(story)
    story.move("95000.5")

    assert story.worker.sweep(tasks.sweep_entries) == []
    asked = story.worker.look(mine.pk, None)
    assert story.worker.answers(asked) == [
        {
            "status": "pending",
            "reason": "price_not_triggered",
            "currentPrice": "95000.5",
            "triggerPrice": "95000",
        }
    ]
    assert story.effects() == []


def test_an_entry_opens_as_often_as_it_may_with_a_pause_between(story: Story) -> None:
    entry(story, most_times=2, pause_s=60, cooldown_s=1)
    story.move(95_000)

    words = []
    for _ in range(3):
        words.append([answer["status"] for answer in story.worker.sweep(tasks.sweep_entries)])
        words.append([answer["status"] for answer in story.worker.sweep(tasks.sweep_entries)])
        Execution.objects.update(settled_at=timezone.now() - timedelta(seconds=61))

    assert words == [["completed"], [], ["completed"], [], [], []]
    assert [path for path, _ in story.effects()] == [OPEN, OPEN]
    assert not AutoEntry.objects.get().enabled


def topping_up(story: Story, *, shadow: bool) -> MarginGuard:
    return guard(story, "isolated", shadow=shadow, does="add_fixed", amount_sats=20_000)


def stopping(story: Story, *, shadow: bool) -> TakeProfitStopLoss:
    return exits(story, does="close_sl", when="loss", shadow=shadow)


@pytest.mark.parametrize(
    ("sweep", "make"),
    [
        pytest.param(tasks.sweep_margin_guards, topping_up, id="guard"),
        pytest.param(tasks.sweep_exits, stopping, id="stop loss"),
        pytest.param(tasks.sweep_entries, entry, id="entry"),
    ],
)
def test_a_shadow_writes_nothing_and_decides_as_its_live_twin(
    story: Story, *, sweep: Callable[[], str], make: Callable[..., Kind]
) -> None:
    story.open()
    shadow = make(story, shadow=True)
    story.move(95_000)

    assert story.worker.sweep(sweep) == [{"status": "shadow"}]
    assert story.effects() == []

    shadow.name, shadow.enabled = "shadow", False
    shadow.save()
    make(story, shadow=False)
    (answer,) = story.worker.sweep(sweep)

    assert answer["status"] in {"confirmed", "completed"}
    assert len(story.effects()) == 1
    told = Execution.objects.order_by("id").values_list("does", "amount_sats", "quantity", "level")
    assert told[0] == told[1]
