"""Carries a price path to the exchange at the pace of a clock."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from exchange.money import UsdPerBtc
from exchange.simulator.prices import candles, synthetic
from exchange.simulator.settings import Settings

REAL_TICK_S: Final = 0.1
FILE_SPEED: Final = 60.0
MANUAL: Final = "manual"
SYNTHETIC: Final = "synthetic"

Ticks = Iterator[tuple[float, UsdPerBtc]]
"""Seconds of market time since the tick before, and the price."""


class Feed:
    """A path and its pace.

    Args:
        speed: how many seconds of the market pass in one second of ours.
    """

    def __init__(self, path: Ticks, speed: float) -> None:
        self._path = path
        self._speed = speed

    async def run(self, move: Callable[[UsdPerBtc], None]) -> None:
        """Move the price along the path until it ends; then the price stays."""
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        for after_s, price in self._path:
            due_s += after_s / self._speed
            # Always give way once: a path faster than this machine must not starve the sockets.
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            move(price)


def chosen(settings: Settings) -> Feed | None:
    """Return the feed of the settings, None for manual prices; `BrokenFile` for an unusable file."""
    if settings.prices == MANUAL:
        return None
    if settings.prices == SYNTHETIC:
        return Feed(synthetic.ticks(settings.seed, settings.start_price), settings.speed or 1.0)
    speed = settings.speed or FILE_SPEED
    rows = candles.read(Path(settings.prices))
    return Feed(candles.ticks(rows, tick_s=REAL_TICK_S * speed), speed)
