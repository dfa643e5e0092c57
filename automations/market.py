"""One network's market as the stream process follows it: its session, its price, its triggers."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from automations.crossing import Crossing, Departures, TickCell
from automations.triggers import Trigger
from exchange.admission import Admission
from exchange.config import PRIVATE_TIMEOUTS, Endpoints, Network
from exchange.errors import ExchangeError
from exchange.events import PriceTick, StreamEvent, TickerUpdate
from exchange.live import LiveView
from exchange.market import Quote, Source
from exchange.protocol import State
from exchange.rest import RestClient
from exchange.serverclock import ServerClock
from exchange.session import StreamSession
from exchange.topics import LAST_PRICE, TICKER

logger = logging.getLogger(__name__)

TOPICS: Final = (LAST_PRICE, TICKER)
"""The ticker repeats the last price, so that a price that stands still stays known."""

_LATE_MS: Final = 15_000
"""A price may come this late, after newer ones; by more, and the newer one's stamp was wrong."""


class Market:
    """Weighs every price of one network, from the stream or, where that is silent, from REST.

    Args:
        admission: asked before the socket is dialled.
        fire: sends a crossed trigger on its way; it may take its time, and prices go on meanwhile.
        silence_s: without a price for this long the stream counts as silent.
    """

    def __init__(
        self,
        network: Network,
        endpoints: Endpoints,
        *,
        rest: RestClient,
        live: LiveView,
        server_clock: ServerClock,
        admission: Admission,
        fire: Callable[[Trigger, Quote], None],
        silence_s: float,
    ) -> None:
        self.network = network
        self._departures = Departures()
        self._fire = fire
        self.crossing = Crossing(self._departures.put)
        self._rest = rest
        self._live = live
        self._silence_s = silence_s
        self._cell = TickCell()
        self._newest_ms = 0
        self.newest: Quote | None = None
        """The newest price, of whatever age."""
        self._priced_at = time.monotonic()
        self._silent = False
        self._polling = threading.Lock()
        self._stopping = threading.Event()
        self._session = StreamSession(
            endpoints.stream_url,
            None,
            TOPICS,
            self._heard,
            on_state=self._moved,
            admitted=lambda: admission.wait_s(authenticates=False),
            timeouts=PRIVATE_TIMEOUTS,
            server_clock=server_clock,
            name=f"prices {network}",
        )
        self._threads = [
            threading.Thread(target=self._look, name=f"triggers {network}", daemon=True),
            threading.Thread(target=self._send, name=f"departures {network}", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        self._session.start()

    def stop(self) -> None:
        self._stopping.set()
        self._session.stop()
        for thread in self._threads:
            thread.join(2)

    @property
    def state(self) -> State:
        return self._session.state

    @property
    def is_silent(self) -> bool:
        """Whether the stream brought no price for too long."""
        return time.monotonic() - self._priced_at > self._silence_s

    def poll_if_silent(self) -> None:
        """Ask REST for the price where the stream brings none; where one asks already, leave it."""
        if not self.is_silent or not self._polling.acquire(blocking=False):
            return
        try:
            self._poll()
        finally:
            self._polling.release()

    def _poll(self) -> None:
        if not self._silent:
            self._silent = True
            logger.warning("fallback_activated", extra={"network": self.network, "what": "price"})
        try:
            self._take(self._rest.quote())
        except ExchangeError as error:
            logger.warning("price not read", extra={"network": self.network, "error": str(error)})

    def _heard(self, event: StreamEvent) -> None:
        """Take a price from the socket's thread; the ticker's last price counts as much as a tick."""
        if isinstance(event, PriceTick):
            price = event.price
        elif isinstance(event, TickerUpdate) and event.last_price is not None:
            price = event.last_price
        else:
            return
        self._priced_at = time.monotonic()
        if self._silent:
            self._silent = False
            logger.warning("stream_recovered", extra={"network": self.network, "what": "price"})
        self._take(
            Quote(price=price, at=event.received_at, time_ms=event.time_ms, source=Source.STREAM)
        )

    def _take(self, quote: Quote) -> None:
        # Frames may come twice or out of order; an older price says nothing new. One stamp from the
        # future must not silence all that follow it.
        if self._newest_ms - _LATE_MS < quote.time_ms < self._newest_ms:
            return
        self._newest_ms, self.newest = quote.time_ms, quote
        self._cell.put(quote)

    def _look(self) -> None:
        while not self._stopping.is_set():
            ticks = self._cell.take(timeout_s=0.5)
            if ticks is None:
                continue
            # The price goes first: whoever is called by a trigger must find it.
            self._live.put_price(self.network, ticks.newest)
            self.crossing.look(ticks)

    def _send(self) -> None:
        while not self._stopping.is_set():
            departure = self._departures.take(timeout_s=0.5)
            if departure is not None:
                self._fire(*departure)

    def _moved(self, state: State, why: str) -> None:
        logger.info("price session moved", extra={"network": self.network, "state": state, "why": why})
