"""Take profit and stop loss: each action, native where it can be, and the owner's hand wins."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client as Browser
from django.urls import reverse

from accounts.models import Account
from automations import disarming, planning, remembering, services
from automations.models import (
    Execution,
    ExitDisarmed,
    JournalEntry,
    MarginGuard,
    TakeProfitStopLoss,
)
from automations.remembering import memories_of, memory_of
from automations.rules.memory import NOTHING
from exchange.client import Client
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.position import Position, PositionId
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
from tests.automations.conftest import open_long
from tests.automations.typing_in import EXITS, TYPED, change, text

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


NATIVE_STOP = {"does": "close_sl", "when": "loss", "on_exchange": True}
OURS = pytest.mark.parametrize(
    "fields",
    [
        pytest.param(NATIVE_STOP, id="native stop"),
        pytest.param(
            {"does": "update_sl", "level": "trailing", "distance_percent": 2}, id="trailing stop"
        ),
        pytest.param({"does": "update_sl", "level": "price", "new_stoploss": 99_000}, id="fixed stop"),
    ],
)


@pytest.mark.parametrize("by_hand", [None, 97_000], ids=["removed", "changed"])
@OURS
def test_a_stop_that_the_owner_changed_or_removed_disarms_visibly_and_is_not_set_again(
    venue: Simulator,
    client: Client,
    account: Account,
    long: Position,
    *,
    fields: dict[str, Any],
    by_hand: int | None,
) -> None:
    mine = exits(account, **fields)
    move(venue, 103_000)
    assert look(mine, long) == "confirmed"
    rest_until_ready(mine)

    client.set_stoploss(long.id, None if by_hand is None else at(by_hand))
    assert due(mine) == [long.id], "somebody looks at once, not at the next crossing"

    for market in (103_000, 104_000, 97_500):
        move(venue, market)
        assert "changed by hand" in look(mine, long)
        assert due(mine) == []
    assert effects(venue, STOPLOSS) == 2, "ours and the owner's"
    assert events().count("tp_sl_disarmed") == 1, "told once"
    entry = JournalEntry.objects.get(event="tp_sl_disarmed")
    assert "changed by hand" in entry.message
    assert "until you re-arm it" in entry.message
    assert entry.data["stoploss"] == (None if by_hand is None else str(by_hand))
    (row,) = ExitDisarmed.objects.standing()
    assert (row.automation_id, row.position_id) == (mine.pk, long.id)


def due(automation: TakeProfitStopLoss) -> list[PositionId | None]:
    found = services.due(TakeProfitStopLoss)
    return [each.position_id for each in found if each.automation_id == automation.pk]


def disarmed(venue: Simulator, client: Client, account: Account, long: Position) -> TakeProfitStopLoss:
    """A native stop of ours at 98,039.5, which its owner has removed."""
    mine = exits(account, **NATIVE_STOP)
    assert look(mine, long) == "confirmed"
    rest_until_ready(mine)
    client.set_stoploss(long.id, None)
    assert "changed by hand" in look(mine, long)
    assert effects(venue, STOPLOSS) == 2
    return mine


def test_its_page_says_where_it_is_disarmed_and_one_click_arms_it_again(
    browser: Browser, venue: Simulator, client: Client, account: Account, long: Position
) -> None:
    mine = disarmed(venue, client, account, long)
    listed = reverse("admin:automations_takeprofitstoploss_changelist")
    for page in (listed, change(mine, EXITS)):
        assert f"disarmed on {long.id}: the stop was set to 98039.5 and is gone" in text(
            browser.get(page)
        )

    rearm = {"action": "rearm", "_selected_action": [str(mine.pk)]}
    page = text(browser.post(listed, rearm, follow=True))

    assert "Re-armed on 1 position(s)." in page
    assert "disarmed on" not in page
    assert events()[-1] == "tp_sl_rearmed"
    assert "root re-armed it" in JournalEntry.objects.latest("id").message
    assert look(mine, long) == "confirmed", "its stop is set again"
    assert running(client).stoploss == at("98039.5")
    rest_until_ready(mine)
    client.set_stoploss(long.id, None)
    assert "changed by hand" in look(mine, long), "and a second removal is noticed as the first was"
    assert events().count("tp_sl_disarmed") == 2


def test_the_button_on_its_page_arms_it_again_and_is_there_only_then(
    browser: Browser,
    venue: Simulator,
    client: Client,
    account: Account,
    *,
    long: Position,
    common: dict[str, str],
) -> None:
    mine = disarmed(venue, client, account, long)
    page = change(mine, EXITS)
    assert 'name="automations_takeprofitstoploss_rearm_this"' in text(browser.get(page))
    typed = common | TYPED[EXITS] | {"does": "close_sl", "when": "loss", "level": ""}

    assert (
        browser.post(page, typed | {"automations_takeprofitstoploss_rearm_this": ""}).status_code == 302
    )

    assert not ExitDisarmed.objects.standing().exists()
    assert 'name="automations_takeprofitstoploss_rearm_this"' not in text(browser.get(page))


def test_re_arming_twice_is_told_once(
    venue: Simulator, client: Client, account: Account, long: Position
) -> None:
    disarmed(venue, client, account, long)
    rows = list(ExitDisarmed.objects.all())

    assert [disarming.rearm(rows, by="owner"), disarming.rearm(rows, by="owner")] == [1, 0]

    assert events().count("tp_sl_rearmed") == 1


def test_a_stop_that_another_automation_of_ours_moved_was_not_changed_by_hand(
    venue: Simulator, client: Client, account: Account, long: Position
) -> None:
    first = exits(account, **NATIVE_STOP)
    second = exits(account, name="second", does="update_sl", level="from_market", distance_percent=1)
    assert look(first, long) == "confirmed"
    move(venue, 103_000)
    assert look(second, long) == "confirmed"
    assert running(client).stoploss == at(101_970)
    rest_until_ready(first)
    rest_until_ready(second)

    assert "has not reached" in look(first, long)
    move(venue, 104_000)
    assert look(second, long) == "confirmed", "and goes on"

    assert running(client).stoploss == at(102_960)
    client.set_stoploss(long.id, at(101_000))
    assert "changed by hand" in look(first, long)
    assert "changed by hand" in look(second, long)
    assert events().count("tp_sl_disarmed") == 2


@pytest.mark.parametrize(
    ("one", "other", "path", "ends_at"),
    [
        pytest.param(
            {"does": "update_tp", "level": "price", "new_takeprofit": 110_000},
            {"does": "update_tp", "level": "price", "new_takeprofit": 120_000},
            TAKEPROFIT, {"takeprofit": at(110_000)},
            id="take profits",
        ),
        pytest.param(
            {"does": "update_sl", "level": "price", "new_stoploss": 99_000, "may_loosen": True},
            {"does": "update_sl", "level": "price", "new_stoploss": 98_000, "may_loosen": True},
            STOPLOSS, {"stoploss": at(99_000)},
            id="stops",
        ),
    ],
)  # fmt: skip
def test_two_automations_that_contradict_each_other_do_not_move_an_exit_to_and_fro(
    venue: Simulator,
    client: Client,
    account: Account,
    *,
    long: Position,
    one: dict[str, Any],
    other: dict[str, Any],
    path: str,
    ends_at: dict[str, Any],
) -> None:
    both = exits(account, **one), exits(account, name="other", **other)
    move(venue, 103_000)

    for _ in range(4):
        for each in both:
            look(each, long)
            rest_until_ready(each)

    assert effects(venue, path) == 3
    assert {name: getattr(running(client), name) for name in ends_at} == ends_at


def test_a_changed_stop_says_nothing_about_an_automation_that_never_set_one(
    venue: Simulator, client: Client, account: Account, long: Position
) -> None:
    disarmed(venue, client, account, long)
    other = exits(account, name="profit", does="close_tp", when="profit", on_exchange=True)

    assert look(other, long) == "confirmed"

    assert running(client).takeprofit == at(102_041)


def test_a_stop_that_the_exchange_dropped_at_a_cash_in_is_put_back(
    venue: Simulator, client: Client, account: Account, long: Position
) -> None:
    mine = exits(account, **NATIVE_STOP | {"trigger_pnl_percentage": Decimal(80)})
    assert look(mine, long) == "confirmed"
    assert running(client).stoploss == at("92593")
    rest_until_ready(mine)

    client.cash_in(long.id, Sats(40_000))
    assert running(client).stoploss is None, "beyond the new liquidation at 94,339.5"
    move(venue, 100_000)
    assert due(mine) == [long.id]

    assert look(mine, long) == "confirmed"

    assert running(client).stoploss == at(95_420)
    assert events().count("tp_sl_disarmed") == 0


def test_a_removal_after_a_cash_in_that_dropped_nothing_is_by_hand(
    venue: Simulator, client: Client, account: Account, long: Position
) -> None:
    client.cash_in(long.id, Sats(10_000))
    mine = exits(account, **NATIVE_STOP)
    move(venue, 100_000)
    assert look(mine, long) == "confirmed"
    rest_until_ready(mine)

    client.set_stoploss(long.id, None)

    assert "changed by hand" in look(mine, long)


def test_a_position_that_is_gone_is_forgotten_and_one_that_runs_is_not(
    venue: Simulator, client: Client, account: Account, long: Position
) -> None:
    mine = disarmed(venue, client, account, long)
    exits(account, name="cross", does="close_sl", when="loss", regime="cross")
    move(venue, 100_000)
    assert due(mine) == []
    assert ExitDisarmed.objects.count() == 1, "a reading of the cross position says nothing about it"

    client.close(long.id)
    move(venue, 100_000)
    assert due(mine) == []

    assert ExitDisarmed.objects.count() == 0


def test_a_trade_that_was_opened_anew_keeps_its_owners_hand(
    venue: Simulator, client: Client, account: Account, long: Position
) -> None:
    mine = disarmed(venue, client, account, long)
    execution = Execution.objects.filter(position_id=long.id).latest("id")
    client.close(long.id)
    anew = open_long(client)

    remembering.follow(execution, anew.id)
    move(venue, 100_000)

    assert "changed by hand" in look(mine, anew)
    assert effects(venue, STOPLOSS) == 2


def test_a_stop_is_put_on_a_trade_that_was_opened_anew_without_it(
    client: Client, account: Account, long: Position
) -> None:
    mine = exits(account, **NATIVE_STOP)
    assert look(mine, long) == "confirmed"
    execution = Execution.objects.get()
    client.close(long.id)
    anew = open_long(client)
    remembering.follow(execution, anew.id)
    rest_until_ready(mine)

    assert look(mine, anew) == "confirmed"

    assert running(client).stoploss == at("98039.5")


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


def test_a_guard_knows_the_stop_that_any_automation_set_last_and_whose_it_is(
    client: Client, account: Account, guard: MarginGuard, long: Position
) -> None:
    assert memory_of(guard, long.id) == NOTHING
    mine = exits(account, **NATIVE_STOP)
    assert look(mine, long) == "confirmed"

    memory = memory_of(guard, long.id)

    assert (memory.stoploss, memory.stop_is_own) == (at("98039.5"), False)
    assert memories_of(guard) == {long.id: memory}, "the sweep knows the same"
    assert memory.cashed_in == 0
    client.set_stoploss(long.id, at(97_000))
    assert memory_of(guard, long.id).stoploss == at("98039.5"), "an owner's stop is not ours"


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
