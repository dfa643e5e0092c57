"""Pages of a list that is read from its newest item backwards (API notes, 3.2)."""

import re
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from exchange.simulator.codec import iso
from exchange.simulator.rest.params import Params, limit_in

Item = TypeVar("Item")

_BELOW_MS: Final = re.compile(r"\.\d{3}(\d{6})Z$")


def page(
    items: Iterable[Item],
    params: Params,
    *,
    time_ms: Callable[[Item], int],
    render: Callable[[Item], object],
) -> dict[str, object]:
    """Return `{data, nextCursor}`. `items` come newest first; `to` is inclusive, the cursor is not.

    Where the border between two pages parts items of one moment, the cursor's digits below the
    millisecond say how many of them were shown: none is lost, and it still is an ISO time.
    """
    limit = limit_in(params)
    start, end, cursor = (params.time_ms(name) for name in ("from", "to", "cursor"))
    in_time = [
        item
        for item in items
        if (start is None or time_ms(item) >= start) and (end is None or time_ms(item) <= end)
    ]
    wanted = in_time if cursor is None else _after(cursor, _shown_of(params), in_time, time_ms)
    shown, left = wanted[:limit], wanted[limit:]
    return {
        "data": [render(item) for item in shown],
        "nextCursor": _cursor(shown[-1], left[0], in_time, time_ms) if left else None,
    }


def _after(cursor: int, shown: int, items: list[Item], time_ms: Callable[[Item], int]) -> list[Item]:
    same = [item for item in items if time_ms(item) == cursor] if shown else []
    return same[shown:] + [item for item in items if time_ms(item) < cursor]


def _shown_of(params: Params) -> int:
    """Return how many items of the cursor's moment were shown; 0 stands for all of them."""
    digits = _BELOW_MS.search(params.text("cursor"))
    return int(digits[1]) if digits else 0


def _cursor(last: Item, following: Item, items: list[Item], time_ms: Callable[[Item], int]) -> str:
    at_ms = time_ms(last)
    if time_ms(following) != at_ms:
        return iso(at_ms)
    same = [item for item in items if time_ms(item) == at_ms]
    shown = next(place for place, item in enumerate(same) if item is following)
    return f"{iso(at_ms)[:-1]}{shown:06d}Z"
