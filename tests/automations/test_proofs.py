"""Whatever answer is lost, the exchange itself proves what happened, and nothing is sent twice."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from accounts.gateway import live_view
from accounts.models import Account
from automations import reconciling
from automations.models import Execution, GuardStep, JournalEntry, MarginGuard, TakeProfitStopLoss
from automations.models.execution import NEXT_STATES
from exchange.client import Client
from exchange.cross import NewCrossOrder
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.position import Position, PositionId
from exchange.simulator.running import Simulator
from tests.automations.acting import (
    ADD_MARGIN,
    CLOSE,
    CROSS_CLOSE,
    CROSS_ORDER,
    DEPOSIT,
    STOPLOSS,
    TAKEPROFIT,
    a_moment_ago,
    effects,
    long_ago,
    look,
    move,
    open_cross,
    unanswered,
)

pytestmark = pytest.mark.usefixtures("chain")
STATE = Execution.State
LOST: dict[str, Any] = {"kind": "lost_answer"}
NEVER: dict[str, Any] = {"kind": "status", "status": 504}


def guarding(guard: MarginGuard, regime: str, **step: Any) -> MarginGuard:
    guard.regime = regime
    guard.save()
    GuardStep.objects.update(**({"amount_sats": None} | step))
    return guard


def exits(account: Account, **fields: Any) -> TakeProfitStopLoss:
    usual: dict[str, Any] = {"name": "exits", "trigger_pnl_percentage": 20, "on_exchange": True}
    return TakeProfitStopLoss.objects.create(enabled=True, account=account, **(usual | fields))


Arm = Callable[[Account, MarginGuard], MarginGuard | TakeProfitStopLoss]

ON_TRADES = [
    pytest.param(
        lambda _, guard: guarding(guard, "isolated", does="add_fixed", amount_sats=20_000),
        95_000, ADD_MARGIN, id="add margin",
    ),
    pytest.param(
        lambda _, guard: guarding(guard, "isolated", does="close_position"), 95_000, CLOSE, id="close"
    ),
    pytest.param(
        lambda account, _: exits(account, does="close_sl", when="loss"), 100_500, STOPLOSS,
        id="native stop",
    ),
    pytest.param(
        lambda account, _: exits(account, does="close_tp", when="profit"), 100_500, TAKEPROFIT,
        id="native take profit",
    ),
    pytest.param(
        lambda account, _: exits(account, does="update_sl", level="trailing", distance_percent=2),
        103_000, STOPLOSS, id="trailing stop",
    ),
]  # fmt: skip
ON_CROSS = [
    pytest.param({"does": "add_fixed", "amount_sats": 20_000}, DEPOSIT, id="deposit"),
    pytest.param(
        {"does": "reduce_position", "reduce_percentage": 40, "threshold_percent": 20},
        CROSS_ORDER,
        id="reduce",
    ),
    pytest.param({"does": "close_position"}, CROSS_CLOSE, id="close"),
]


@pytest.mark.parametrize(("arm", "market", "path"), ON_TRADES)
@pytest.mark.parametrize(
    ("fault", "state", "happened"),
    [
        pytest.param(LOST, "confirmed", 1, id="it happened"),
        pytest.param(NEVER, "not_applied", 0, id="it never came"),
    ],
)
def test_a_write_on_a_trade_is_settled_by_what_the_exchange_shows(
    venue: Simulator,
    account: Account,
    guard: MarginGuard,
    long: Position,
    *,
    arm: Arm,
    market: int,
    path: str,
    fault: dict[str, Any],
    state: str,
    happened: int,
) -> None:
    mine = arm(account, guard)
    move(venue, market)
    venue.fault(**fault, path=path)

    assert look(mine, long) == "unknown"
    assert (Execution.objects.get().state == "confirmed") is bool(happened), "looked for at once"
    long_ago()
    reconciling.settle_all()

    execution = Execution.objects.get()
    assert execution.state == state
    assert execution.settled_at is not None
    assert effects(venue, path) == happened
    last = JournalEntry.objects.filter(event__endswith="_reconciled").latest("id")
    assert last.data["state"] == state
    assert ("did not happen" in last.message) is not bool(happened)


@pytest.mark.parametrize(("step", "path"), ON_CROSS)
@pytest.mark.parametrize(
    ("fault", "state", "happened"),
    [
        pytest.param(LOST, "confirmed", 1, id="it happened"),
        pytest.param(NEVER, "not_applied", 0, id="it never came"),
    ],
)
def test_a_write_on_the_cross_position_is_settled_by_what_the_exchange_shows(
    venue: Simulator,
    client: Client,
    guard: MarginGuard,
    *,
    step: dict[str, Any],
    path: str,
    fault: dict[str, Any],
    state: str,
    happened: int,
) -> None:
    before = open_cross(client)
    guard.metric = "liquidation_distance"
    mine = guarding(guard, "cross", **{"threshold_percent": 50, **step})
    had = effects(venue, path)
    move(venue, 80_000)
    venue.fault(**fault, path=path)

    assert look(mine, before) == "unknown"
    assert (Execution.objects.get().state == "confirmed") is bool(happened), "looked for at once"
    long_ago()
    reconciling.settle_all()

    assert Execution.objects.get().state == state
    assert effects(venue, path) - had == happened


@pytest.fixture
def deposit(client: Client, guard: MarginGuard) -> Position:
    """The cross position before a guard's deposit of 20,000 sats."""
    guarding(guard, "cross", does="add_fixed", amount_sats=20_000)
    return open_cross(client)


def by_hand(client: Client) -> None:
    client.rest.cross.order(NewCrossOrder(side=Side.BUY, quantity=Usd(10)))


@pytest.mark.parametrize(
    ("fault", "meanwhile", "state"),
    [
        pytest.param(LOST, lambda venue, _: venue.settle_funding("0.001"), "confirmed", id="paid"),
        pytest.param(LOST, lambda venue, _: venue.settle_funding("-0.001"), "confirmed", id="received"),
        pytest.param(
            NEVER, lambda venue, _: venue.settle_funding("0.001"), "not_applied", id="paid, no deposit"
        ),
        pytest.param(
            NEVER, lambda _, client: by_hand(client), "not_applied", id="traded, and no such transfer"
        ),
        pytest.param(
            LOST, lambda _, client: by_hand(client), "quarantined", id="traded, and such a transfer"
        ),
        pytest.param(
            NEVER,
            lambda _, client: client.rest.cross.deposit(Sats(777)),
            "not_applied",
            id="another sum deposited by hand",
        ),
    ],
)
def test_a_deposit_is_told_from_what_else_happened_to_the_margin(
    venue: Simulator,
    client: Client,
    guard: MarginGuard,
    deposit: Position,
    *,
    fault: dict[str, Any],
    meanwhile: Callable[[Simulator, Client], object],
    state: str,
) -> None:
    move(venue, 80_000)
    venue.fault(**fault, path=DEPOSIT)
    look(guard, deposit)
    unanswered()
    meanwhile(venue, client)
    long_ago()

    (settled,) = reconciling.settle_all()

    assert settled.state == state


def test_a_deposit_of_as_much_a_moment_before_is_no_proof_of_this_one(
    venue: Simulator, guard: MarginGuard, deposit: Position
) -> None:
    move(venue, 75_000)
    assert look(guard, deposit) == "confirmed"
    Execution.objects.update(settled_at=timezone.now() - timedelta(hours=1))
    venue.fault(**NEVER, path=DEPOSIT)
    assert look(guard, deposit) == "unknown"
    long_ago()

    (settled,) = reconciling.settle_all()

    assert settled.state == "not_applied"


@pytest.mark.parametrize("path", [STOPLOSS, TAKEPROFIT])
def test_an_exit_on_a_trade_that_is_closed_by_now_cannot_be_told(
    venue: Simulator, client: Client, account: Account, long: Position, path: str
) -> None:
    stops = path == STOPLOSS
    mine = exits(account, does="close_sl" if stops else "close_tp", when="loss" if stops else "profit")
    venue.fault(**NEVER, path=path)
    look(mine, long)
    client.close(long.id)

    (settled,) = reconciling.settle_all()

    assert settled.state == "quarantined"


@pytest.mark.parametrize("answer", [pytest.param(LOST, id="set"), pytest.param(NEVER, id="not set")])
@pytest.mark.parametrize(
    ("fields", "touch"),
    [
        pytest.param(
            {"does": "close_sl", "when": "loss"},
            lambda client, trade: client.set_stoploss(trade, UsdPerBtc(Decimal(99_000))),
            id="another stop",
        ),
        pytest.param(
            {"does": "close_sl", "when": "loss"},
            lambda client, trade: client.set_stoploss(trade, None, trailing=Decimal("0.02")),
            id="a stop that trails",
        ),
        pytest.param(
            {"does": "close_tp", "when": "profit"},
            lambda client, trade: client.set_takeprofit(trade, UsdPerBtc(Decimal(110_000))),
            id="another take profit",
        ),
    ],
)
def test_an_exit_that_another_hand_set_meanwhile_cannot_be_told_and_stays(
    venue: Simulator,
    client: Client,
    account: Account,
    long: Position,
    *,
    answer: dict[str, Any],
    fields: dict[str, Any],
    touch: Callable[[Client, PositionId], object],
) -> None:
    mine = exits(account, **fields)
    venue.fault(**answer, method="PUT")
    assert look(mine, long) == "unknown"
    unanswered()
    touch(client, long.id)
    long_ago()

    (settled,) = reconciling.settle_all()

    assert settled.state == "quarantined"
    assert "changed by hand" in look(mine, long)


def test_a_stop_that_trailed_on_meanwhile_was_touched_by_nobody(
    venue: Simulator, client: Client, account: Account, long: Position
) -> None:
    client.set_stoploss(long.id, None, trailing=Decimal("0.05"))
    mine = exits(account, does="update_sl", level="trailing", distance_percent=2)
    move(venue, 103_000)
    venue.fault(**NEVER, path=STOPLOSS)
    look(mine, long)
    move(venue, 104_000)
    long_ago()

    (settled,) = reconciling.settle_all()

    assert settled.state == "not_applied"


def test_a_close_of_the_cross_position_that_another_hand_opened_anew_cannot_be_told(
    venue: Simulator, client: Client, guard: MarginGuard
) -> None:
    before = open_cross(client)
    guarding(guard, "cross", does="close_position")
    move(venue, 80_000)
    venue.fault(**LOST, path=CROSS_CLOSE)
    look(guard, before)
    unanswered()
    client.rest.cross.order(NewCrossOrder(side=Side.SELL, quantity=Usd(200)))
    long_ago()

    (settled,) = reconciling.settle_all()

    assert settled.state == "quarantined"


@pytest.mark.parametrize("old", STATE)
def test_a_state_leads_only_where_the_table_says(old: Execution.State) -> None:
    allowed = NEXT_STATES.get(old, frozenset())

    for new in STATE:
        execution = Execution(state=old)
        if new in allowed:
            execution.become(new, timezone.now())
            assert execution.state == new
            assert (execution.settled_at is None) is (new in Execution.UNSETTLED)
        else:
            with pytest.raises(ValueError, match=f"that is {old} cannot become {new}"):
                execution.become(new, timezone.now())


def test_what_is_final_stays_as_it_is() -> None:
    final = set(STATE) - set(NEXT_STATES)

    assert final == {
        STATE.CONFIRMED, STATE.REJECTED, STATE.NOT_SENT, STATE.NOT_APPLIED, STATE.QUARANTINED,
        STATE.SHADOW,
    }  # fmt: skip
    assert set(Execution.UNSETTLED) == set(NEXT_STATES)


def test_what_follows_a_proof_is_decided_on_positions_read_after_it(
    venue: Simulator, guard: MarginGuard, long: Position, client: Client
) -> None:
    mine = guarding(guard, "isolated", does="add_fixed", amount_sats=20_000)
    move(venue, 95_000)
    venue.fault(**NEVER, path=ADD_MARGIN)
    assert look(mine, long) == "unknown"
    venue.clear_faults()
    long_ago()
    live_view().put_positions(mine.account_id, client.rest.positions())

    look(mine, long)

    proved, following = Execution.objects.order_by("id")
    assert proved.state == STATE.NOT_APPLIED
    assert proved.settled_at is not None
    assert following.positions_at is not None
    assert following.positions_at >= proved.settled_at


def two_without_an_answer(venue: Simulator, guard: MarginGuard, long: Position) -> None:
    """Have one top-up that never came, a second one that did, and an answer to neither."""
    move(venue, 95_000)
    venue.fault(**NEVER, path=ADD_MARGIN)
    assert look(guard, long) == "unknown"
    a_moment_ago()
    move(venue, 94_900)  # worse, so that it adds again, for the first one shows no effect
    venue.fault(**LOST, path=ADD_MARGIN)
    look(guard, long)
    unanswered()
    assert effects(venue) == 1
    assert Execution.objects.count() == 2


def test_one_top_up_at_the_exchange_proves_one_of_two_without_an_answer(
    venue: Simulator, guard: MarginGuard, long: Position, client: Client
) -> None:
    two_without_an_answer(venue, guard, long)

    for each in Execution.objects.order_by("id"):  # as a worker does that comes upon them
        reconciling.is_settled(each, client)
    long_ago()
    reconciling.settle_all()

    assert sorted(each.state for each in Execution.objects.all()) == ["confirmed", "not_applied"]
    assert Execution.objects.spending().sats() == 20_000


def test_a_top_up_that_came_late_proves_itself_beside_a_later_one(
    venue: Simulator, guard: MarginGuard, long: Position, client: Client
) -> None:
    two_without_an_answer(venue, guard, long)
    client.add_margin(long.id, Sats(20_000))  # the first one, on its way for so long

    reconciling.settle_all()

    assert [each.state for each in Execution.objects.order_by("id")] == ["confirmed", "confirmed"]
