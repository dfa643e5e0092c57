"""A preview told: in rows for people, as JSON for programs."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, assert_never

from automations.models import MarginGuard
from automations.models.automation import NO_STOP_ON_CROSS
from automations.previewing import Outlook, Preview, Subject
from automations.reading import plain
from automations.rules.actions import (
    Action,
    AddMargin,
    ClosePosition,
    Notify,
    OpenPosition,
    ReducePosition,
    SetStopLoss,
    SetTakeProfit,
    SetTrailingStop,
)
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
    acts: bool
    follows: tuple[tuple[str, str], ...]
    """Names and values of what would be afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One position with its rows."""

    title: str
    position_id: str
    rows: tuple[Row, ...]


def told(preview: Preview) -> tuple[Told, ...]:
    return tuple(
        Told(
            title=_title(subject.position),
            position_id=subject.position.id if subject.position else "",
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
    if preview.others:
        yield f"It leaves {preview.others} other running position(s) alone."
    for subject in preview.subjects:
        if subject.position is not None and subject.closes_first is not None:
            stop = _price(subject.closes_first)
            yield f"Position {subject.position.id}: your stop at {stop} closes before the guard acts."
    if not preview.subjects:
        yield "No position of its own runs now: there is nothing to act on."


def _title(position: Position | None) -> str:
    if position is None:
        return "A new position"
    word = "Long" if position.side is Side.BUY else "Short"
    where = ", cross" if position.regime is Regime.CROSS else ""
    return (
        f"{word} {position.quantity:,} USD from {_price(position.entry)} at"
        f" {_leverage(position)}x{where}: margin {position.margin:,} sats,"
        f" liquidation {_price(position.liquidation)}"
    )


def _row(outlook: Outlook, position: Position | None) -> Row:
    ahead = f"{_signed(outlook.distance)} ({_percent(outlook.share)})"
    reached = ", ".join(_passed(outlook, trigger) for trigger in outlook.reached)
    return Row(
        at=f"now, {_price(outlook.price)}" if outlook.now else _price(outlook.price),
        distance=reached if outlook.now else ahead,
        action=_action(outlook, position),
        reason=outlook.obstacle or outlook.why,
        acts=outlook.would_act,
        follows=tuple((name, text) for name, text in _following(outlook) if text),
    )


def _action(outlook: Outlook, position: Position | None) -> str:
    if outlook.action is None:
        return "nothing"
    said = sentence(outlook.action)
    if outlook.wanted is not None:
        said = f"{said} ({outlook.wanted:,} wanted: the limits allow no more)"
    isolated = position is not None and position.regime is Regime.ISOLATED
    if isinstance(outlook.action, ReducePosition) and isolated:
        said = f"{said}: all is closed, and the rest opened anew"
    return f"nothing, instead of: {said}" if outlook.obstacle else said


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
        for row in each.rows:
            yield f"  {row.at}  {row.distance}".rstrip()
            yield f"    {row.action}: {row.reason}"
            after = ", ".join(f"{name} {text}" for name, text in row.follows)
            if after:
                yield f"    then {after}"


def as_json(preview: Preview) -> dict[str, Any]:
    """Return the preview for programs: sats and dollars as integers, prices and shares as texts."""
    automation = preview.automation
    return {
        "automationId": automation.pk,
        "automation": automation.name,
        "type": automation.KIND,
        "accountId": automation.account_id,
        "accountName": automation.account.name,
        "enabled": automation.enabled,
        "shadow": automation.shadow,
        "price": plain(preview.quote.price),
        "priceSource": preview.quote.source.value,
        "priceAt": preview.quote.at.isoformat(),
        "balance": preview.balance,
        "positions": [_subject_json(subject) for subject in preview.subjects],
        "positionsLeftAlone": preview.others,
    }


def _subject_json(subject: Subject) -> dict[str, Any]:
    position = subject.position
    return {
        "position": None if position is None else {"id": position.id, **_position_json(position)},
        "closesFirst": None if subject.closes_first is None else plain(subject.closes_first),
        "outlooks": [_outlook_json(outlook) for outlook in subject.outlooks],
    }


def _outlook_json(outlook: Outlook) -> dict[str, Any]:
    return {
        "now": outlook.now,
        "price": plain(outlook.price),
        "distance": plain(outlook.distance),
        "distancePercent": _percent_text(outlook.share),
        "triggersReached": [plain(price) for price in outlook.reached],
        "acts": outlook.would_act,
        "action": None if outlook.action is None else _action_json(outlook.action),
        "wanted": outlook.wanted,
        "reason": outlook.obstacle or outlook.why,
        "after": _after_json(outlook),
    }


def _action_json(action: Action) -> dict[str, Any]:
    order = getattr(action, "order", None) or action
    level = getattr(action, "price", None)
    distance: Fraction | None = getattr(action, "distance", None)
    return {
        "does": action.does,
        "amount": getattr(action, "amount", None),
        "quantity": getattr(order, "quantity", None),
        "margin": getattr(order, "margin", None),
        "level": None if level is None else plain(level),
        "distance": None if distance is None else str(float(distance)),
        "says": sentence(action),
    }


def _after_json(outlook: Outlook) -> dict[str, Any] | None:
    after = outlook.after
    if after is None:
        return None
    return {
        "position": None if after.position is None else _position_json(after.position),
        "fees": after.fees,
        "profit": after.profit,
        "balance": outlook.balance_left,
        "budget": outlook.budget_left,
        "refused": after.refused,
    }


def _position_json(position: Position) -> dict[str, Any]:
    return {
        "side": position.side.value,
        "quantity": position.quantity,
        "entry": plain(position.entry),
        "leverage": _leverage(position),
        "margin": position.margin,
        "liquidation": plain(position.liquidation),
        "stoploss": None if position.stoploss is None else plain(position.stoploss),
        "takeprofit": None if position.takeprofit is None else plain(position.takeprofit),
    }


def _price(price: Decimal) -> str:
    return f"{price.normalize():,f}"


def _signed(difference: Decimal) -> str:
    return f"{difference.normalize():+,f}"


def _leverage(position: Position) -> str:
    return f"{round(position.leverage, 2).normalize():f}"


def _sats(amount: Sats) -> str:
    return f"{amount:,} sats"


def _percent(share: Fraction) -> str:
    return f"{float(share) * 100:+.2f} %"


def _percent_text(share: Fraction) -> str:
    return f"{float(share) * 100:.4f}"
