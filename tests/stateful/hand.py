"""What owners do at the exchange themselves, without us: the user's own hand."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any, Final

from tests.stateful.stage import Person

_odd_amounts = count(1_009, 2)
"""No amount twice, and none that an automation would choose."""

Touch = Callable[[Person, str], Any]


def opens(person: Person, *, side: str, quantity: int, leverage: int) -> Any:
    return _done(
        person,
        "POST",
        "/futures/isolated/trade",
        {"type": "market", "side": side, "quantity": quantity, "leverage": leverage},
    )


def orders_cross(person: Person, *, side: str, quantity: int) -> Any:
    order = {"type": "market", "side": side, "quantity": quantity}
    return _done(person, "POST", "/futures/cross/order", order)


def deposits(person: Person, amount: int) -> Any:
    return _done(person, "POST", "/futures/cross/deposit", {"amount": amount})


def closes(person: Person, trade: str) -> Any:
    if trade == "cross":
        return _done(person, "POST", "/futures/cross/position/close", {})
    return _done(person, "POST", "/futures/isolated/trade/close", {"id": trade})


def tops_up(person: Person, trade: str) -> Any:
    if trade == "cross":
        return deposits(person, next(_odd_amounts))
    added = {"id": trade, "amount": next(_odd_amounts)}
    return _done(person, "POST", "/futures/isolated/trade/add-margin", added)


def takes_out(person: Person, trade: str) -> Any:
    if trade == "cross":
        return _done(person, "POST", "/futures/cross/withdraw", {"amount": next(_odd_amounts)})
    taken = {"id": trade, "amount": next(_odd_amounts)}
    return _done(person, "POST", "/futures/isolated/trade/cash-in", taken)


def sets_a_stop(person: Person, trade: str) -> Any:
    """Set a stop two thirds of the way to liquidation."""
    return _sets(person, trade, "stoploss", Decimal(2) / 3)


def sets_a_close_stop(person: Person, trade: str) -> Any:
    """Set a stop an eighth of the way to liquidation."""
    return _sets(person, trade, "stoploss", Decimal(1) / 8)


def sets_a_profit(person: Person, trade: str) -> Any:
    """Set a take profit as far off as liquidation, on the other side."""
    return _sets(person, trade, "takeprofit", Decimal(-1))


def takes_the_stop_away(person: Person, trade: str) -> Any:
    if trade == "cross":
        return None
    person.touched[trade, "stoploss"] = datetime.now(UTC)
    return _said(person, person.rest.delete("/futures/isolated/trade/stoploss", id=trade).body)


def turns(person: Person, trade: str) -> Any:
    """Order twice the cross position the other way: it ends as large on the other side."""
    quantity = person.standing().cross["quantity"]
    if trade != "cross" or not quantity:
        return None
    side = "sell" if quantity > 0 else "buy"
    return orders_cross(person, side=side, quantity=2 * abs(quantity))


def leaves_next_to_nothing(person: Person, _trade: str) -> Any:
    """Move almost the whole balance to where no automation of isolated trades can have it."""
    return deposits(person, max(1, person.standing().balance - next(_odd_amounts)))


TOUCHES: Final[tuple[Touch, ...]] = (
    closes, tops_up, takes_out, sets_a_stop, sets_a_close_stop, sets_a_profit, takes_the_stop_away,
    turns, leaves_next_to_nothing,
)  # fmt: skip


def _sets(person: Person, trade: str, exit_: str, share: Decimal) -> Any:
    found = person.standing().trades.get(trade)
    if found is None:
        return None
    entry, liquidation = Decimal(str(found["price"])), Decimal(str(found["liquidation"]))
    level = int(entry + share * (liquidation - entry))
    person.touched[trade, exit_] = datetime.now(UTC)
    wanted = {"id": trade, "value": level}
    return _done(person, "PUT", f"/futures/isolated/trade/{exit_}", wanted)


def _done(person: Person, method: str, path: str, body: dict[str, object]) -> Any:
    send = person.rest.post if method == "POST" else person.rest.put
    return _said(person, send(path, **body).body)


def _said(person: Person, answer: Any) -> Any:
    person.changed_at = datetime.now(UTC)
    return answer
