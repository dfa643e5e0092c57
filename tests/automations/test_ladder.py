"""A guard's ladder: of the steps reached, the first that may act acts; money, and what is missing."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.gateway import live_view
from accounts.models import Account
from automations.models import Execution, GuardStep, JournalEntry, MarginGuard
from exchange.account import Balance
from exchange.client import Client
from exchange.money import Sats
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    ADD_MARGIN,
    CLOSE,
    STOPLOSS,
    effects,
    events,
    look,
    move,
    reasons,
    states,
)

pytestmark = pytest.mark.usefixtures("chain")
DOES = GuardStep.Does


def ladder(guard: MarginGuard, *steps: tuple[int, str, dict[str, Any]]) -> None:
    """Give the guard other steps, and budgets that bind nothing here."""
    MarginGuard.objects.update(
        budget_per_position_sats=None, budget_per_position_percent=1000, budget_per_day_sats=None
    )
    guard.steps.all().delete()
    for threshold, does, numbers in steps:
        guard.steps.create(threshold_percent=threshold, does=does, **numbers)


def leave_free(client: Client, sats: int) -> None:
    """Let the free balance be that: the rest goes into the cross margin."""
    client.rest.cross.deposit(Sats(client.rest.account().balance - sats))


def newest(event: str) -> JournalEntry:
    return JournalEntry.objects.filter(event=event).latest("id")


def test_in_a_gap_it_tells_and_adds(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    """Add at 50 %, tell at 70 %, close at 95 %: at 80 % the step that only tells stands before none."""
    ladder(
        guard,
        (50, DOES.ADD_TO_REACH, {"target_percent": 40}),
        (70, DOES.NOTIFY, {}),
        (95, DOES.CLOSE, {}),
    )
    move(venue, 92_593)

    assert look(guard, long) == "confirmed"

    done = [each.does for each in Execution.objects.order_by("id")]
    assert done == ["notify", "add_margin", "set_stoploss"]
    assert client.rest.running_trades()[0].margin_used_at(92_593) <= Decimal("0.4")


def test_a_step_that_the_exchange_refuses_gives_way_to_the_next(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    ladder(guard, (50, DOES.ADD_TO_REACH, {"target_percent": 40}), (80, DOES.CLOSE, {}))
    move(venue, 92_500)
    venue.fault("status", status=400, path=CLOSE)

    assert look(guard, long) == "confirmed"

    assert states() == ["rejected", "confirmed"]
    assert client.rest.running_trades()[0].margin > 100_000


def test_a_step_that_a_gate_refuses_gives_way_to_the_next(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    ladder(
        guard,
        (50, DOES.ADD_TO_REACH, {"target_percent": 40}),
        (80, DOES.REDUCE, {"reduce_percentage": 50}),
    )
    move(venue, 92_500)

    assert look(guard, long) == "confirmed"

    assert reasons() == ["not_accepted"]
    assert client.rest.running_trades()[0].margin > 100_000


def test_a_step_that_acted_and_waits_gives_way_to_the_next(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    ladder(
        guard,
        (50, DOES.ADD_FIXED, {"amount_sats": 10_000}),
        (70, DOES.ADD_FIXED, {"amount_sats": 100, "hysteresis_percent": 5}),
    )
    move(venue, 92_800)

    assert look(guard, long) == "confirmed"

    added = [each.amount_sats for each in Execution.objects.order_by("id")]
    assert added[:2] == [100, 10_000]
    assert client.rest.running_trades()[0].margin == 110_100


def test_what_can_be_added_is_added_and_the_owner_knows_what_is_missing(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    """Wanted 75,439, free 60,000: with 160,000 of margin liquidation is at 86,207."""
    ladder(guard, (50, DOES.ADD_TO_REACH, {"target_percent": 30}))
    leave_free(client, 60_000)
    move(venue, 95_000)

    assert look(guard, long) == "confirmed"

    assert effects(venue) == 1
    limited = newest("margin_guard_limited")
    assert limited.data["wanted"] == 75_439
    assert (limited.data["added"], limited.data["missing"]) == (60_000, 15_439)
    assert limited.data["liquidation"] == "86207"
    assert "15,439 sats are missing" in limited.message
    assert "liquidated at 86207" in limited.message


def test_a_refusal_for_want_of_money_is_tried_once_more_with_what_is_there(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard, account: Account
) -> None:
    ladder(guard, (50, DOES.ADD_TO_REACH, {"target_percent": 30}))
    leave_free(client, 60_000)
    move(venue, 95_000)
    live_view().put_balance(account.pk, Balance(free=Sats(10**7), at=timezone.now()))

    assert look(guard, long) == "confirmed"

    assert states() == ["rejected", "confirmed"]
    assert [each.amount_sats for each in Execution.objects.order_by("id")] == [75_439, 60_000]
    assert client.rest.running_trades()[0].margin == 160_000


def test_one_sat_is_not_worth_an_order(venue: Simulator, long: Position, guard: MarginGuard) -> None:
    ladder(guard, (50, DOES.ADD_FIXED, {"amount_sats": 20_000}))
    MarginGuard.objects.update(budget_per_position_sats=1)
    move(venue, 95_000)

    assert look(guard, long) == "budget_used_up"

    held = newest("margin_guard_held")
    assert "the position's budget is used up: 19,999 sats are missing" in held.message
    assert (held.data["missing"], held.data["liquidation"]) == (19_999, "90909")


def test_without_any_free_balance_nothing_is_sent(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    ladder(guard, (50, DOES.ADD_FIXED, {"amount_sats": 20_000}))
    leave_free(client, 0)
    move(venue, 95_000)

    assert look(guard, long) == "balance"

    assert effects(venue) == 0
    assert "the free balance is used up" in newest("margin_guard_held").message


def test_a_budget_may_be_a_share_of_the_first_margin(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    ladder(guard, (50, DOES.ADD_FIXED, {"amount_sats": 20_000}))
    MarginGuard.objects.update(budget_per_position_percent=Decimal(30))
    move(venue, 92_000)

    words = [look(guard, long)]
    move(venue, 91_500)
    words.append(look(guard, long))
    move(venue, 91_400)
    words.append(look(guard, long))

    assert words == ["confirmed", "confirmed", "budget_used_up"]
    assert client.rest.running_trades()[0].margin == 130_000, "30 % of the first 100,000"


def test_a_share_that_rounds_to_nothing_says_so(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    ladder(guard, (50, DOES.ADD_SHARE, {"share_percent": Decimal("0.0001")}))
    move(venue, 95_000)

    assert look(guard, long) == "too_small"

    assert (
        "0.00 % of its margin of 100,000 sats is less than 1 sat" in newest("margin_guard_held").message
    )


def test_at_leverage_1_it_says_that_no_more_can_be_added(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    ladder(guard, (1, DOES.ADD_FIXED, {"amount_sats": 20_000}))
    client.add_margin(long.id, Sats(900_000))
    move(venue, 80_000)

    assert look(guard, long) == "leverage_1"

    assert "the leverage is already 1" in newest("margin_guard_held").message


def test_worse_danger_overrides_a_cooldown(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    MarginGuard.objects.update(cooldown_s=600)
    move(venue, 94_000)
    assert look(guard, long) == "confirmed"
    move(venue, 93_990)

    assert look(guard, long) == "confirmed"

    assert client.rest.running_trades()[0].margin == 140_000


@pytest.mark.parametrize("price", [94_000, 94_010])
def test_a_cooldown_holds_where_the_danger_is_the_same_and_says_how_long(
    venue: Simulator, long: Position, guard: MarginGuard, price: int
) -> None:
    MarginGuard.objects.update(cooldown_s=600)
    move(venue, 94_000)
    look(guard, long)
    Execution.objects.update(settled_at=timezone.now() - timedelta(seconds=500))
    move(venue, price)

    assert look(guard, long) == "cooldown"

    assert "its cooldown is not over (100 s left)" in newest("margin_guard_held").message


def test_closing_knows_no_cooldown(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    ladder(guard, (50, DOES.CLOSE, {}))
    MarginGuard.objects.update(cooldown_s=600)
    move(venue, 95_000)
    venue.fault("status", status=400, path=CLOSE)
    assert look(guard, long) == "rejected"

    assert look(guard, long) == "confirmed"

    assert client.rest.running_trades() == ()


def test_where_the_price_fell_on_meanwhile_one_look_acts_again(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    """20,000 sats are not enough at 92,000: the same look sees that from the exchange's answer."""
    ladder(
        guard,
        (50, DOES.ADD_FIXED, {"amount_sats": 20_000}),
        (60, DOES.ADD_FIXED, {"amount_sats": 50_000}),
    )
    move(venue, 92_000)

    assert look(guard, long) == "confirmed"

    assert [each.amount_sats for each in Execution.objects.order_by("id")] == [50_000, 20_000]


def test_a_closing_step_leaves_a_stop_with_the_exchange(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    """95 % of 100,000 sats are lost at 91,324."""
    ladder(guard, (50, DOES.ADD_TO_REACH, {"target_percent": 30}), (95, DOES.CLOSE, {}))

    assert look(guard, long) == "confirmed"

    assert client.rest.running_trades()[0].stoploss == Decimal(91_324)
    free = venue.balance()
    venue.set_price(90_000)
    assert client.rest.running_trades() == ()
    assert venue.balance() > free, "with nothing of ours running the stop paid out"


def test_the_stop_moves_with_each_top_up(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard
) -> None:
    ladder(guard, (50, DOES.ADD_TO_REACH, {"target_percent": 30}), (95, DOES.CLOSE, {}))
    look(guard, long)
    move(venue, 95_000)

    assert look(guard, long) == "confirmed"

    position = client.rest.running_trades()[0]
    assert position.margin == 175_439
    assert position.stoploss is not None
    assert position.liquidation < position.stoploss < Decimal(91_324)
    assert events()[-1] in {"margin_guard_read_back", "margin_guard_executed"}


@pytest.mark.parametrize("level", [91_000, 95_000])
def test_the_owners_own_stop_stays(
    venue: Simulator, client: Client, long: Position, guard: MarginGuard, level: int
) -> None:
    ladder(guard, (95, DOES.CLOSE, {}))
    client.set_stoploss(long.id, Decimal(level))  # type: ignore[arg-type]
    ours = effects(venue, STOPLOSS)

    assert "has not reached" in look(guard, long)

    assert effects(venue, STOPLOSS) == ours


def test_no_stop_is_left_where_its_owner_wants_none(
    venue: Simulator, long: Position, guard: MarginGuard
) -> None:
    ladder(guard, (95, DOES.CLOSE, {}))
    MarginGuard.objects.update(backstop=False)

    assert "has not reached" in look(guard, long)

    assert effects(venue, STOPLOSS) == 0


def test_rescue_has_right_of_way(venue: Simulator, long: Position, guard: MarginGuard) -> None:
    """What bounds entries and exits binds no guard."""
    Account.objects.update(commands_per_minute=1)
    move(venue, 94_000)
    assert look(guard, long) == "confirmed"
    move(venue, 93_500)

    assert look(guard, long) == "confirmed"

    assert effects(venue, ADD_MARGIN) == 2
