"""Pages of a list that is read from its newest item backwards (API notes, 3.2)."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from exchange.simulator.codec import iso
from exchange.simulator.rest.params import Params, limit_in

Item = TypeVar("Item")


def page(
    items: Iterable[Item],
    params: Params,
    *,
    time_ms: Callable[[Item], int],
    render: Callable[[Item], object],
) -> dict[str, object]:
    """Return `{data, nextCursor}`. `items` come newest first; `to` is inclusive, the cursor is not."""
    limit = limit_in(params)
    start, end, cursor = (params.time_ms(name) for name in ("from", "to", "cursor"))
    wanted = [
        item
        for item in items
        if (start is None or time_ms(item) >= start)
        and (end is None or time_ms(item) <= end)
        and (cursor is None or time_ms(item) < cursor)
    ]
    shown = wanted[:limit]
    more = len(wanted) > limit
    return {
        "data": [render(item) for item in shown],
        "nextCursor": iso(time_ms(shown[-1])) if more else None,
    }
