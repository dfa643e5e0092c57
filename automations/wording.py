"""How it is said: subject and text of a message about an entry of the journal, in plain sentences."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from accounts.models import Account
from accounts.times import written, zone_of
from automations.models import Execution, JournalEntry
from automations.notices import Notice
from exchange.formulas import Side
from exchange.position import Regime

_STOOD: Final = {
    "margin": "margin {} sats",
    "liquidation": "liquidation at {}",
    "stoploss": "stop at {}",
    "takeprofit": "take profit at {}",
}
_FEES: Final = {"openingFee": "opening", "closingFee": "closing", "fundingFees": "funding"}
_SIDES: Final = {Side.BUY.value: "long", Side.SELL.value: "short"}
_BACK: Final = "Protection is back."


def subject_of(entry: JournalEntry, account: Account, notice: Notice) -> str:
    said = notice.subject.format_map(_Known(entry, account, short=True))
    # A name may hold a line break, and a subject may not.
    return " ".join(f"[hubdefisats] {account.name}: {said}".split())[:200]


def text_of(entry: JournalEntry, account: Account, notice: Notice, *, back: bool = False) -> str:
    """Return what happened, why, and the numbers, a line each, as far as the entry knows them.

    `back` says that protection had ended, and is back with this.
    """
    lead = notice.lead.format_map(_Known(entry, account))
    said = f"{lead[:1].upper()}{lead[1:]}"
    data = entry.data
    lines = (
        f"{_BACK} {said}" if back else said,
        "" if "{message}" in notice.lead or "postMortem" in data else f"Why: {entry.message}.",
        _at_price(data),
        _opened(data),
        _closed(data.get("after") or data),
        _stood("Last seen" if "firstMargin" in data else "Before", data),
        _stood("After", data.get("after") or {}),
        *data.get("postMortem", ()),
        f"{written(entry.timestamp, zone_of(account.owner_id))}, journal entry {entry.pk}.",
    )
    return "\n".join(line for line in lines if line)


class _Known(dict[str, str]):
    """What the rows of the table may name; what an entry does not know is said to be unknown."""

    def __init__(self, entry: JournalEntry, account: Account, *, short: bool = False) -> None:
        of_account = f"your account “{account.name}” ({account.network})"
        name = entry.automation.name if entry.automation else ""
        super().__init__(
            {key: number_text(value) for key, value in entry.data.items() if _is_plain(value)}
            | {
                "name": name if short else f"“{name}”",
                "account": of_account,
                "position": f"position {entry.position_id}" if entry.position_id else "the position",
                "action": _action(entry),
                "message": entry.message.rstrip("."),
                "side": _SIDES.get(str(entry.data.get("side")), ""),
                "reopening": _reopening(entry),
            }
        )

    def __missing__(self, key: str) -> str:
        return "an unknown number of" if key in {"amount", "quantity"} else "unknown"


def number_text(value: Any) -> str:
    """Return a number with its thousands apart; any other text as it is."""
    if isinstance(value, int):
        return f"{value:,}"
    try:
        number = Decimal(value)
    except ArithmeticError:
        return str(value)
    return f"{number:,f}" if number.is_finite() else str(value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _action(entry: JournalEntry) -> str:
    does = entry.data.get("action")
    if does is None:
        return ""
    return "warning" if does == Execution.Does.NOTIFY else Execution.Does(does).label


def _at_price(data: dict[str, Any]) -> str:
    price = data.get("price")
    return f"Price: {number_text(price)}." if price else ""


def _opened(data: dict[str, Any]) -> str:
    if data.get("action") != Execution.Does.OPEN_POSITION:
        return ""
    known = (
        _SIDES.get(str(data.get("side")), ""),
        f"{number_text(data['quantity'])} USD" if data.get("quantity") else "",
        f"leverage {number_text(data['leverage'])}" if data.get("leverage") else "",
    )
    return f"Opened: {', '.join(filter(None, known))}."


def _reopening(entry: JournalEntry) -> str:
    """Return what reducing an isolated trade means; nothing on cross."""
    execution = entry.execution
    if execution is None or execution.regime != Regime.ISOLATED:
        return ""
    return " It was closed as a whole, and the rest is opened anew."


def _closed(data: dict[str, Any]) -> str:
    """Return what closing brought and cost; nothing where nothing was closed, or it is not known."""
    if data.get("exitPrice") is None:
        return ""
    return f"Closed: {', '.join(_of_closing(data))}."


def _of_closing(data: dict[str, Any]) -> Iterator[str]:
    yield f"exit at {number_text(data['exitPrice'])}"
    if data.get("realisedPnl") is not None:
        yield f"realised {data['realisedPnl']:+,} sats before fees"
    fees = {word: data[name] for name, word in _FEES.items() if data.get(name) is not None}
    if fees:
        each = ", ".join(f"{word} {value:,}" for word, value in fees.items())
        yield f"fees {sum(fees.values()):,} sats ({each})"


def _stood(when: str, data: dict[str, Any]) -> str:
    """Return how the position stood; nothing where that is not known."""
    known = [
        pattern.format(number_text(value))
        for name, pattern in _STOOD.items()
        if (value := data.get(name)) is not None
    ]
    return f"{when}: {', '.join(known)}." if "margin" in data else ""
