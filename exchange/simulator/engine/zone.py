"""Which price steps need no look at an account, so that a tick costs what it touches."""

from collections.abc import Callable, Iterable

from exchange.money import UsdPerBtc


class QuietZone:
    """The prices around the last one between which nothing happens.

    Args:
        levels: returns every price at which something would happen.
    """

    def __init__(self, levels: Callable[[], Iterable[UsdPerBtc]]) -> None:
        self._levels = levels
        self._bounds: tuple[UsdPerBtc | None, UsdPerBtc | None] | None = None

    def forget(self) -> None:
        """Look at the levels anew: they have changed."""
        self._bounds = None

    def holds(self, before: UsdPerBtc, now: UsdPerBtc) -> bool:
        """Whether the whole step from `before` to `now` lies strictly within the zone."""
        if self._bounds is None:
            self._bounds = _around(before, self._levels())
        low, high = self._bounds
        if (low is None or low < min(before, now)) and (high is None or max(before, now) < high):
            return True
        self._bounds = None
        return False


def _around(price: UsdPerBtc, levels: Iterable[UsdPerBtc]) -> tuple[UsdPerBtc | None, UsdPerBtc | None]:
    below: UsdPerBtc | None = None
    above: UsdPerBtc | None = None
    for level in levels:
        if level <= price and (below is None or level > below):
            below = level
        if level >= price and (above is None or level < above):
            above = level
    return below, above
