"""Which fee rate an account pays: by its setting, or a better one by its volume (API notes, 6.4)."""

from datetime import timedelta
from decimal import Decimal
from typing import Final

from exchange.formulas import FEE_RATES

WINDOW_MS: Final = timedelta(days=30) // timedelta(milliseconds=1)
REFRESH_MS: Final = timedelta(hours=1) // timedelta(milliseconds=1)
_VOLUMES: Final = (0, 250_000, 1_000_000, 5_000_000)
"""More than this many contracts closed within the window give the tier of that place."""


class FeeTier:
    def __init__(self, least: int) -> None:
        self._least = least
        self.tier = least

    @property
    def rate(self) -> Decimal:
        return FEE_RATES[self.tier]

    def refresh(self, volume: int) -> None:
        """Take the tier that the volume of the last 30 days gives, never less than the setting's."""
        earned = max(tier for tier, above in enumerate(_VOLUMES) if not above or volume > above)
        self.tier = max(self._least, earned)
