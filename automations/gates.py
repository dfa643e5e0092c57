"""The gates on the one write path, in their order: each lets an action pass, or says why not."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db.models import Q

from accounts.models import Account, Installation
from accounts.switch import strictest
from automations.models import Automation, Execution, GuardStep, MarginGuard
from automations.models.execution import ExecutionQuerySet
from automations.reading import Seen
from automations.rules.actions import (
    AddMargin,
    CancelOrder,
    Command,
    OpenPosition,
    ReducePosition,
)
from exchange.account import Balance
from exchange.money import Sats
from exchange.position import Regime
from exchange.trade import NewTrade

BUDGET_DAY: Final = timedelta(hours=24)
"""A daily budget counts what was spent in the last 24 hours, so that midnight is no reset button."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A gate said no."""

    reason: str
    """One word for programs; the same word twice in a row is journalled once."""
    because: str
    """The same in words."""
    message: str
    """What the rule wanted, and why the gate said no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An action on its way to the exchange, and what it was decided on.

    `account` is read under its lock: two actions of one account never weigh a budget at once.
    """

    automation: Automation
    account: Account
    action: Command
    seen: Seen
    now: datetime
    balance: Balance | None = None
    """Only known where the account keeps a reserve."""

    @property
    def position_id(self) -> str:
        return "" if isinstance(self.action, OpenPosition) else self.action.position_id

    @property
    def of_account(self) -> ExecutionQuerySet:
        return Execution.objects.filter(account=self.account)

    @property
    def own(self) -> ExecutionQuerySet:
        """The automation's executions, as far as they count for it."""
        return self.of_account.filter(automation=self.automation).as_seen_by(self.automation)

    def refuse(self, reason: str, because: str) -> Refusal:
        message = f"{self.action.why}, but {because}"
        return Refusal(reason=reason, because=because, message=message)


Verdict = Refusal | None


def switch(request: Request) -> Verdict:
    """Ask the switches of everything, of the account, and of the automation."""
    # An entry that placed its last order is disarmed, and the order's time still runs out.
    if not request.automation.enabled and not isinstance(request.action, CancelOrder):
        return request.refuse("disabled", "the automation was disabled meanwhile")
    found = strictest(Installation.current().switch, request.account.switch, request.automation.switch)
    if found.lets_through(cuts_risk=request.action.cuts_risk):
        return None
    return request.refuse(found.value, f"a switch says {found.label.split(':')[0].lower()}")


def account(request: Request) -> Verdict:
    if request.account.may_act:
        return None
    return request.refuse("account_inactive", "the account is not active and verified")


def thrown(request: Request) -> Verdict:
    """Ask again, between two writes of one action, what a person may have thrown meanwhile."""
    return switch(request) or account(request)


def consent(request: Request) -> Verdict:
    """Reduce an isolated trade only where the owner ticked that he has seen its cost."""
    guard = request.automation
    if not isinstance(request.action, ReducePosition) or not isinstance(guard, MarginGuard):
        return None
    if guard.regime != Regime.ISOLATED or guard.accepts_reopening:
        return None
    return request.refuse(
        "not_accepted", "its owner has not accepted the cost of closing and reopening"
    )


def age(request: Request) -> Verdict:
    """Refuse what was decided on data that is too old by now."""
    oldest = request.now - timedelta(seconds=settings.DATA_MAX_AGE_S)
    stamps = [request.seen.quote.at]
    if request.seen.positions is not None:
        stamps.append(request.seen.positions.fresh_at)
    return None if min(stamps) >= oldest else request.refuse("stale", "the data is too old by now")


def cooldown(request: Request) -> Verdict:
    """Let the automation rest after it acted on the position; a step may have a rest of its own."""
    earlier = request.own.resting().filter(position_id=request.position_id, settled_at__isnull=False)
    if isinstance(request.action, CancelOrder):
        earlier = earlier.filter(does=request.action.does)  # not after the opening it takes back
    rest_s = request.automation.cooldown_s
    step = getattr(request.action, "step", None)
    if step is not None:
        earlier = earlier.filter(step_id=step)
        rest_s = GuardStep.objects.values_list("cooldown_s", flat=True).get(pk=step) or rest_s
    if earlier.filter(settled_at__gt=request.now - timedelta(seconds=rest_s)).exists():
        return request.refuse("cooldown", "it rests after its last action")
    return None


def command_rate(request: Request) -> Verdict:
    minute = Execution.objects.filter(
        account=request.account, decided_at__gt=request.now - timedelta(minutes=1)
    ).exclude(does=Execution.Does.NOTIFY)
    # What other shadows would have done takes nobody's turn.
    minute = minute.exclude(~Q(automation=request.automation), state=Execution.State.SHADOW)
    if minute.as_seen_by(request.automation).count() < request.account.commands_per_minute:
        return None
    return request.refuse("command_rate", "the account acted too often within a minute")


def spent(executions: ExecutionQuerySet, now: datetime) -> Sats:
    """Return the sats of the last 24 hours that are spent or may be."""
    return executions.filter(decided_at__gt=now - BUDGET_DAY).spending().sats()


def allowance(request: Request) -> Sats | None:
    """Return the sats that the budgets still allow; None where nothing bounds them.

    A shadow's own sums count what it would have spent, so that it decides as it would live; the
    account's sum does not.
    """
    bounds: list[int] = []
    if isinstance(request.automation, MarginGuard):
        guard = request.automation
        on_position = request.own.filter(position_id=request.position_id).spending().sats()
        bounds.append(guard.budget_per_position_sats - on_position)
        bounds.append(guard.budget_per_day_sats - spent(request.own, request.now))
    if request.account.budget_per_day_sats is not None:
        live = request.of_account.exclude(state=Execution.State.SHADOW)
        bounds.append(request.account.budget_per_day_sats - spent(live, request.now))
    return Sats(max(0, min(bounds))) if bounds else None


def above_reserve(request: Request) -> Sats | None:
    """Return the free balance above the reserve; None where there is no reserve."""
    if request.balance is None:
        return None
    since = Q(settled_at__gte=request.balance.at) | Q(state__in=Execution.UNSETTLED)
    live = request.of_account.exclude(state=Execution.State.SHADOW).filter(since)
    return Sats(request.balance.free - live.spending().sats() - request.account.reserve_sats)


def budget(request: Request) -> Verdict:
    if _suffices(allowance(request), request):
        return None
    return request.refuse("budget_used_up", "the budget is used up")


def reserve(request: Request) -> Verdict:
    """Keep the account's reserve: what is spent must leave at least that much."""
    if _suffices(above_reserve(request), request):
        return None
    return request.refuse("reserve", "the account's reserve would be touched")


def limited(request: Request) -> Command:
    """Return the action, cut to what budgets and reserve allow; only top-ups can be cut."""
    if not isinstance(request.action, AddMargin):
        return request.action
    bounds = (allowance(request), above_reserve(request))
    return request.action.limited_to(
        min([request.action.amount, *(bound for bound in bounds if bound is not None)])
    )


GATES: Final[tuple[Callable[[Request], Verdict], ...]] = (
    switch,
    account,
    consent,
    age,
    cooldown,
    budget,
    reserve,
    command_rate,
)


def refusal(request: Request) -> Verdict:
    """Return the first gate's refusal; None where all let the action pass."""
    return next((said for gate in GATES if (said := gate(request)) is not None), None)


def spending(request: Request, action: Command) -> Sats | None:
    """Return the sats that the action takes from the free balance; None where it takes none."""
    match action:
        case AddMargin(amount=amount):
            return amount
        case OpenPosition(order=NewTrade() as order):
            return order.cost_at(request.seen.quote.price)
        case _:
            return None


def _suffices(left: Sats | None, request: Request) -> bool:
    """Whether `left` sats are enough; a top-up can be cut to any amount, a trade cannot."""
    wanted = spending(request, request.action)
    if left is None or wanted is None:
        return True
    return left > 0 if isinstance(request.action, AddMargin) else wanted <= left
