"""A preview told in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import dropwhile
from typing import assert_never

from automations.gate_request import Refusal
from automations.models import GuardStep, MarginGuard
from automations.models.automation import NO_STOP_ON_CROSS
from automations.models.kinds import Kind
from automations.previewing import Preview, Subject
from automations.prospects import Outlook
from automations.rehearsal import Bought, End, How
from automations.rules.actions import (
    Action,
    AddMargin,
    CancelOrder,
    ClosePosition,
    Notify,
    OpenPosition,
    ReducePosition,
    SetStopLoss,
    SetTakeProfit,
    SetTrailingStop,
)
from automations.rules.metric import Metric
from exchange.cross import NewCrossOrder
from exchange.formulas import Side
from exchange.money import Sats
from exchange.position import Position, Regime


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One prospect of one position; every text is ready to be shown."""

    at: str
    distance: str
    action: str
    reason: str
    besides: tuple[str, ...]
    """What is refused there, too, a sentence each."""
    acts: bool
    follows: tuple[tuple[str, str], ...]
    """Names and values of what would be afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One position with its rows."""

    title: str
    position_id: str
    says: tuple[str, ...]
    """What holds for the position as a whole, a sentence each; the first says what the guard buys."""
    rows: tuple[Row, ...]


def told(preview: Preview) -> tuple[Told, ...]:
    return tuple(
        Told(
            title=_title(subject.position),
            position_id=subject.position.id if subject.position else "",
            says=tuple(_says(subject)),
            rows=tuple(_row(outlook, subject.position) for outlook in subject.outlooks),
        )
        for subject in preview.subjects
    )


def notes(preview: Preview) -> tuple[str, ...]:
    """Return what holds for the automation as a whole, a sentence each."""
    return tuple(_notes(preview))


def _notes(preview: Preview) -> Iterator[str]:
    if not preview.automation.enabled:
        yield "It is disabled: nothing of this happens until it is enabled."
    if preview.automation.shadow:
        yield "It is a shadow: its actions are written down and never sent."
    if isinstance(preview.automation, MarginGuard) and preview.automation.regime == Regime.CROSS:
        yield NO_STOP_ON_CROSS
    yield from _idle_steps(preview.automation)
    if preview.others:
        yield f"It leaves {preview.others} other running position(s) alone."
    for subject in preview.subjects:
        if subject.position is not None and subject.closes_first is not None:
            stop = _price(subject.closes_first)
            yield f"Position {subject.position.id}: your stop at {stop} closes before the guard acts."
    yield from _unreadable(preview)
    if not preview.subjects and not preview.unreadable:
        yield "No position of its own runs now: there is nothing to act on."


def _unreadable(preview: Preview) -> Iterator[str]:
    for row in preview.unreadable:
        which = f"Position {row.id}" if row.id else "A position"
        yield f"{which} cannot be read, so that nothing is done on it: {row.fault}."


def _idle_steps(automation: Kind) -> Iterator[str]:
    """Warn of steps that a closing one forestalls: its owner may want that, or not."""
    if not isinstance(automation, MarginGuard):
        return
    shrinks = Metric(automation.metric).shrinks
    steps = sorted(automation.ladder, key=lambda step: step.threshold_percent, reverse=shrinks)
    from_closing = list(dropwhile(lambda step: step.does != GuardStep.Does.CLOSE, steps))
    if len(from_closing) > 1:
        closing, *later = from_closing
        idle = "; ".join(f"“{step}”" for step in later)
        yield f"The step “{closing}” comes first on the way to liquidation: it forestalls {idle}."


def _says(subject: Subject) -> Iterator[str]:
    position, stop = subject.position, subject.own_stop
    if subject.bought is not None:
        yield bought(subject.bought)
    if position is not None and stop is not None:
        lies = "lies" if position.stoploss == stop else "will lie"
        yield f"A stop at {_price(stop)} {lies} with the exchange, and follows the position"


def bought(found: Bought) -> str:
    """Return in one line what a guard buys for a position."""
    if not found.is_more:
        because = f", as {found.because}" if found.because and found.ends else ""
        return f"Buys nothing: {_end(found.ends, found)} with it as without{because}"
    return f"{_survival(found)}; {_end(found.without, found)} without"


def _survival(found: Bought) -> str:
    costs = f"costs at most {_sats(found.costs)}" if found.costs else "adds no margin"
    way = "fall" if found.side is Side.BUY else "rise"
    match found.ends:
        case None if found.until is None:
            return f"Survives any {way}, {costs}"
        case None:
            return f"Survives a {way} to {_away(found.until, found)} and beyond, {costs} until then"
        case End(how=How.LIQUIDATED):
            return f"Survives a {way} to {_away(found.survives_to, found)}, {costs}"
        case End(how=How.STOPPED, price=price):
            return f"Your stop closes it at {_away(price, found)}, {costs} before"
        case End(price=price):
            return f"Closes at {_away(price, found)} at the latest, {costs}"


def _end(end: End | None, found: Bought) -> str:
    match end:
        case None:
            return f"survives any {'fall' if found.side is Side.BUY else 'rise'}"
        case End(how=How.LIQUIDATED, price=price):
            return f"dies at {_price(price)}"
        case End(price=price):
            return f"your stop closes it at {_price(price)}"


def _away(price: Decimal | None, found: Bought) -> str:
    assert price is not None
    share = Fraction(price) / Fraction(found.market) - 1
    return f"{_price(price)} ({float(share) * 100:+.1f} %)"


def _title(position: Position | None) -> str:
    if position is None:
        return "A new position"
    word = "Long" if position.side is Side.BUY else "Short"
    where = ", cross" if position.regime is Regime.CROSS else ""
    return (
        f"{word} {position.quantity:,} USD from {_price(position.entry)} at"
        f" {leverage(position)}x{where}: margin {position.margin:,} sats,"
        f" liquidation {_price(position.liquidation)}"
    )


def _row(outlook: Outlook, position: Position | None) -> Row:
    ahead = f"{_signed(outlook.distance)} ({_percent(outlook.share)})"
    reached = [_passed(outlook, trigger) for trigger in outlook.reached]
    if outlook.now and outlook.distance:
        reached.insert(0, "by the index, which is the worse price for it")
    return Row(
        at=f"now, {_price(outlook.price)}" if outlook.now else _price(outlook.price),
        distance=", ".join(reached) if outlook.now else ahead,
        action=_action(outlook, position),
        reason=outlook.obstacle or outlook.why,
        besides=tuple(refused(each) for each in outlook.gave_way),
        acts=outlook.would_act,
        follows=tuple((name, text) for name, text in _following(outlook) if text),
    )


def _action(outlook: Outlook, position: Position | None) -> str:
    if outlook.action is None:
        return "nothing"
    said = " and ".join(sentence(each) for each in (*outlook.tells, outlook.action))
    if outlook.wanted is not None:
        said = f"{said} ({outlook.wanted:,} wanted: the limits allow no more)"
    isolated = position is not None and position.regime is Regime.ISOLATED
    if isinstance(outlook.action, ReducePosition) and isolated:
        said = f"{said}: all is closed, and the rest opened anew"
    return f"nothing, instead of: {said}" if outlook.obstacle else said


def refused(one: Refusal) -> str:
    """Return what gave way to the action, and why."""
    if one.wish is None or isinstance(one.wish, CancelOrder):
        return f"Refused: {one.because}"
    return f"Refused: {sentence(one.wish)}, as {one.because}"


def _passed(outlook: Outlook, trigger: Decimal) -> str:
    by = trigger - outlook.price
    share = Fraction(by) / Fraction(outlook.price)
    return f"{_price(trigger)} reached: {_signed(by)} ({_percent(share)})"


def _following(outlook: Outlook) -> Iterator[tuple[str, str]]:
    after = outlook.after
    if after is None or outlook.balance_left is None:
        return
    position = after.position
    if position is None:
        yield "margin", "none, nothing is open"
    else:
        yield "margin", _sats(position.margin)
        yield "liquidation", _price(position.liquidation)
        yield "exits", _exits(position)
    yield "fees", _sats(after.fees)
    yield "realised", f"{after.profit:+,} sats" if after.profit else ""
    yield "balance left", _sats(outlook.balance_left)
    yield "budget left", "" if outlook.budget_left is None else _sats(outlook.budget_left)
    if after.refused or outlook.balance_left < 0:
        yield "but the exchange would refuse", after.refused or "the balance does not suffice"


def _exits(position: Position) -> str:
    stop = "trailing stop" if position.trailing is not None else "stop"
    named = ((stop, position.stoploss), ("take profit", position.takeprofit))
    return ", ".join(f"{name} {_price(price)}" for name, price in named if price is not None)


def sentence(action: Action) -> str:
    """Return what an action does, for a person."""
    match action:
        case Notify():
            return "tell the owner"
        case AddMargin(amount=amount):
            return f"add {amount:,} sats of margin"
        case ReducePosition(quantity=quantity):
            return f"close {quantity:,} USD of it"
        case ClosePosition():
            return "close it"
        case SetStopLoss() | SetTrailingStop() | SetTakeProfit():
            return _moved_exit(action)
        case OpenPosition():
            return _opening(action)
        case never:
            assert_never(never)


def _moved_exit(action: SetStopLoss | SetTrailingStop | SetTakeProfit) -> str:
    match action:
        case SetStopLoss(price=price):
            return f"set the stop to {_price(price)}"
        case SetTakeProfit(price=price):
            return f"set the take profit to {_price(price)}"
        case SetTrailingStop(distance=distance):
            return f"let a stop trail by {float(distance) * 100:g} %"
        case never:
            assert_never(never)


def _opening(action: OpenPosition) -> str:
    order = action.order
    word = "buy" if order.side is Side.BUY else "sell"
    size = f"{order.quantity:,} USD" if order.quantity is not None else ""
    if not isinstance(order, NewCrossOrder):
        size = size or f"for {order.margin:,} sats of margin"
        size = f"{size} at {order.leverage.normalize():f}x"
    where = " on the cross position" if isinstance(order, NewCrossOrder) else ""
    limit = f", resting at {_price(order.limit)}" if order.limit is not None else ""
    return f"{word} {size}{where}{limit}"


def lines(preview: Preview) -> Iterator[str]:
    """Yield the preview as lines for a terminal."""
    automation = preview.automation
    yield f"{automation}: {automation.KIND}, market {_price(preview.quote.price)}"
    yield from notes(preview)
    for each in told(preview):
        yield ""
        yield f"{each.title}  {each.position_id}".rstrip()
        yield from (f"  {said}" for said in each.says)
        for row in each.rows:
            yield f"  {row.at}  {row.distance}".rstrip()
            yield f"    {row.action}: {row.reason}"
            yield from (f"    {said}" for said in row.besides)
            after = ", ".join(f"{name} {text}" for name, text in row.follows)
            if after:
                yield f"    then {after}"


def _price(price: Decimal) -> str:
    return f"{price.normalize():,f}"


def _signed(difference: Decimal) -> str:
    return f"{difference.normalize():+,f}"


def leverage(position: Position) -> str:
    return f"{round(position.leverage, 2).normalize():f}"


def _sats(amount: Sats) -> str:
    return f"{amount:,} sats"


def _percent(share: Fraction) -> str:
    return f"{float(share) * 100:+.2f} %"
