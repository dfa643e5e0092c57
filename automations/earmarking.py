"""What the guards of an account may still need of its free balance: no entry takes that."""

from collections.abc import Collection, Iterable
from datetime import datetime

from django.db.models import Sum

from accounts.models import Account
from automations import budgets
from automations.condition import BUDGET_DAY
from automations.models import Execution, GuardStep, MarginGuard
from automations.models.execution import ExecutionQuerySet
from automations.reading import read
from automations.rules.actions import OpenPosition
from exchange.client import Client
from exchange.errors import OperatorNeededError
from exchange.money import Sats, UsdPerBtc
from exchange.position import Position, Regime
from exchange.trade import NewTrade

_ADDS = frozenset({GuardStep.Does.ADD_FIXED, GuardStep.Does.ADD_SHARE, GuardStep.Does.ADD_TO_REACH})


def guards_need(account: Account, positions: Collection[Position], now: datetime) -> Sats:
    """Return the sats that guards may still add to these running positions, by their budgets.

    What is spent or may be spent counts as used. Guards that are disabled, are shadows or add no margin
    need nothing.
    """
    need = sum(_need(guard, positions, now) for guard in _that_add(account))
    if account.budget_per_day_sats is None:
        return Sats(need)
    spent = _top_ups(account).filter(decided_at__gt=now - BUDGET_DAY).sats()
    return Sats(min(need, max(0, account.budget_per_day_sats - spent)))


def needed(account: Account, client: Client, now: datetime) -> Sats:
    """Return the same of the positions that run now; nothing is read where no guard adds margin.

    Raises:
        ExchangeError: they cannot be read, or one of them cannot.
    """
    regimes = {Regime(guard.regime) for guard in _that_add(account)}
    seen = [snapshot for regime in regimes if (snapshot := read(client, regime).positions)]
    for row in (row for snapshot in seen for row in snapshot.unreadable):
        raise OperatorNeededError(row.fault)
    return guards_need(account, [each for snapshot in seen for each in snapshot.positions], now)


def takes_from_guards(opening: OpenPosition, price: UsdPerBtc, *, free: Sats, need: Sats) -> str | None:
    """Return why the opening would leave less of the free balance than guards need; None: it would not.

    An order on the cross position takes none of it.
    """
    if not need or not isinstance(opening.order, NewTrade):
        return None
    cost = opening.order.cost_at(price)
    if free - cost >= need:
        return None
    return f"it costs {cost:,} of {free:,} free sats, of which the guards may need {need:,}"


def _that_add(account: Account) -> list[MarginGuard]:
    guards = MarginGuard.acting().filter(account=account, shadow=False)
    return [guard for guard in guards if any(step.does in _ADDS for step in guard.ladder)]


def _need(guard: MarginGuard, positions: Iterable[Position], now: datetime) -> int:
    """Return what the guard may add to all of them, by its budgets and the exchange's own bound."""
    own = _top_ups(guard.account).filter(automation=guard)
    spent = dict(own.order_by().values_list("position_id").annotate(total=Sum("amount_sats")))
    need = 0
    for position in positions:
        if position.regime == guard.regime and guard.rule(position.id).covers(position):
            budget = budgets.per_position(guard, position)
            left = position.largest_top_up if budget is None else budget - spent.get(position.id, 0)
            need += min(max(0, left), position.largest_top_up)
    if guard.budget_per_day_sats is None:
        return need
    today = own.filter(decided_at__gt=now - BUDGET_DAY).sats()
    return min(need, max(0, guard.budget_per_day_sats - today))


def _top_ups(account: Account) -> ExecutionQuerySet:
    spending = Execution.objects.spending().exclude(state=Execution.State.SHADOW)
    return spending.filter(account=account, does=Execution.Does.ADD_MARGIN)
