"""Carries a price path to the exchange at the pace of a clock."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from exchange.money import UsdPerBtc
from exchange.simulator.prices import candles, synthetic
from exchange.simulator.prices.live import LiveFeed
from exchange.simulator.settings import Settings

logger = logging.getLogger(__name__)

REAL_TICK_S: Final = 0.1
FILE_SPEED: Final = 60.0

Ticks = Iterator[tuple[float, UsdPerBtc]]
"""Seconds of market time since the tick before, and the price."""


class Feed:
    """A path and its pace.

    Args:
        first: what the market opens at; None leaves that to the settings.
        speed: how many seconds of the market pass in one second of ours.
        falls_s: seconds of the market from the beginning to the end of the deepest fall.
        waits: whether the path begins only when `begin` is called.
    """

    def __init__(
        self,
        path: Ticks,
        *,
        first: UsdPerBtc | None,
        speed: float,
        falls_s: float | None = None,
        waits: bool = False,
    ) -> None:
        self._path = path
        self._first = first
        self._speed = speed
        self.fall_over_s = None if falls_s is None else falls_s / speed
        """In seconds of ours; None where that is not known."""
        self._begun = asyncio.Event()
        if not waits:
            self.begin()

    def begin(self) -> None:
        self._begun.set()

    async def open(self) -> UsdPerBtc | None:
        return self._first

    def close(self) -> None:
        """Nothing is held open."""

    async def run(self, move: Callable[[UsdPerBtc], None]) -> None:
        """Move the price along the path until it ends; then the price stays."""
        await self._begun.wait()
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        for after_s, price in self._path:
            due_s += after_s / self._speed
            # Always give way once: a path faster than this machine must not starve the sockets.
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            move(price)
        logger.info("the prices have ended, the last one stays")


def chosen(settings: Settings) -> Feed | LiveFeed | None:
    """Return the feed of the settings, None for manual prices; `BrokenFile` for an unusable file."""
    match settings.prices:
        case "manual":
            return None
        case "live":
            return LiveFeed(settings.live_url)
        case "synthetic":
            return Feed(
                synthetic.ticks(settings.seed, settings.start_price),
                first=None,
                speed=settings.speed or 1.0,
                falls_s=synthetic.FALL_OVER_S,
                waits=settings.waits,
            )
        case file:
            return _from_file(Path(file), settings.speed or FILE_SPEED, waits=settings.waits)


def _from_file(path: Path, speed: float, *, waits: bool) -> Feed:
    rows = candles.read(path)
    ticks = candles.ticks(rows, tick_s=REAL_TICK_S * speed)
    _, first = next(ticks)
    return Feed(ticks, first=first, speed=speed, falls_s=candles.fall_over_s(rows), waits=waits)
