"""What a run came to: our executions joined with what truly reached the paper exchange."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from statistics import median
from typing import Any, Final

Json = Mapping[str, Any]

_ACTION_OF_PATH: Final = {
    "add-margin": "add_margin",
    "close": "close_position",
    "stoploss": "set_stoploss",
}
UNSETTLED: Final = {"intended", "sent", "unknown"}


@dataclass(frozen=True, slots=True)
class _Effect:
    """What an execution does, as both sides write it down."""

    action: str
    position_id: str
    amount: int | None


def duplicates(executions: Iterable[Json], writes: Iterable[Json]) -> int:
    """Return how many effects the exchange applied beyond one for each execution."""
    intended = Counter(_intended(execution) for execution in executions)
    applied = Counter(effect for write in writes if write["applied"] and (effect := _applied(write)))
    return (applied - intended).total()


def tick_to_order_ms(executions: Iterable[Json], ledger: Json) -> dict[str, float] | None:
    """Return how long orders took from the exchange's tick until they were back there.

    Only executions that a tick brought count; None where there is none.

    Raises:
        ValueError: the exchange never sent such a tick, or never saw such an order.
    """
    sent = {(tick["time"], Decimal(str(tick["price"]))): tick["sent_at_us"] for tick in ledger["ticks"]}
    taken = [
        _took_ms(execution, sent, ledger["writes"])
        for execution in executions
        if execution["tick_time_ms"] is not None
        and execution["state"] == "confirmed"
        and execution["action"] in _ACTION_OF_PATH.values()
    ]
    return {"p50": round(median(taken), 3), "max": round(max(taken), 3)} if taken else None


def _took_ms(execution: Json, sent: Mapping[tuple[int, Decimal], int], writes: Iterable[Json]) -> float:
    sent_at_us = sent.get((execution["tick_time_ms"], Decimal(execution["tick_price"])))
    if sent_at_us is None:
        raise ValueError(f"execution {execution['id']} names a tick that was never sent")
    arrivals = (
        int(write["received_at_us"]) - sent_at_us
        for write in writes
        if _applied(write) == _intended(execution) and write["received_at_us"] >= sent_at_us
    )
    if (first_us := min(arrivals, default=None)) is None:
        raise ValueError(f"execution {execution['id']} never reached the exchange")
    return first_us / 1000


def _intended(execution: Json) -> _Effect:
    return _Effect(execution["action"], execution["position_id"], execution["amount"])


def _applied(write: Json) -> _Effect | None:
    action = _ACTION_OF_PATH.get(write["path"].rpartition("/")[2])
    params = write["params"]
    return _Effect(action, params["id"], params.get("amount")) if action else None
