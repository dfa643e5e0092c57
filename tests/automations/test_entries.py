"""Auto entry: what it opens and when, how often, and what it answers."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account
from automations import reconciling, services
from automations.models import AutoEntry, Execution, JournalEntry, Notification
from exchange.client import Client
from exchange.errors import TransientError
from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.paging import LATEST
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    CROSS_ORDER,
    ISOLATED,
    cross,
    effects,
    enter,
    events,
    long_ago,
    move,
    reasons,
    rest_until_ready,
    states,
    written,
)
from tests.automations.test_gates import LEVELS, Throw
from tests.automations.typing_in import text

pytestmark = pytest.mark.usefixtures("chain")


def entry(account: Account, **fields: Any) -> AutoEntry:
    """Buy 100 USD at 10x, once, at 95,000 or below."""
    usual = {"name": "entry", "side": "buy", "quantity": 100, "trigger_price": Decimal(95_000)}
    made = AutoEntry(
        enabled=True, account=account, **(usual | {"cooldown_s": 1, "pause_s": 60} | fields)
    )
    made.full_clean()
    made.save()
    return made


def test_waits_for_its_price_and_says_so(venue: Simulator, account: Account) -> None:
    mine = entry(account)
    move(venue, "95000.5")

    assert enter(mine) == {
        "status": "pending",
        "reason": "price_not_triggered",
        "currentPrice": "95000.5",
        "triggerPrice": "95000",
    }

    assert written(venue) == []
    assert not Execution.objects.exists()


def test_opens_at_its_price_answers_completed_and_disarms(
    venue: Simulator, client: Client, account: Account
) -> None:
    mine = entry(account, stoploss=Decimal(90_000), takeprofit=Decimal(110_000))
    move(venue, 95_000)

    answer = enter(mine)

    (trade,) = client.rest.running_trades()
    assert answer == {
        "status": "completed",
        "tradeId": trade.id,
        "side": "buy",
        "quantity": 100,
        "leverage": "10",
        "market": "btcusd",
    }
    assert (trade.stoploss, trade.takeprofit) == (Decimal(90_000), Decimal(110_000))
    assert trade.leverage == 10
    mine.refresh_from_db()
    assert not mine.enabled
    assert enter(mine)["status"] == "disabled, quarantined, or its account may not act"
    assert effects(venue, ISOLATED) == 1
    assert events() == ["auto_entry_intended", "auto_entry_executed", "auto_entry_read_back"]


@pytest.mark.parametrize(
    ("fields", "price", "opens"),
    [
        pytest.param({}, 94_900, True, id="buy below"),
        pytest.param({}, 96_000, False, id="buy above"),
        pytest.param({"side": "sell"}, 95_100, True, id="sell above"),
        pytest.param({"side": "sell"}, 94_000, False, id="sell below"),
        pytest.param({"breakout": True}, 95_100, True, id="buy a breakout"),
        pytest.param({"breakout": True}, 94_000, False, id="no breakout upwards"),
        pytest.param({"breakout": True, "side": "sell"}, 94_900, True, id="sell a breakout"),
        pytest.param({"trigger_price": None}, 123_456, True, id="at once"),
    ],
)
def test_opens_on_the_side_of_its_trigger(
    venue: Simulator,
    client: Client,
    account: Account,
    *,
    fields: dict[str, Any],
    price: int,
    opens: bool,
) -> None:
    mine = entry(account, **fields)
    move(venue, price)

    assert list(services.due(AutoEntry)) == (
        [services.Due(automation_id=mine.pk, position_id=None)] if opens else []
    )
    assert enter(mine)["status"] == ("completed" if opens else "pending")

    sides = [trade.side for trade in client.rest.running_trades()]
    assert sides == ([Side(mine.side)] if opens else [])


def test_a_limit_rests_at_the_exchange_and_fills_while_we_are_down(
    venue: Simulator, client: Client, account: Account
) -> None:
    mine = entry(account, trigger_type="limit")

    answer = enter(mine)

    (order,) = client.open_trades()
    assert (answer["status"], answer["tradeId"]) == ("placed", order.id)
    assert (order.limit, order.quantity) == (Decimal(95_000), Usd(100))
    move(venue, 94_000)
    assert client.rest.running_trades()[0].entry == 95_000


def test_a_limit_order_that_rests_on_cross_answers_placed(client: Client, account: Account) -> None:
    client.rest.cross.deposit(Sats(100_000))

    assert enter(entry(account, regime="cross", trigger_type="limit"))["status"] == "placed"


def test_a_size_may_be_a_margin(venue: Simulator, client: Client, account: Account) -> None:
    mine = entry(account, quantity=None, margin_sats=10_000)
    move(venue, 95_000)

    answer = enter(mine)

    (trade,) = client.rest.running_trades()
    assert (trade.margin, trade.quantity) == (10_000, 95)
    assert answer["quantity"] == Execution.objects.get().quantity == 95


def test_may_open_on_the_cross_position(venue: Simulator, client: Client, account: Account) -> None:
    client.rest.cross.deposit(Sats(100_000))
    mine = entry(account, regime="cross", side="sell", trigger_price=None)

    answer = enter(mine)

    (order,) = client.rest.cross.filled_orders(LATEST)
    assert (answer["status"], answer["tradeId"]) == ("completed", order.id)
    assert (cross(client).side, cross(client).quantity) == (Side.SELL, Usd(100))
    assert effects(venue, CROSS_ORDER) == 1


def test_after_its_expiry_it_opens_nothing_and_disarms(venue: Simulator, account: Account) -> None:
    mine = entry(account, expires_at=timezone.now() + timedelta(hours=1))
    AutoEntry.objects.update(expires_at=timezone.now())
    move(venue, 95_000)

    assert enter(mine) == {"status": "expired"}

    assert written(venue) == []
    assert not AutoEntry.objects.get().enabled


def test_opens_as_often_as_it_may_with_a_pause_between(venue: Simulator, account: Account) -> None:
    mine = entry(account, most_times=2)
    move(venue, 95_000)

    words = [enter(mine)["status"], enter(mine)["status"]]
    Execution.objects.update(settled_at=timezone.now() - timedelta(seconds=61))
    words += [enter(mine)["status"], enter(mine)["status"]]

    assert words == [
        "completed",
        "pausing",
        "completed",
        "disabled, quarantined, or its account may not act",
    ]
    assert effects(venue, ISOLATED) == 2


@pytest.mark.parametrize(
    ("fault", "after", "opened"),
    [
        pytest.param({"kind": "lost_answer"}, "confirmed", 1, id="opened, the answer lost"),
        pytest.param({"kind": "status", "status": 504}, "not_applied", 0, id="never opened"),
    ],
)
@pytest.mark.parametrize(
    ("regime", "path"), [("isolated", ISOLATED), ("cross", CROSS_ORDER)], ids=["isolated", "cross"]
)
@pytest.mark.parametrize("order", ["market", "limit"])
def test_an_answer_that_never_came_is_settled_by_the_label_and_nothing_opens_twice(
    venue: Simulator,
    client: Client,
    account: Account,
    *,
    fault: dict[str, Any],
    after: str,
    opened: int,
    regime: str,
    path: str,
    order: str,
) -> None:
    client.rest.cross.deposit(Sats(100_000))
    mine = entry(account, regime=regime, trigger_type=order)
    move(venue, 95_000)
    venue.fault(**fault, path=path)

    assert enter(mine)["status"] == "unknown"
    if not opened:
        assert "not settled" in enter(mine)["status"]
    long_ago()
    (settled,) = reconciling.settle_all()

    assert settled.state == after
    assert bool(settled.position_id) == bool(opened)
    assert effects(venue, path) == opened
    opens = "placed" if order == "limit" else "completed"
    assert enter(mine)["status"] == ("opened as often as it may" if opened else opens)
    assert effects(venue, path) == 1


def test_what_was_surely_not_opened_may_be_tried_again(venue: Simulator, account: Account) -> None:
    mine = entry(account)
    move(venue, 95_000)
    venue.fault("status", status=503, path=ISOLATED)

    with pytest.raises(TransientError):
        enter(mine)
    assert enter(mine)["status"] == "completed"

    assert states() == ["not_sent", "confirmed"]


def test_a_refusal_by_the_exchange_is_recorded_and_leaves_it_armed(
    venue: Simulator, account: Account
) -> None:
    mine = entry(account, quantity=500_000, leverage=1)
    move(venue, 95_000)

    assert enter(mine) == {"status": "rejected"}
    assert enter(mine) == {"status": "cooldown"}

    assert AutoEntry.objects.get().enabled
    assert written(venue) == []


def refused(venue: Simulator, mine: AutoEntry, times: int) -> list[str]:
    """Let the exchange refuse an entry, whose rest is over each time; return the answers."""
    move(venue, 95_000)
    words = []
    for _ in range(times):
        words.append(enter(mine)["status"])
        rest_until_ready(mine)
    return words


def test_an_entry_refused_three_times_in_a_row_is_disarmed_and_that_is_said_once(
    venue: Simulator, account: Account
) -> None:
    mine = entry(account, quantity=500_000, leverage=1)

    assert refused(venue, mine, 4) == [
        *["rejected"] * 3,
        "disabled, quarantined, or its account may not act",
    ]

    assert not AutoEntry.objects.get().enabled
    assert events().count("auto_entry_disarmed") == 1
    said = JournalEntry.objects.latest("id").message
    assert "refused by the exchange three times in a row: LN Markets refused" in said
    assert list(services.due(AutoEntry)) == []


def test_three_quick_refusals_disarm_nothing_and_it_opens_once_they_have_passed(
    venue: Simulator, account: Account
) -> None:
    """A minute of maintenance, or a balance that comes with the next deposit, is no verdict."""
    mine = entry(account)
    move(venue, 95_000)
    venue.fault("status", status=400, path=ISOLATED, next=1)

    words = [enter(mine)["status"], *(back(mine, 30) for _ in range(2)), back(mine, 61)]
    assert words == ["rejected", "cooldown", "cooldown", "completed"]
    assert AutoEntry.objects.get().enabled is False, "it opened as often as it may"
    assert "auto_entry_disarmed" not in events()
    held = JournalEntry.objects.filter(event="auto_entry_held", data__reason="cooldown")
    assert held.count() == 1, "why it did nothing is told, once"


def back(mine: AutoEntry, seconds: int) -> str:
    """Let its last refusal be so long ago, and look again."""
    past = timezone.now() - timedelta(seconds=seconds)
    newest = Execution.objects.filter(automation=mine).latest("id")
    Execution.objects.filter(pk=newest.pk).update(settled_at=past)
    return str(enter(mine)["status"])


def test_after_a_second_refusal_it_waits_half_an_hour_and_its_owner_knows(
    venue: Simulator, account: Account
) -> None:
    mine = entry(account)
    move(venue, 95_000)
    venue.fault("status", status=400, path=ISOLATED, next=3)

    assert enter(mine)["status"] == "rejected"
    assert back(mine, 61) == "rejected"
    assert back(mine, 29 * 60) == "cooldown"
    assert list(services.due(AutoEntry)) == [], "the sweep leaves it alone"
    assert AutoEntry.objects.get().enabled
    assert back(mine, 31 * 60) == "rejected"

    assert not AutoEntry.objects.get().enabled
    told = Notification.objects.latest("id")
    assert told.subject.endswith("disarmed, for the exchange keeps refusing it")
    assert "refused by the exchange three times in a row" in told.text


def test_what_never_came_to_the_exchange_is_no_refusal(venue: Simulator, account: Account) -> None:
    mine = entry(account, quantity=500_000, leverage=1)
    refused(venue, mine, 2)
    venue.fault("status", status=503, path=ISOLATED)
    with pytest.raises(TransientError):
        enter(mine)

    assert AutoEntry.objects.get().enabled
    assert refused(venue, mine, 1) == ["rejected"]
    assert not AutoEntry.objects.get().enabled


def test_a_disarmed_entry_that_is_enabled_again_starts_anew(
    browser: Browser, venue: Simulator, account: Account
) -> None:
    mine = entry(account, quantity=500_000, leverage=1)
    refused(venue, mine, 3)
    listed = reverse("admin:automations_autoentry_changelist")
    assert "three times in a row" in text(browser.get(listed))

    enable = {"action": "enable", "_selected_action": [str(mine.pk)]}
    page = text(browser.post(listed, enable, follow=True))

    assert "armed" in page
    assert "three times in a row" not in page
    assert refused(venue, mine, 2) == ["rejected", "rejected"]
    assert AutoEntry.objects.get().enabled


@pytest.mark.parametrize("throw", LEVELS)
@pytest.mark.parametrize("switch", ["halted", "reduce_only"])
def test_no_switch_but_active_lets_it_open(
    venue: Simulator, account: Account, throw: Throw, switch: str
) -> None:
    mine = entry(account)
    move(venue, 95_000)
    throw(switch, mine)

    assert enter(mine) == {"status": switch}

    assert written(venue) == []
    assert reasons() == [switch]


# 100 USD at 10x from 95,000: 10,526 of margin, 105 and 115 put aside for the fees.
COST = 10_746


@pytest.mark.parametrize("enough", [True, False], ids=["just enough", "a sat too few"])
@pytest.mark.parametrize(
    ("bound", "word"),
    [
        pytest.param(
            lambda free, short: {"reserve_sats": free - COST + short}, "reserve", id="reserve"
        ),
        pytest.param(
            lambda _, short: {"entry_budget_per_day_sats": COST - short}, "budget_used_up", id="budget"
        ),
    ],
)
def test_its_whole_cost_must_fit_the_accounts_bounds(
    venue: Simulator,
    account: Account,
    *,
    bound: Callable[[int, int], dict[str, int]],
    word: str,
    enough: bool,
) -> None:
    mine = entry(account)
    free = venue.balance()
    Account.objects.update(**bound(free, 0 if enough else 1))
    move(venue, 95_000)

    assert enter(mine)["status"] == ("completed" if enough else word)

    assert free - venue.balance() == (COST if enough else 0)


def test_what_entries_cost_counts_towards_the_accounts_day(venue: Simulator, account: Account) -> None:
    Account.objects.update(entry_budget_per_day_sats=COST + 100)
    move(venue, 95_000)

    first, second = entry(account), entry(account, name="second")

    assert [enter(first)["status"], enter(second)["status"]] == ["completed", "budget_used_up"]
