"""The gates on the one write path, in their order: each lets an action pass, or says why not."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil
from typing import Final

from django.conf import settings

from accounts.switch import strictest
from automations import budgets
from automations.condition import Act
from automations.gate_request import Refusal, Request, Verdict
from automations.models import Execution, MarginGuard
from automations.rules.actions import (
    AddMargin,
    CancelOrder,
    ClosePosition,
    Command,
    Decision,
    Hold,
    Notify,
    OpenPosition,
    ReducePosition,
    SetStopLoss,
    SetTakeProfit,
    SetTrailingStop,
)
from exchange.money import Sats, UsdPerBtc
from exchange.position import Regime
from exchange.trade import NewTrade

UNSETTLED: Final = "unsettled"
COOLDOWN: Final = "cooldown"
MOST_REDUCTIONS: Final = 2
"""Of one position within a minute: each costs two fees and realises a part of the loss."""
_AFTER_REFUSAL_S: Final = 10
"""An exit that the exchange refused is not asked for again at once: it is no rescue."""
_DOES: Final = Execution.Does


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


_CLOSES: Final = frozenset({_DOES.CLOSE_POSITION, _DOES.REDUCE_POSITION})
_STOPS: Final = frozenset({_DOES.SET_STOPLOSS, _DOES.SET_TRAILING})


def outcome(request: Request) -> Verdict:
    """Refuse what could be done twice while the effect of something earlier is not known.

    Closing is safe whatever became of a top-up; a top-up whose request ended without an answer, and
    of which the exchange then showed nothing, counts as spent and blocks no other one.
    """
    blocking = _blocked_by(request.action)
    open_ones = [each for each in request.condition.unsettled if each.does in blocking]
    if isinstance(request.action, AddMargin):
        open_ones = [each for each in open_ones if each.id not in request.not_seen]
    if not open_ones:
        return None
    return request.refuse(UNSETTLED, "an earlier action is not settled yet")


def _blocked_by(action: Command) -> frozenset[str]:
    """Return which unsettled actions stand before this one."""
    match action:
        case Notify():
            return frozenset()
        case ClosePosition():
            return _CLOSES
        case AddMargin():
            return _CLOSES | {_DOES.ADD_MARGIN}
        case SetStopLoss() | SetTrailingStop():
            return _CLOSES | _STOPS
        case SetTakeProfit():
            return _CLOSES | {_DOES.SET_TAKEPROFIT}
        case _:
            return frozenset(_DOES.values)


def age(request: Request) -> Verdict:
    """Refuse what was decided on data that is too old by now.

    The price is never older than its limit. Positions may be older where margin is added: only hands
    and we ourselves change a margin (API notes, 5.9).
    """
    stamps = [request.seen.quote.at + timedelta(seconds=settings.DATA_MAX_AGE_S)]
    seen, acted_at = request.seen.positions, request.condition.acted_at
    if seen is not None:
        most = timedelta(seconds=positions_max_age_s(request.action))
        stamps.append(seen.fresh_at + most)
        if acted_at is not None and seen.at < acted_at and request.position_id:
            return request.refuse("stale", "the position was changed by us since it was read")
    if min(stamps) >= request.now:
        return None
    return request.refuse("stale", "the data is too old by now")


def positions_max_age_s(action: Command) -> int:
    """Return how old the positions may be on which the action is decided."""
    match action:
        case AddMargin() | Notify():
            return max(settings.TOP_UP_POSITIONS_MAX_AGE_S, settings.DATA_MAX_AGE_S)
        case ClosePosition() | ReducePosition():
            return max(settings.CLOSE_MAX_AGE_S, settings.DATA_MAX_AGE_S)
        case _:
            return int(settings.DATA_MAX_AGE_S)


def cooldown(request: Request) -> Verdict:
    """Let the automation pause after it acted on the position, while the danger is the same.

    A step may have a pause of its own. Closing never waits; and a top-up or a reduction does not where
    the price is worse for the position than the one last acted on.
    """
    if request.retries or isinstance(request.action, ClosePosition):
        return None
    acts = [act for act in request.condition.acts if _concerns(act, request.action)]
    if not acts:
        return None
    newest = max(acts, key=lambda act: act.settled_at)
    until = newest.settled_at + timedelta(seconds=_pause_s(request, newest))
    if until <= request.now or _is_worse(request, newest):
        return None
    left = ceil((until - request.now).total_seconds())
    return request.refuse(COOLDOWN, f"its cooldown is not over ({left} s left)", until=until)


def _concerns(act: Act, action: Command) -> bool:
    step = getattr(action, "step", None)
    if step is not None:
        # A ladder's step pauses for itself; its stop at the exchange is no act of the step.
        return act.step == step and (act.does in _STOPS) == isinstance(action, SetStopLoss)
    # After the opening that it takes back, a cancel does not wait.
    return act.does == action.does if isinstance(action, CancelOrder) else True


def _pause_s(request: Request, newest: Act) -> int:
    refused = newest.state == Execution.State.REJECTED and newest.does in _STOPS
    if isinstance(request.automation, MarginGuard) and newest.does in _STOPS:
        # A guard's stop follows its position at once; only a refused one is not asked for again soon.
        return _AFTER_REFUSAL_S if refused else 0
    pause_s: int = request.automation.cooldown_s
    step = getattr(request.action, "step", None)
    if step is not None and isinstance(request.automation, MarginGuard):
        own = next((each.cooldown_s for each in request.automation.ladder if each.pk == step), None)
        pause_s = own or pause_s
    return max(pause_s, _AFTER_REFUSAL_S) if refused else pause_s


def _is_worse(request: Request, newest: Act) -> bool:
    """Whether the danger is worse than the one last acted on."""
    position = request.position
    if position is None or not isinstance(request.action, AddMargin | ReducePosition):
        return False
    price = request.seen.quote.price
    return position.side.sign * (newest.price - price) > 0


def reductions(request: Request) -> Verdict:
    if not isinstance(request.action, ReducePosition):
        return None
    if request.condition.reductions < MOST_REDUCTIONS:
        return None
    return request.refuse(
        "reductions", f"the position was reduced {MOST_REDUCTIONS} times within a minute"
    )


def command_rate(request: Request) -> Verdict:
    """Bound what an account sends in a minute; guards have a bound of their own."""
    used = request.condition
    if isinstance(request.automation, MarginGuard):
        exceeded = used.guard_commands >= used.guard_commands_per_minute
    else:
        exceeded = used.commands >= used.commands_per_minute
    if not exceeded or isinstance(request.action, Notify):
        return None
    return request.refuse("command_rate", "the account acted too often within a minute")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What may still be spent, and what is to be said where that is too little."""

    left: Sats
    reason: str
    because: str


def bounds(request: Request) -> Iterator[Bound]:
    """Yield what bounds the sats that the action takes from the free balance."""
    match request.action:
        case AddMargin():
            yield from _budgets(request)
            yield from _balance(request)
        case OpenPosition(order=NewTrade()):
            used = request.condition
            yield from _bound("account's entry", used.entry_budget_per_day_sats, used.spent_by_entries)
            yield from _balance(request)
        case _:
            return


def _budgets(request: Request) -> Iterator[Bound]:
    """Yield what the budgets of a guard and of its account leave."""
    used, guard, position = request.condition, request.automation, request.position
    if isinstance(guard, MarginGuard):
        if position is not None:
            yield from _bound(
                "position's", budgets.per_position(guard, position), used.spent_on_position
            )
            yield from _bound(
                "position's 24-hour",
                budgets.per_position_today(guard, position),
                used.spent_on_position_today,
            )
        yield from _bound("guard's", guard.budget_per_day_sats, used.spent_by_automation)
    yield from _bound("account's", used.budget_per_day_sats, used.spent_by_guards)


def _bound(whose: str, most: int | None, spent: Sats) -> Iterator[Bound]:
    if most is not None:
        left = Sats(max(0, most - spent))
        yield Bound(left=left, reason="budget_used_up", because=f"the {whose} budget is used up")


def _balance(request: Request) -> Iterator[Bound]:
    """Yield the free balance above the reserve. Unknown, it bounds only where a reserve is to stay."""
    left, reserve = above_reserve(request), request.condition.reserve_sats
    if left is not None:
        reason, because = "balance", "the free balance is used up"
        if reserve and left + reserve >= (spending(request.action, request.seen.quote.price) or 0):
            reason, because = "reserve", "the account's reserve would be touched"
        yield Bound(left=Sats(max(0, left)), reason=reason, because=because)
    elif reserve:
        because = "the free balance is not known, and the account's reserve is to stay"
        yield Bound(left=Sats(0), reason="balance_unknown", because=because)


def above_reserve(request: Request) -> Sats | None:
    """Return the free balance above the reserve, less what was spent since it was read."""
    if request.balance is None:
        return None
    used = request.condition
    return Sats(request.balance.free - used.spent_since - used.reserve_sats)


def allowance(request: Request) -> Sats | None:
    """Return the sats that the budgets still allow; None where nothing bounds them."""
    return min((bound.left for bound in _budgets(request)), default=None)


def money(request: Request) -> Verdict:
    """Refuse what cannot be paid; a top-up that can be made in part passes if the part helps."""
    found = list(bounds(request))
    wanted = spending(request.action, request.seen.quote.price)
    if not found or wanted is None:
        return None
    tightest = min(found, key=lambda bound: bound.left)
    if tightest.left >= wanted or _helps_in_part(request, tightest.left):
        return None
    return request.refuse(tightest.reason, tightest.because, missing=Sats(wanted - tightest.left))


def _helps_in_part(request: Request, left: Sats) -> bool:
    if not isinstance(request.action, AddMargin) or left <= 0:
        return False
    position = request.position
    return position is None or request.action.limited_to(left, because="").helps(position)


def limited(request: Request) -> Command:
    """Return the action, cut to what budgets and balance allow; only top-ups can be cut."""
    if not isinstance(request.action, AddMargin):
        return request.action
    tightest = min(bounds(request), key=lambda bound: bound.left, default=None)
    if tightest is None:
        return request.action
    return request.action.limited_to(tightest.left, because=tightest.because)


GATES: Final[tuple[Callable[[Request], Verdict], ...]] = (
    switch,
    account,
    consent,
    outcome,
    age,
    cooldown,
    reductions,
    money,
    command_rate,
)


def refusal(request: Request) -> Verdict:
    """Return the first gate's refusal; None where all let the action pass."""
    return next((said for gate in GATES if (said := gate(request)) is not None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Of all that a rule wishes for, what is to be done."""

    tells: tuple[Notify, ...] = ()
    action: Command | None = None
    """The first that may act, cut to what is allowed."""
    refusals: tuple[Refusal, ...] = ()
    """Of the wishes before it, or of all where none may act."""


def choose(request: Request, wishes: Iterable[Decision | Command]) -> Choice:
    """Ask the gates about the wishes in their order: the first that may act acts. Pure.

    What only tells stands before nothing else. A wish that cannot act, or may not, gives way to the
    next one.
    """
    tells: list[Notify] = []
    refusals: list[Refusal] = []
    for wish in wishes:
        if isinstance(wish, Hold):
            refusals += declined([wish])
            continue
        asked = replace(request, action=wish)
        refused = refusal(asked)
        if refused is not None:
            refusals.append(refused)
        elif isinstance(wish, Notify):
            tells.append(wish)
        else:
            return Choice(tells=tuple(tells), action=limited(asked), refusals=tuple(refusals))
    return Choice(tells=tuple(tells), refusals=tuple(refusals))


def declined(wishes: Iterable[Decision | Command]) -> Iterator[Refusal]:
    """Yield why steps that are reached cannot act, whatever gates may say."""
    for wish in wishes:
        if isinstance(wish, Hold) and wish.word is not None:
            yield Refusal(reason=wish.word, because=wish.reason, message=wish.reason)


def spending(action: Command, price: UsdPerBtc) -> Sats | None:
    """Return the sats that the action takes from the free balance; None where it takes none."""
    match action:
        case AddMargin(amount=amount):
            return amount
        case OpenPosition(order=NewTrade() as order):
            return order.cost_at(price)
        case _:
            return None
