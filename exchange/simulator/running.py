"""A paper exchange inside another program, mostly a test: it runs in a thread on free ports."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from exchange.money import Sats, UsdPerBtc
from exchange.simulator.engine.funding import Settlement
from exchange.simulator.engine.market import checked_price
from exchange.simulator.faults import Fault, Kind
from exchange.simulator.ledger import Tick, WriteRecord
from exchange.simulator.paper import PaperAccount, Push
from exchange.simulator.prices.feed import Feed
from exchange.simulator.server import Server
from exchange.simulator.settings import Settings

Answer = TypeVar("Answer")

QUIET = Settings(prices="manual", limits=None, half_spread=Decimal(0), index_offset=Decimal(0))
"""For tests: the price moves only when told, orders execute at it, the index is the same, and
nothing is limited."""


class Simulator:
    """A context manager; its methods may be called from any thread while it is entered.

    Args:
        prices_from: a path of prices in place of what the settings say.
        changes: fields of `Settings` that differ.
    """

    def __init__(
        self, settings: Settings = QUIET, *, prices_from: Feed | None = None, **changes: Any
    ) -> None:
        self._settings = replace(settings, **changes)
        self._prices_from = prices_from
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="paper exchange", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        with suppress(
            RuntimeError
        ):  # its loop is closed: it ended by a failure of its own, raised below
            self._loop.call_soon_threadsafe(self._server.over.set)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    @property
    def rest(self) -> str:
        """The base URL of REST, ending in `/v3`."""
        return self._server.rest

    @property
    def stream(self) -> str:
        """The URL of the stream, ending in `/v1`."""
        return self._server.stream

    @property
    def control(self) -> str:
        return self._server.control

    @property
    def certificate(self) -> Path | None:
        """The file of the certificate to trust, with `tls`; it goes when the exchange stops."""
        return self._server.certificate.path if self._server.certificate else None

    @property
    def accounts(self) -> list[PaperAccount]:
        return self._server.paper.accounts

    def set_price(self, price: Decimal | int | str) -> None:
        """Move the price; returns when every trade is settled and every push is on its way."""
        self._do(lambda: self._server.paper.move(checked_price(Decimal(price))))

    def set_index(self, index: Decimal | int | str) -> None:
        """Move the index alone; from now on it keeps its distance from the last price."""
        self._do(lambda: self._server.paper.move_index(checked_price(Decimal(index))))

    def push(self, push: Push, value: Decimal | int | str) -> None:
        """Push one frame with a wrong value while the market itself stands where it is."""
        self._do(lambda: self._server.paper.push(push, checked_price(Decimal(value))))

    def price(self) -> UsdPerBtc:
        return self._do(lambda: self._server.paper.venue.market.price)

    def settle_funding(self, rate: Decimal | str | None = None) -> Settlement:
        """Settle funding now, at another rate if given; it stays the rate of the market."""

        def settle() -> Settlement:
            if rate is not None:
                self._server.paper.venue.market.funding_rate = Decimal(rate)
            return self._server.paper.settle_funding()

        return self._do(settle)

    def balance(self, number: int = 0) -> Sats:
        """Return the free balance of an account as the engine has it, without a request."""
        account = self._server.paper.venue.account_with_key(self.accounts[number].credentials.key)
        assert account is not None
        return self._do(lambda: account.wallet.balance)

    def fault(self, kind: Kind | str, **selectors: Any) -> None:
        """Let something go wrong; the fields are those of `Fault`."""
        self._do(lambda: self._server.order(Fault(kind=Kind(kind), **selectors)))

    def clear_faults(self) -> None:
        self._do(self._server.end_faults)

    def writes(self) -> list[WriteRecord]:
        """Return every write received, the oldest first."""
        return self._do(lambda: list(self._server.paper.ledger.writes))

    def ticks(self) -> list[Tick]:
        return self._do(lambda: list(self._server.paper.ledger.ticks))

    def streams(self) -> Counter[str]:
        """Return how many open stream connections have proven each API key."""
        return self._do(self._server.streams)

    def cut_streams(self) -> None:
        """Cut every stream connection, as when a network breaks."""
        self.fault(Kind.CUT)

    def _do(self, action: Callable[[], Answer]) -> Answer:
        async def on_the_loop() -> Answer:
            return action()

        return asyncio.run_coroutine_threadsafe(on_the_loop(), self._loop).result()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001 - raised again in the thread that entered
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = Server(self._settings, self._prices_from)
        await self._server.start()
        self._started.set()
        await self._server.over.wait()
        await self._server.stop()
