"""The preview of a guard: what is done at each price, what gives way, and what all of it buys."""

import json
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client as Browser

from accounts.gateway import redis_client
from accounts.models import Account
from automations import foretelling, quarantine, services
from automations.executing import Cause
from automations.models import Execution, GuardStep, MarginGuard
from automations.previewing import preview
from automations.prospects import Outlook
from automations.rehearsal import Bought, End, How
from automations.rules.actions import AddMargin, ClosePosition, Notify, SetStopLoss
from exchange.client import Client
from exchange.cross import NewCrossOrder
from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.test_previewed import text, url

SWEEP = Cause(origin=Execution.Origin.SWEEP)
ADDS = {"threshold_percent": 50, "does": "add_to_reach", "target_percent": 30}
TELLS = {"threshold_percent": 40, "does": "notify"}
CLOSES = {"threshold_percent": 80, "does": "close_position"}


@pytest.fixture
def ladder(account: Account) -> MarginGuard:
    """Adds at 50 % up to the first margin; other steps are for each test to add."""
    guard = MarginGuard.objects.create(
        enabled=True,
        account=account,
        name="ladder",
        metric="margin_used",
        budget_per_position_percent=Decimal(100),
    )
    step(guard, ADDS)
    return guard


def step(guard: MarginGuard, fields: dict[str, Any]) -> GuardStep:
    made: GuardStep = guard.steps.create(**fields)
    return made


def outlooks(guard: MarginGuard) -> tuple[Outlook, ...]:
    (subject,) = preview(MarginGuard.objects.get(pk=guard.pk)).subjects
    return subject.outlooks


def bought(guard: MarginGuard) -> Bought:
    (subject,) = preview(MarginGuard.objects.get(pk=guard.pk)).subjects
    assert subject.bought is not None
    return subject.bought


def told(guard: MarginGuard) -> str:
    return "\n".join(foretelling.lines(preview(MarginGuard.objects.get(pk=guard.pk))))


def move(venue: Simulator, price: Decimal) -> None:
    """Let the price be this for everybody, also for who has just read another."""
    venue.set_price(price)
    redis_client().flushdb()


def command(*arguments: str) -> str:
    output = StringIO()
    call_command("preview", *arguments, stdout=output)
    return output.getvalue()


# What is really done at a price


@pytest.mark.usefixtures("long")
def test_a_step_that_only_tells_stands_beside_the_one_that_acts(
    venue: Simulator, ladder: MarginGuard
) -> None:
    step(ladder, TELLS)
    venue.set_price(95_000)

    now = outlooks(ladder)[0]

    assert isinstance(now.action, AddMargin | Notify)
    assert "tell the owner and add" in told(ladder)


@pytest.mark.usefixtures("long")
def test_a_step_that_is_refused_gives_way_to_the_next_and_is_named(
    venue: Simulator, ladder: MarginGuard
) -> None:
    MarginGuard.objects.update(backstop=False)
    step(ladder, CLOSES | {"threshold_percent": 30})
    Account.objects.update(reserve_sats=10**9)
    venue.set_price(95_000)

    now = outlooks(ladder)[0]

    assert isinstance(now.action, ClosePosition)
    assert now.would_act
    assert [type(refused.wish) for refused in now.gave_way] == [AddMargin]
    assert "Refused: add 75,439 sats of margin, as the account's reserve would be touched" in told(
        ladder
    )


@pytest.mark.usefixtures("long")
def test_where_nothing_may_act_the_first_wish_is_shown_with_its_reason(
    venue: Simulator, ladder: MarginGuard
) -> None:
    step(ladder, CLOSES)
    Account.objects.update(switch="halted")
    venue.set_price(91_500)

    now = outlooks(ladder)[0]

    assert isinstance(now.action, ClosePosition), "the most dangerous step that is reached"
    assert now.obstacle == "a switch says halted"
    assert [type(refused.wish) for refused in now.gave_way] == [AddMargin]


@pytest.mark.usefixtures("long")
def test_the_price_that_comes_first_stands_first(ladder: MarginGuard) -> None:
    step(ladder, CLOSES)
    step(ladder, TELLS)

    ahead = [outlook.price for outlook in outlooks(ladder)[1:]]

    assert ahead == sorted(ahead, reverse=True)
    assert len(ahead) == 3


@pytest.mark.usefixtures("long")
def test_a_guard_looks_at_the_worse_of_price_and_index(venue: Simulator, ladder: MarginGuard) -> None:
    venue.set_index(95_000)

    now = outlooks(ladder)[0]

    assert (now.price, now.distance) == (Decimal(95_000), Decimal(-5_000))
    assert isinstance(now.action, AddMargin)
    assert "by the index, which is the worse price for it" in told(ladder)


# The stop at the exchange


def test_a_stop_that_will_lie_with_the_exchange_is_named(
    ladder: MarginGuard, long: Position, client: Client
) -> None:
    step(ladder, CLOSES)

    first, second = outlooks(ladder)[:2]

    assert isinstance(first.action, SetStopLoss)
    assert "A stop at 92,592.5 will lie with the exchange" in told(ladder)
    assert isinstance(second.action, AddMargin), "as if the stop lay there already"
    services.act(ladder.pk, long.id, SWEEP)
    assert client.rest.running_trades()[0].stoploss == Decimal("92592.5")
    assert "A stop at 92,592.5 lies with the exchange" in told(ladder)


@pytest.mark.usefixtures("long")
def test_below_it_is_weighed_as_if_the_stop_lay_there_already(ladder: MarginGuard) -> None:
    step(ladder, CLOSES)
    step(ladder, TELLS)

    now, telling, adding, closing = outlooks(ladder)

    assert isinstance(now.action, SetStopLoss)
    assert isinstance(telling.action, Notify), "not the stop once more"
    assert isinstance(adding.action, AddMargin)
    assert isinstance(closing.action, ClosePosition)


@pytest.mark.usefixtures("long")
def test_without_a_closing_step_or_its_box_no_stop_is_named(ladder: MarginGuard) -> None:
    assert "with the exchange" not in told(ladder)
    step(ladder, CLOSES)
    MarginGuard.objects.update(backstop=False)

    assert "with the exchange" not in told(ladder)


def test_on_cross_no_stop_is_possible_and_that_is_said(ladder: MarginGuard, client: Client) -> None:
    client.rest.cross.deposit(Sats(150_000))
    client.rest.cross.order(NewCrossOrder(side=Side.BUY, quantity=Usd(1000)))
    step(ladder, CLOSES)
    MarginGuard.objects.update(regime="cross")

    assert "The exchange takes no stop on the cross position" in told(ladder)
    assert "will lie with the exchange" not in told(ladder)
    assert bought(ladder).ends is not None


@pytest.mark.usefixtures("long")
def test_a_closing_step_before_an_adding_one_is_allowed_and_warned_of(
    browser: Browser, ladder: MarginGuard
) -> None:
    step(ladder, CLOSES | {"threshold_percent": 45})

    assert (
        "The step “at 45 %: Close the position” comes first on the way to liquidation: it forestalls"
        " “at 50 %: Add just enough margin to reach a target”."
    ) in told(ladder)
    assert "it forestalls" in text(browser.get(url(ladder, "preview")))
    GuardStep.objects.filter(does="close_position").update(threshold_percent=55)
    assert "forestalls" not in told(ladder)


# What it buys


@pytest.mark.usefixtures("long")
def test_the_preview_says_in_one_line_what_it_buys(browser: Browser, ladder: MarginGuard) -> None:
    line = "Survives a fall to 83,334 (-16.7 %), costs at most 100,000 sats; dies at 90,909 without"

    assert line in told(ladder)
    assert f"{line}." in text(browser.get(url(ladder, "preview")))
    assert line in command("ladder")


@pytest.mark.usefixtures("long")
def test_programs_are_told_the_same_in_numbers(ladder: MarginGuard) -> None:
    shown = json.loads(command(str(ladder.pk), "--json"))["positions"][0]

    assert (shown["survivesTo"], shown["survivesToPercent"]) == ("83334", "-16.6660")
    assert (shown["costsAtMost"], shown["diesWithout"]) == (100_000, "90909")
    assert (shown["diesAt"], shown["closesAt"]) == ("83333.5", None)
    assert shown["limitedBy"] == "the position's budget is used up"
    assert shown["says"].startswith("Survives a fall to 83,334")
    step(ladder, CLOSES)
    shown = json.loads(command(str(ladder.pk), "--json"))["positions"][0]
    assert shown["closesAt"] is not None
    assert shown["diesAt"] is None
    assert shown["ownStop"] == "92592.5"


def test_what_it_says_is_what_then_happens(
    venue: Simulator, ladder: MarginGuard, long: Position, client: Client
) -> None:
    MarginGuard.objects.update(budget_per_position_percent=Decimal(60))
    foretold, before = bought(ladder), client.account().balance
    assert foretold.survives_to is not None

    for _ in range(20):
        ahead = [each.price for each in outlooks(ladder) if not each.now]
        move(venue, max([*ahead, foretold.survives_to]))
        services.act(ladder.pk, long.id, SWEEP)

    assert [trade.id for trade in client.rest.running_trades()] == [long.id]
    assert before - client.account().balance == foretold.costs == 60_000
    assert foretold.ends == End(how=How.LIQUIDATED, price=client.rest.running_trades()[0].liquidation)
    move(venue, foretold.ends.price)
    assert not client.rest.running_trades()


def test_what_the_owner_has_already_spent_counts(
    venue: Simulator, ladder: MarginGuard, long: Position
) -> None:
    fresh = bought(ladder)
    move(venue, Decimal(95_000))
    services.act(ladder.pk, long.id, SWEEP)
    spent = Execution.objects.get().amount_sats or 0

    after = bought(ladder)

    assert after.costs == fresh.costs - spent < fresh.costs
    assert after.ends == fresh.ends, "the sum is the same"


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize(
    ("limits", "costs"),
    [
        ({"budget_per_day_sats": 30_000}, 30_000),
        ({"reserve_sats": 9_860_000}, 26_000),
        ({"budget_per_day_sats": 0}, 0),
    ],
)
def test_the_accounts_limits_bound_what_it_may_cost(
    ladder: MarginGuard, client: Client, limits: dict[str, int], costs: int
) -> None:
    if "reserve_sats" in limits:
        limits = {"reserve_sats": client.account().balance - costs}
    Account.objects.update(**limits)

    assert bought(ladder).costs == costs


@pytest.mark.parametrize("stands", ["switch", "quarantine"])
def test_a_guard_that_may_not_act_buys_nothing(
    ladder: MarginGuard, long: Position, stands: str
) -> None:
    if stands == "switch":
        MarginGuard.objects.update(switch="halted")
        says = "as a switch says halted"
    else:
        quarantine.quarantine(ladder, long.id, deliveries=3)
        says = "as it is quarantined"

    assert f"Buys nothing: dies at 90,909 with it as without, {says}" in told(ladder)


@pytest.mark.usefixtures("long")
def test_a_disabled_guard_is_told_as_once_it_is_enabled(ladder: MarginGuard) -> None:
    whole = bought(ladder)
    MarginGuard.objects.update(enabled=False)

    assert bought(ladder) == whole


def test_a_threshold_of_one_position_counts(ladder: MarginGuard, long: Position) -> None:
    own = step(ladder, CLOSES)
    own.position_thresholds.create(position_id=long.id, threshold_percent=Decimal(20))

    found = bought(ladder)

    assert found.ends is not None
    assert found.ends.how is How.CLOSED
    assert found.costs == 0
