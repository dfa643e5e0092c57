"""One network's market as the stream process follows it: its session, its price, its triggers."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from automations.crossing import Crossing, Departures, Range, TickCell
from automations.heartbeat import Sight
from automations.triggers import Trigger
from exchange.admission import Admission, Dials
from exchange.config import PRIVATE_TIMEOUTS, Endpoints, Network
from exchange.errors import ExchangeError
from exchange.events import IndexTick, PriceTick, StreamEvent, TickerUpdate
from exchange.live import LiveView
from exchange.market import Quote, Source
from exchange.money import UsdPerBtc
from exchange.protocol import State
from exchange.ratelimit import NOT_URGENT
from exchange.rest import RestClient
from exchange.serverclock import ServerClock
from exchange.session import StreamSession
from exchange.spikes import Beliefs
from exchange.topics import INDEX, LAST_PRICE, TICKER

logger = logging.getLogger(__name__)

TOPICS: Final = (LAST_PRICE, TICKER, INDEX)
"""The ticker repeats the last price, so that a price that stands still stays known."""

_REST: Final = "REST"
_NAP_S: Final = 0.5
"""Threads look this often whether they are to stop."""


class Market:
    """Weighs every price of one network, from the stream or, where that is silent, from REST.

    Only believed prices get any further (`exchange.spikes`): neither the live view nor a trigger sees
    another. Where one is in doubt, REST is asked at once, by a thread of its own.

    Args:
        admission: asked before the socket is dialled.
        fire: sends a crossed trigger on its way; it may take its time, and prices go on meanwhile.
        silence_s: without a price for this long the stream counts as silent.
        spike_percent: a tick further than this from the one before is believed when confirmed.
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
        spike_percent: Decimal,
    ) -> None:
        self.network = network
        self._departures = Departures()
        self._fire = fire
        self._cell = TickCell()
        self.crossing = Crossing(self._departures.put, wake=self._cell.wake)
        self._rest = rest
        self._live = live
        self._silence_s = silence_s
        self._beliefs = Beliefs(percent=spike_percent, compares_s=silence_s)
        self._hearing = threading.Lock()
        """The socket's thread and those that ask REST hear prices."""
        self._in_doubt = threading.Event()
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
            gate=Dials(admission, authenticates=False),
            timeouts=PRIVATE_TIMEOUTS,
            server_clock=server_clock,
            name=f"prices {network}",
            ca_file=endpoints.ca_file,
            proxy=endpoints.proxy,
        )
        self._threads = [
            threading.Thread(target=self._look, name=f"triggers {network}", daemon=True),
            threading.Thread(target=self._send, name=f"departures {network}", daemon=True),
            threading.Thread(target=self._ask, name=f"doubts {network}", daemon=True),
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
    def newest(self) -> Quote | None:
        """The newest believed price, of whatever age."""
        return self._beliefs.newest

    @property
    def state(self) -> State:
        return self._session.state

    @property
    def is_silent(self) -> bool:
        """Whether the stream brought no price for too long."""
        return time.monotonic() - self._priced_at > self._silence_s

    @property
    def sight(self) -> Sight:
        """How prices come in."""
        if self.state is State.LIVE and not self.is_silent:
            return Sight.LIVE
        return Sight.DARK if self._newest_if_fresh() is None else Sight.POLLED

    def poll_if_silent(self) -> None:
        """Ask REST for the price where the stream brings none; where one asks already, leave it."""
        if not self.is_silent or not self._polling.acquire(blocking=False):
            return
        try:
            if not self._silent:
                self._silent = True
                logger.warning("fallback_activated", extra={"network": self.network, "what": "price"})
            self._read()
        finally:
            self._polling.release()

    def _read(self) -> None:
        try:
            # All that protects waits for it: a long hold of the exchange does not stop it.
            quote = self._rest.quote(urgency=NOT_URGENT)
        except ExchangeError as error:
            logger.warning("price not read", extra={"network": self.network, "error": str(error)})
            return
        index = None if quote.index is None else replace(quote, price=quote.index, index=None)
        self._take(replace(quote, index=None), index, _REST)

    def _heard(self, event: StreamEvent) -> None:
        """Take a price from the socket's thread; the ticker's last price counts as much as a tick."""
        if isinstance(event, PriceTick):
            self._take_tick(event, event.price, None, LAST_PRICE)
        elif isinstance(event, TickerUpdate):
            self._take_tick(event, event.last_price, event.index, TICKER)
        elif isinstance(event, IndexTick):
            self._take_tick(event, None, event.index, INDEX)

    def _take_tick(
        self,
        event: PriceTick | TickerUpdate | IndexTick,
        price: UsdPerBtc | None,
        index: UsdPerBtc | None,
        topic: str,
    ) -> None:
        def quote(value: UsdPerBtc | None) -> Quote | None:
            if value is None:
                return None
            return Quote(price=value, at=event.received_at, time_ms=event.time_ms, source=Source.STREAM)

        if price is not None:
            self._priced_at = time.monotonic()
            if self._silent:
                self._silent = False
                logger.warning("stream_recovered", extra={"network": self.network, "what": "price"})
        self._take(quote(price), quote(index), topic)

    def _take(self, price: Quote | None, index: Quote | None, voice: str) -> None:
        with self._hearing:
            doubts = self._beliefs.doubts
            for believed in self._beliefs.hear(price, index, voice=voice):
                self._cell.put(believed)
            if self._beliefs.doubts > doubts:
                self._in_doubt.set()

    def _look(self) -> None:
        while not self._stopping.is_set():
            try:
                self._look_once()
            except Exception:  # the thread's outermost loop: the next price is looked at all the same
                logger.exception("price not looked at")
                self._stopping.wait(_NAP_S)

    def _look_once(self) -> None:
        ticks = self._cell.take(timeout_s=min(_NAP_S, self.crossing.due_in_s()))
        if ticks is not None:
            # The price goes first: whoever is called by a trigger must find it.
            self._live.put_price(self.network, ticks.newest)
            self.crossing.look(ticks)
        elif newest := self._newest_if_fresh():  # what was armed since may be reached already
            self.crossing.look(Range.of(newest))
        if self.crossing.due_in_s() <= 0:
            self.crossing.look_again(self._newest_if_fresh())
        self._pass_time()

    def _newest_if_fresh(self) -> Quote | None:
        newest = self.newest
        aged_s = (datetime.now(UTC) - newest.at).total_seconds() if newest else self._silence_s
        return newest if aged_s < self._silence_s else None

    def _pass_time(self) -> None:
        """Let go of prices that nothing confirmed, and tell of each."""
        if self._beliefs.is_settled:
            return
        with self._hearing:
            self._beliefs.pass_time(datetime.now(UTC))
            dropped = list(self._beliefs.dropped)
            self._beliefs.dropped.clear()
        for each in dropped:
            logger.warning(
                "price not believed",
                extra={
                    "network": self.network,
                    "what": each.what,
                    "price": str(each.value.price),
                    "believed": str(each.reference.price),
                    "source": each.value.source,
                },
            )

    def _ask(self) -> None:
        """Ask REST once for each price in doubt, one after the other."""
        while not self._stopping.is_set():
            if not self._in_doubt.wait(_NAP_S):
                continue
            self._in_doubt.clear()
            try:
                with self._polling:
                    if not self._beliefs.is_settled:
                        self._read()
            except Exception:  # the thread's outermost loop: the next doubt may fare better
                logger.exception("price in doubt not asked for")

    def _send(self) -> None:
        while not self._stopping.is_set():
            departure = self._departures.take(timeout_s=_NAP_S)
            if departure is None:
                continue
            try:
                self._fire(*departure)
            except Exception:  # the thread's outermost loop: the next one is to leave all the same
                logger.exception("trigger not sent")

    def _moved(self, state: State, why: str) -> None:
        logger.info("price session moved", extra={"network": self.network, "state": state, "why": why})
