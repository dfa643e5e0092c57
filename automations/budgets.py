"""What a margin guard may spend on one position: sats, or a share of the position's first margin."""

from collections.abc import Iterable
from decimal import Decimal

from automations.models import MarginGuard
from automations.models.percent import share_of
from exchange.money import Sats
from exchange.position import Position


def per_position(guard: MarginGuard, position: Position) -> Sats | None:
    """Return what all top-ups of the position together may cost; None: nothing bounds them."""
    return _smaller(
        (guard.budget_per_position_sats, _share(guard.budget_per_position_percent, position))
    )


def per_position_today(guard: MarginGuard, position: Position) -> Sats | None:
    """Return the same for 24 hours."""
    return _share(guard.budget_per_day_percent, position)


def _share(percent: Decimal | None, position: Position) -> Sats | None:
    """Return a share of the position's first margin, rounded down to whole sats."""
    if percent is None:
        return None
    share = share_of(percent)
    return Sats(position.first_margin * share.numerator // share.denominator)


def _smaller(bounds: Iterable[int | None]) -> Sats | None:
    known = [bound for bound in bounds if bound is not None]
    return Sats(min(known)) if known else None
