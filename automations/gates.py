"""The gates on the one write path, in their order: each lets an action pass, or says why not."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from django.conf import settings
from django.utils import timezone

from accounts.switch import strictest
from automations.condition import Condition
from automations.models import Automation, MarginGuard
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
    """An action on its way to the exchange, what it was decided on, and what bounds it."""

    automation: Automation
    action: Command
    seen: Seen
    now: datetime
    condition: Condition
    """Read under the account's lock: two actions of one account never weigh a budget at once."""
    balance: Balance | None = None
    """Only known where the account keeps a reserve."""

    @classmethod
    def read(
        cls,
        automation: Automation,
        action: Command,
        seen: Seen,
        balance: Balance | None,
        *,
        locking: bool = False,
    ) -> Self:
        """Read what bounds the action now."""
        now = timezone.now()
        condition = Condition.read(
            automation,
            _position_id(action),
            now=now,
            step=getattr(action, "step", None),
            # After the opening that it takes back, a cancel does not rest.
            does=action.does if isinstance(action, CancelOrder) else None,
            asked_at=balance.at if balance else None,
            locking=locking,
        )
        return cls(
            automation=automation,
            action=action,
            seen=seen,
            now=now,
            condition=condition,
            balance=balance,
        )

    @property
    def position_id(self) -> str:
        return _position_id(self.action)

    def refuse(self, reason: str, because: str) -> Refusal:
        message = f"{self.action.why}, but {because}"
        return Refusal(reason=reason, because=because, message=message)


def _position_id(action: Command) -> str:
    return "" if isinstance(action, OpenPosition) else action.position_id


Verdict = Refusal | None


def switch(request: Request) -> Verdict:
    """Ask the switches of everything, of the account, and of the automation."""
    # An entry that placed its last order is disarmed, and the order's time still runs out.
    if not request.condition.enabled and not isinstance(request.action, CancelOrder):
        return request.refuse("disabled", "the automation was disabled meanwhile")
    found = strictest(*request.condition.switches)
    if found.lets_through(cuts_risk=request.action.cuts_risk):
        return None
    return request.refuse(found.value, f"a switch says {found.label.split(':')[0].lower()}")


def account(request: Request) -> Verdict:
    if request.condition.may_act:
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
    since, rest_s = request.condition.rests_since, request.automation.cooldown_s
    step = getattr(request.action, "step", None)
    if step is not None and isinstance(request.automation, MarginGuard):
        own = next(each.cooldown_s for each in request.automation.ladder if each.pk == step)
        rest_s = own or rest_s
    if since is not None and since > request.now - timedelta(seconds=rest_s):
        return request.refuse("cooldown", "it rests after its last action")
    return None


def command_rate(request: Request) -> Verdict:
    if request.condition.commands < request.condition.commands_per_minute:
        return None
    return request.refuse("command_rate", "the account acted too often within a minute")


def allowance(request: Request) -> Sats | None:
    """Return the sats that the budgets still allow; None where nothing bounds them."""
    bounds, used = [], request.condition
    if isinstance(request.automation, MarginGuard):
        guard = request.automation
        bounds.append(guard.budget_per_position_sats - used.spent_on_position)
        bounds.append(guard.budget_per_day_sats - used.spent_by_automation)
    if used.budget_per_day_sats is not None:
        bounds.append(used.budget_per_day_sats - used.spent_by_account)
    return Sats(max(0, min(bounds))) if bounds else None


def above_reserve(request: Request) -> Sats | None:
    """Return the free balance above the reserve; None where there is no reserve."""
    if request.balance is None:
        return None
    used = request.condition
    return Sats(request.balance.free - used.spent_since - used.reserve_sats)


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
