"""The owner's hand: what counts as one, where it disarms, and what arms again."""

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client as Browser
from django.urls import reverse

from accounts.models import Account
from automations import disarming, remembering, services
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
from exchange.money import Sats
from exchange.position import Position, PositionId
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    STOPLOSS,
    TAKEPROFIT,
    effects,
    events,
    look,
    move,
    rest_until_ready,
)
from tests.automations.conftest import open_long
from tests.automations.test_exits import at, exits, running
from tests.automations.typing_in import EXITS, TYPED, change, text

pytestmark = pytest.mark.usefixtures("chain")

NATIVE_STOP = {"does": "close_sl", "when": "loss", "on_exchange": True}


@pytest.mark.parametrize("by_hand", [None, 97_000], ids=["removed", "changed"])
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(NATIVE_STOP, id="native stop"),
        pytest.param(
            {"does": "update_sl", "level": "trailing", "distance_percent": 2}, id="trailing stop"
        ),
        pytest.param({"does": "update_sl", "level": "price", "new_stoploss": 99_000}, id="fixed stop"),
    ],
)
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
