"""Orders that rest at the exchange beyond their entry's time: taken back, once, or filled first."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client as Browser
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account, Installation
from automations import ending, reconciling, services
from automations.models import AutoEntry, Automation, Execution, JournalEntry
from exchange.client import Client
from exchange.errors import TransientError
from exchange.money import Sats
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    ISOLATED,
    SWEEP,
    and_read_back,
    effects,
    enter,
    events,
    long_ago,
    move,
    reasons,
    states,
)
from tests.automations.test_entries import entry
from tests.automations.test_gates import LEVELS, Throw
from tests.automations.typing_in import ENTRY, TYPED, change, text

pytestmark = pytest.mark.usefixtures("chain")

CANCEL = {"isolated": f"{ISOLATED}/cancel", "cross": "/v3/futures/cross/order/cancel"}
REGIMES = pytest.mark.parametrize("regime", CANCEL)


def placed(account: Account, client: Client, regime: str = "isolated", **fields: Any) -> AutoEntry:
    """Let an entry place its one limit order, an hour before its time is over."""
    if regime == "cross":
        client.rest.cross.deposit(Sats(100_000))
    later = timezone.now() + timedelta(hours=1)
    mine = entry(account, trigger_type="limit", expires_at=later, regime=regime, **fields)
    assert enter(mine)["status"] == "placed"
    return mine


def expire() -> None:
    AutoEntry.objects.update(expires_at=timezone.now())


def sweep() -> list[str]:
    """Do what the entries' sweep and its worker do, and return the workers' words."""
    return [
        and_read_back(services.act(due.automation_id, due.position_id, SWEEP))["status"]
        for due in services.due(AutoEntry)
    ]


def orders(client: Client, regime: str) -> int:
    return len(client.open_trades() if regime == "isolated" else client.rest.cross.open_orders())


@REGIMES
def test_an_order_that_rests_beyond_its_time_is_canceled_once(
    venue: Simulator, client: Client, account: Account, regime: str
) -> None:
    placed(account, client, regime)
    free = venue.balance()
    assert sweep() == [], "its time is not over"
    expire()

    assert sweep() == ["confirmed"]
    assert sweep() == []

    assert orders(client, regime) == 0
    assert effects(venue, CANCEL[regime]) == 1
    assert venue.balance() >= free
    opening, cancel = Execution.objects.order_by("id")
    assert (cancel.does, cancel.position_id) == ("cancel_order", opening.position_id)
    assert cancel.regime == regime
    assert cancel.after["balance"] == venue.balance()
    assert events()[-3:] == ["auto_entry_intended", "auto_entry_executed", "auto_entry_read_back"]


def test_a_cancel_is_an_intent_before_it_leaves_and_counts_as_no_opening(
    client: Client, account: Account
) -> None:
    mine = placed(account, client, most_times=2)
    expire()
    sweep()
    AutoEntry.objects.update(expires_at=None, pause_s=0, enabled=True)

    mine.refresh_from_db()
    assert ending.over(mine) is None
    intended = JournalEntry.objects.filter(event="auto_entry_intended").latest("id")
    assert intended.data["action"] == "cancel_order"


@REGIMES
def test_an_order_that_was_filled_meanwhile_is_written_off_as_filled_first(
    venue: Simulator, client: Client, account: Account, regime: str
) -> None:
    placed(account, client, regime)
    move(venue, 94_000)
    expire()

    assert sweep() == ["filled first"]
    assert sweep() == []

    assert effects(venue, CANCEL[regime]) == 0
    assert events()[-1] == "auto_entry_filled_first"
    assert states() == ["confirmed"]


def test_an_order_that_its_owner_canceled_is_written_off(
    venue: Simulator, client: Client, account: Account
) -> None:
    placed(account, client)
    client.cancel_all()
    expire()

    assert sweep() == ["canceled first"]
    assert sweep() == []
    assert effects(venue, CANCEL["isolated"]) == 0


@REGIMES
def test_an_order_that_is_filled_while_the_cancel_is_on_its_way_is_no_error(
    venue: Simulator, client: Client, account: Account, regime: str
) -> None:
    placed(account, client, regime)
    expire()
    venue.fault("status", status=400, path=CANCEL[regime])

    assert sweep() == ["unknown"], "refused, though it rests"
    move(venue, 94_000)
    (settled,) = reconciling.settle_all()

    assert (settled.state, settled.error, settled.report) == ("not_applied", "", None)
    assert "filled first" in JournalEntry.objects.latest("id").message
    assert sweep() == []


@REGIMES
@pytest.mark.parametrize(
    ("fault", "state", "canceled"),
    [
        pytest.param({"kind": "lost_answer"}, "confirmed", 1, id="canceled, the answer lost"),
        pytest.param({"kind": "status", "status": 504}, "not_applied", 0, id="never came"),
    ],
)
def test_a_cancel_without_an_answer_is_settled_by_where_the_order_stands(
    venue: Simulator,
    client: Client,
    account: Account,
    *,
    regime: str,
    fault: dict[str, Any],
    state: str,
    canceled: int,
) -> None:
    placed(account, client, regime)
    expire()
    venue.fault(**fault, path=CANCEL[regime])

    assert sweep() == ["confirmed" if canceled else "unknown"]
    long_ago()
    reconciling.settle_all()

    assert Execution.objects.get(does="cancel_order").state == state
    assert effects(venue, CANCEL[regime]) == canceled
    assert sweep() == ([] if canceled else ["confirmed"]), "what did not happen is done again"
    assert effects(venue, CANCEL[regime]) == 1


def test_a_cancel_that_was_not_sent_is_tried_again(
    venue: Simulator, client: Client, account: Account
) -> None:
    placed(account, client)
    expire()
    venue.fault("status", status=503, path=CANCEL["isolated"])

    with pytest.raises(TransientError):
        sweep()
    assert sweep() == ["confirmed"]
    assert effects(venue, CANCEL["isolated"]) == 1


def test_an_exchange_that_cannot_be_read_leaves_the_order_to_the_next_sweep(
    venue: Simulator, client: Client, account: Account
) -> None:
    placed(account, client)
    expire()
    venue.fault("status", status=500, path="/v3/futures/isolated/trades/open", next=10)

    with pytest.raises(TransientError):
        sweep()
    venue.clear_faults()
    assert sweep() == ["confirmed"]


@pytest.mark.parametrize("throw", LEVELS)
@pytest.mark.parametrize(
    ("switch", "passes"),
    [pytest.param("reduce_only", True, id="cuts risk"), pytest.param("halted", False, id="a write")],
)
def test_a_cancel_passes_the_switches_that_let_risk_be_cut(
    venue: Simulator, client: Client, account: Account, *, throw: Throw, switch: str, passes: bool
) -> None:
    mine = placed(account, client)
    expire()
    throw(switch, mine)

    assert sweep() == (["confirmed"] if passes else [switch])
    assert effects(venue, CANCEL["isolated"]) == passes
    assert reasons() == ([] if passes else [switch])


@pytest.mark.parametrize(
    "spared",
    [
        pytest.param(lambda: Automation.objects.update(shadow=True), id="a shadow by now"),
        pytest.param(lambda: Account.objects.update(is_active=False), id="an account not active"),
        pytest.param(lambda: Account.objects.update(verified_at=None), id="an account not verified"),
        pytest.param(
            lambda: AutoEntry.objects.update(expires_at=timezone.now() + timedelta(days=1)),
            id="given more time",
        ),
        pytest.param(lambda: AutoEntry.objects.update(expires_at=None), id="given all time"),
    ],
)
def test_an_order_is_left_alone(client: Client, account: Account, spared: Callable[[], object]) -> None:
    mine = placed(account, client)
    order = Execution.objects.get()
    expire()
    spared()

    assert sweep() == []
    word = services.act(mine.pk, order.position_id, SWEEP)["status"]  # type: ignore[arg-type]
    assert word == "disabled, quarantined, or its account may not act"
    assert orders(client, "isolated") == 1
    Installation.objects.update(switch="active")


def test_disabling_says_that_the_order_stays_and_its_expiry_still_counts(
    browser: Browser, client: Client, account: Account
) -> None:
    mine = placed(account, client, most_times=2)
    rest = {"action": "disable", "_selected_action": [str(mine.pk)]}

    page = browser.post(reverse("admin:automations_autoentry_changelist"), rest, follow=True)

    assert "stays there until it is filled, expires, or you cancel it there" in text(page)
    assert orders(client, "isolated") == 1
    expire()
    assert sweep() == ["confirmed"]


@pytest.mark.parametrize("rests", [True, False])
def test_saving_an_entry_disabled_says_the_same_where_something_rests(
    browser: Browser, client: Client, account: Account, common: dict[str, str], *, rests: bool
) -> None:
    mine = placed(account, client, most_times=2)
    Execution.objects.update(rests=rests)
    typed = common | TYPED[ENTRY] | {"trigger_type": "limit", "most_times": "2", "enabled": ""}

    page = browser.post(change(mine, ENTRY), typed, follow=True)

    assert not AutoEntry.objects.get().enabled
    assert ("stays there until it is filled" in text(page)) is rests
