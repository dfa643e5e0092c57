"""Closings: what ended the positions that run no more, by what the exchange shows; an entry each."""

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for, server_clock
from accounts.models import Account
from automations import answering, journal, post_mortem, protection
from automations.models import Execution, JournalEntry, KnownPosition
from automations.reading import closing, closing_on_cross, plain
from exchange.client import Client
from exchange.config import Network
from exchange.cross import CrossOrder, CrossOrderType
from exchange.errors import ExchangeError, OperatorNeededError
from exchange.formulas import Side
from exchange.money import Sats
from exchange.paging import Span
from exchange.position import Position, Regime
from exchange.rows import Rows
from exchange.trade import ClosedTrade

logger = logging.getLogger(__name__)

_BACK: Final = timedelta(minutes=1)
_GIVES_UP: Final = timedelta(days=1)
_FIRST_WAIT: Final = timedelta(seconds=5)
_STATE: Final = Execution.State
_CLOSES: Final = (Execution.Does.CLOSE_POSITION, Execution.Does.REDUCE_POSITION)
_SETS_A_STOP: Final = (Execution.Does.SET_STOPLOSS, Execution.Does.SET_TRAILING)
_OURS: Final = "ours"
"""An execution of ours closed it, and tells of that itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _End:
    """How a position ended: the journal's event, or `_OURS`."""

    event: str
    message: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    details: tuple[str, ...] = ()


def explain(account_ids: Collection[int] | None = None) -> int:
    """Explain what is due, of these accounts or of all; return for how many positions that succeeded.

    An account that cannot be read is logged and left to the next time; it holds up no other.
    """
    due = KnownPosition.objects.due(timezone.now()).select_related("account")
    if account_ids is not None:
        due = due.filter(account__in=account_ids)
    of_accounts: dict[Account, list[KnownPosition]] = {}
    for row in due:
        of_accounts.setdefault(row.account, []).append(row)
    answers = answering.balances(of_accounts)
    return sum(
        _explain(account, rows) for account, rows in of_accounts.items() if account.pk in answers
    )


def _explain(account: Account, rows: list[KnownPosition]) -> int:
    _look_again(rows)
    explained = 0
    for regime, ends in _ENDS.items():
        try:
            for row, end in ends([row for row in rows if row.regime == regime], client_for(account)):
                explained += _record(row, account, end)
        except (ExchangeError, SealBrokenError) as error:
            extra = {"account": account.pk, "account_name": account.name, "error": str(error)}
            logger.warning("closing not explained", extra=extra)
    return explained


def _look_again(rows: Sequence[KnownPosition]) -> None:
    """Set when each is looked for next: ever later, for a list may lag, or lack it for good."""
    now = timezone.now()
    for row in rows:
        assert row.gone_at is not None
        row.look_at = now + max(_FIRST_WAIT, (now - row.gone_at) / 2)
    KnownPosition.objects.bulk_update(rows, ["look_at"])


def _record(row: KnownPosition, account: Account, end: _End) -> bool:
    """Write the end down and forget the position; False where somebody else did."""
    guards = post_mortem.guards_of(row)
    guarded = any(map(post_mortem.watch, guards))
    message, details = end.message, end.details
    if end.event == journal.LIQUIDATED:
        summary, details = post_mortem.of(row, guards)
        message = f"{message}; {summary}"
    with transaction.atomic():
        if not KnownPosition.objects.gone().filter(pk=row.pk).delete()[0]:
            return False
        protection.forget(account.pk, row.position_id)
        if end.event != _OURS:
            journal.record_about(
                account,
                end.event,
                message=message,
                data=_described(row) | end.data | {"guarded": guarded, "postMortem": details},
                now=timezone.now(),
                position_id=row.position_id,
            )
    return True


def _described(row: KnownPosition) -> dict[str, Any]:
    return {
        "positionId": row.position_id,
        "side": row.side,
        "quantity": row.quantity,
        "entry": plain(row.entry),
        "margin": row.margin,
        "firstMargin": row.first_margin,
        "liquidation": plain(row.liquidation),
        "stoploss": None if row.stoploss is None else plain(row.stoploss),
        "takeprofit": None if row.takeprofit is None else plain(row.takeprofit),
    }


def _ends(rows: list[KnownPosition], client: Client) -> Iterator[tuple[KnownPosition, _End]]:
    """Yield the trades whose end the exchange shows; one that runs after all is known as running."""
    if not rows:
        return
    closed = client.closed_trades(_since(rows))
    shown = {trade.id: trade for trade in closed}
    missing = [row for row in rows if row.position_id not in shown]
    running = client.rest.running_trades() if missing else Rows[Position]()
    for row in rows:
        trade = shown.get(row.position_id)  # type: ignore[call-overload]  # ids are texts there
        end = _end_beside_ours(row, trade) if trade else _end_unseen(row, closed, running)
        if end is not None:
            yield row, end


def _end_unseen(row: KnownPosition, closed: Rows[ClosedTrade], running: Rows[Position]) -> _End | None:
    """Know it as running where it does, readable or not; else go on looking until that is given up."""
    try:
        runs = running.shows(row.position_id)
        closed.find(row.position_id)
    except OperatorNeededError as error:
        extra = {
            "account": row.account_id,
            "account_name": row.account.name,
            "position": row.position_id,
            "error": str(error),
        }
        logger.warning("closing not read", extra=extra)
        return _given_up(row)
    if runs:
        _take_back(row)
        return None
    return _given_up(row)


def _ends_on_cross(rows: list[KnownPosition], client: Client) -> Iterator[tuple[KnownPosition, _End]]:
    """Yield the same for the cross position: the order that closed it tells."""
    for row in rows:
        orders = client.rest.cross.filled_orders(_since([row]))
        order = next((each for each in orders if each.side != row.side), None)
        position = client.rest.cross.position().running()
        if order is not None and (
            position is None or position.side != row.side or _is_new(position, row, orders)
        ):
            if not _is_open(row):
                yield row, _end_on_cross(row, order)
        elif position is not None:
            _take_back(row)
        elif (given_up := _given_up(row)) is not None:
            yield row, given_up


def _is_new(position: Position, row: KnownPosition, orders: Sequence[CrossOrder]) -> bool:
    """Whether it was flat since it was known: reckoned back from what runs, by orders, newest first."""
    held: int = position.quantity
    for order in orders:
        held += order.quantity if order.side != position.side else -order.quantity
        if held <= 0:  # this order opened it
            return order.filled_at is not None and order.filled_at > _seen_at([row])
    return False


def _since(rows: Sequence[KnownPosition]) -> Span:
    """Return the time since the oldest was seen running, by the exchange's own clock."""
    return Span(since=_seen_at(rows) - _BACK)


def _seen_at(rows: Sequence[KnownPosition]) -> datetime:
    """Return when the oldest was seen to change last, by the exchange's own clock."""
    clock = server_clock(Network(rows[0].account.network))
    return min(row.seen_at for row in rows) + timedelta(milliseconds=clock.offset_ms)


def _end_beside_ours(row: KnownPosition, trade: ClosedTrade) -> _End | None:
    """Return what ended a trade; None while an action of ours is not settled that may have done so."""
    end, ours = _end_of(row, trade), _newest_close(row)
    if ours is None or ours.state not in {_STATE.CONFIRMED, *Execution.UNSETTLED}:
        return end
    if ours.state != _STATE.CONFIRMED:
        return None
    # A close that was only proven, by the trade being gone, may have come after a liquidation.
    return end if end.event == journal.LIQUIDATED and not _was_answered(ours) else _End(event=_OURS)


def _newest_close(row: KnownPosition) -> Execution | None:
    closes = Execution.objects.filter(
        account=row.account_id, position_id=row.position_id, does__in=_CLOSES,
        decided_at__gte=row.first_seen_at - _BACK,
    )  # fmt: skip
    return closes.first()


def _was_answered(close: Execution) -> bool:
    """Whether the exchange itself said that it closed; else it was proven by the trade being gone."""
    return JournalEntry.objects.filter(
        execution=close.pk, event__endswith=f"_{journal.EXECUTED}"
    ).exists()


def _end_of(row: KnownPosition, trade: ClosedTrade) -> _End:
    """Tell from the exit's price what ended a trade: liquidation, a native exit, or a hand."""
    data, numbers = closing(trade), _numbers(trade)
    shows_exits = trade.liquidation is not None
    stop = trade.stoploss if shows_exits else row.stoploss
    target = trade.takeprofit if shows_exits else row.takeprofit
    sign = trade.side.sign
    at_liquidation = sign * (trade.exit - (trade.liquidation or row.liquidation)) <= 0
    if (at_liquidation or trade.profit <= -trade.margin) and trade.exit != stop:
        cost = trade.margin + trade.opening_fee + trade.closing_fee
        return _End(
            event=journal.LIQUIDATED,
            message=f"it cost {cost:,} sats of margin and fees",
            data=data | _cost(row, trade.margin, cost),
        )
    if stop is not None and sign * (trade.exit - stop) <= 0:
        said = f"{_set_by(row, stop, _SETS_A_STOP)} at {plain(stop)}: {numbers}"
        return _End(event=journal.STOPLOSS_EXECUTED, message=said, data=data)
    if target is not None and sign * (trade.exit - target) >= 0:
        set_by = _set_by(row, target, (Execution.Does.SET_TAKEPROFIT,))
        said = f"{set_by} at {plain(target)}: {numbers}"
        return _End(event=journal.TAKEPROFIT_EXECUTED, message=said, data=data)
    said = f"by hand or by another program, at {plain(trade.exit)}: {numbers}"
    return _End(event=journal.CLOSED_ELSEWHERE, message=said, data=data)


def _end_on_cross(row: KnownPosition, order: CrossOrder) -> _End:
    before = {"side": Side(row.side), "entry": plain(row.entry)}
    data = closing_on_cross(before, order)
    if order.type is CrossOrderType.LIQUIDATION:
        return _End(
            event=journal.LIQUIDATED,
            message=f"it cost {row.margin:,} sats of margin",
            data=data | _cost(row, Sats(row.margin), row.margin),
        )
    if _is_ours(row, order):
        return _End(event=_OURS)
    said = f"by hand or by another program, at {plain(order.price)}"
    return _End(event=journal.CLOSED_ELSEWHERE, message=said, data=data)


def _cost(row: KnownPosition, margin: Sats, cost: int) -> dict[str, int]:
    return {"marginLost": margin, "addedSats": post_mortem.added(row), "cost": cost}


def _is_open(row: KnownPosition) -> bool:
    """Whether an action of ours may have closed it, and is not settled yet."""
    close = _newest_close(row)
    return close is not None and close.state in Execution.UNSETTLED


def _is_ours(row: KnownPosition, order: CrossOrder) -> bool:
    """Whether an order came of an execution; only an order that closes all of it bears no label."""
    close = _newest_close(row)
    if close is None or close.state != _STATE.CONFIRMED:
        return False
    if order.client_id:
        return order.client_id == close.client_id
    return close.does == Execution.Does.CLOSE_POSITION


def _numbers(trade: ClosedTrade) -> str:
    fees = trade.opening_fee + trade.closing_fee
    return f"realised {trade.profit:+,} sats before {fees:,} sats of fees"


def _set_by(row: KnownPosition, level: Any, does: Sequence[str]) -> str:
    """Return who set the exit that was executed."""
    newest = Execution.objects.filter(
        account=row.account_id, position_id=row.position_id, does__in=does,
        state__in=[Execution.State.CONFIRMED, Execution.State.QUARANTINED],
    ).select_related("automation").first()  # fmt: skip
    if newest is None or newest.level not in {None, level}:
        return "which was set by hand,"
    return f"which “{newest.automation.name}” had set,"


def _take_back(row: KnownPosition) -> None:
    """Know a position as running that was in no reading for a moment, or in none of its regime."""
    with transaction.atomic():
        again = KnownPosition.objects.running().filter(
            account=row.account_id, position_id=row.position_id
        )
        gone = KnownPosition.objects.gone().filter(pk=row.pk)
        if again.exists():
            gone.delete()
        else:
            gone.update(gone_at=None, look_at=None)


def _given_up(row: KnownPosition) -> _End | None:
    assert row.gone_at is not None
    if timezone.now() - row.gone_at < _GIVES_UP:
        return None
    said = "it runs no more, and the exchange does not show what ended it"
    return _End(event=journal.CLOSED_ELSEWHERE, message=said)


_ENDS: Final = {Regime.ISOLATED: _ends, Regime.CROSS: _ends_on_cross}
