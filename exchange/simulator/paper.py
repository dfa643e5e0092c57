"""The paper exchange without its sockets: engine, hub, ledger and faults under one clock."""

import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from exchange.auth import Credentials
from exchange.money import Sats, UsdPerBtc
from exchange.simulator.engine import account as accounts
from exchange.simulator.engine import events
from exchange.simulator.engine.chart import Range, begin_of
from exchange.simulator.engine.events import Event
from exchange.simulator.engine.funding import Settlement
from exchange.simulator.engine.market import next_funding_ms
from exchange.simulator.engine.venue import Venue
from exchange.simulator.faults import Faults
from exchange.simulator.ledger import Ledger, Tick, WriteRecord
from exchange.simulator.prices import past
from exchange.simulator.rest.access import Gate, Incoming
from exchange.simulator.rest.service import Outcome, RestService
from exchange.simulator.settings import Settings
from exchange.simulator.stream.authenticate import Authenticator
from exchange.simulator.stream.delivery import Delivery, Listener
from exchange.simulator.stream.hub import Hub
from exchange.simulator.stream.session import Moment, Session

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperAccount:
    """What a client needs to use one account."""

    credentials: Credentials
    balance: Sats


class Push(StrEnum):
    """A frame of prices that can be pushed by itself; a ticker has its wrong value as last price."""

    LAST_PRICE = "lastPrice"
    INDEX = "index"
    TICKER = "ticker"


class Paper:
    """Not thread-safe: everything happens on the one loop of its server."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.venue = _venue(settings, self.now_us() // 1000)
        self.accounts = [self._new_account(number) for number in range(1, settings.accounts + 1)]
        self.faults = Faults()
        self.hub = Hub(Delivery(self.faults))
        self.ledger = Ledger()
        self._rest = RestService(self.venue, Gate(self.venue.account_with_key, settings.limits))
        self._authenticator = Authenticator(self.venue.account_with_key, settings.limits)

    def move(self, price: UsdPerBtc) -> None:
        """Move the price, settle every account, push what follows."""
        now = self.now_us()
        if self.venue.move(price, now // 1000):
            self.ledger.ticks.append(Tick(time=now // 1000, price=price, sent_at_us=self.now_us()))
            self.publish()

    def move_index(self, index: UsdPerBtc) -> None:
        """Move the index alone; from now on it keeps its distance from the last price."""
        market = self.venue.market
        market.index_offset = index - market.price
        self.hub.publish([events.index_moved(index, self.now_us() // 1000)])

    def push(self, push: Push, value: UsdPerBtc) -> None:
        """Push one frame with a wrong value; the market itself does not move."""
        now_ms = self.now_us() // 1000
        ticker = events.ticker(self.venue.market, now_ms, next_funding_ms(now_ms))
        wrong = {
            Push.LAST_PRICE: events.price_moved(value, now_ms),
            Push.INDEX: events.index_moved(value, now_ms),
            Push.TICKER: Event(topic=ticker.topic, data={**ticker.data, "lastPrice": value}),
        }
        self.hub.publish([wrong[push]])

    def open_at(self, price: UsdPerBtc) -> None:
        """Set the first price of the market, before anyone trades."""
        self.venue.market.price = price

    def rest(self, request: Incoming) -> Outcome:
        """Answer a request; its events leave before its answer does."""
        outcome = self._rest.answer(request)
        self.publish()
        return outcome

    def session(self, ip: str, listener: Listener) -> Session:
        return Session(
            ip=ip,
            listener=listener,
            hub=self.hub,
            authenticator=self._authenticator,
            limits=self.settings.limits,
            now_us=self.now_us,
        )

    def publish(self) -> None:
        self.hub.publish(self.venue.take_events())

    def every_second(self) -> None:
        """Do what is due by the clock, and push what is pushed once a second."""
        now_ms = self.now_us() // 1000
        self.venue.keep_time(now_ms)
        self.publish()
        market = self.venue.market
        self.hub.publish([events.ticker(market, now_ms, next_funding_ms(now_ms))])
        self.hub.publish([events.buckets(market, now_ms)])
        for range_ in Range:
            if self.hub.is_heard(events.OHLC + range_):
                self.hub.publish([events.ohlc(range_, next(self.venue.candles(range_, now_ms)))])

    def settle_funding(self) -> Settlement:
        """Settle funding now, whatever the time."""
        settlement = self.venue.settle_funding(self.now_us() // 1000)
        logger.info("funding settled at rate %s and price %s", settlement.rate, settlement.fixing)
        self.publish()
        return settlement

    def announce(self, announcement: Mapping[str, object]) -> None:
        """Tell every listener of an announcement, or with an id alone that it is gone (5.5)."""
        self.hub.publish([Event(topic=events.ANNOUNCEMENTS, data=announcement)])

    def record(self, request: Incoming, outcome: Outcome, status: int | None) -> None:
        """Note a write in the ledger; `status` is None where the answer was cut off."""
        done = outcome.done
        self.ledger.writes.append(
            WriteRecord(
                method=request.method,
                path=request.path,
                params=outcome.params,
                account=request.key,
                received_at_us=request.received_at_us,
                applied=done is not None,
                effect=done.effect if done else None,
                status=status,
                trade=done.trade if done else None,
            )
        )

    def moment(self) -> Moment:
        return Moment(epoch_us=self.now_us(), monotonic_s=time.monotonic())

    @staticmethod
    def now_us() -> int:
        return time.time_ns() // 1000

    def _new_account(self, number: int) -> PaperAccount:
        identity = accounts.identity(self.settings.seed, number)
        self.venue.add_account(
            identity,
            balance=self.settings.balance,
            scopes=self.settings.scopes,
            fee_tier=self.settings.fee_tier,
            now_ms=self.now_us() // 1000,
        )
        return PaperAccount(credentials=identity.credentials, balance=self.settings.balance)


def _venue(settings: Settings, now_ms: int) -> Venue:
    """Return a market that opens now, with a past that leads to its first price."""
    seed, price = settings.seed, settings.start_price
    this_minute_ms = begin_of(Range.M1, now_ms)
    venue = Venue(
        price=price,
        half_spread=settings.half_spread,
        new_id=lambda: str(uuid.uuid4()),
        now_ms=now_ms,
        rules=settings.rules,
        past=lambda: past.candles(seed, this_minute_ms, price),
    )
    venue.market.funding_rate = settings.funding_rate
    venue.market.index_offset = settings.index_offset
    venue.market.settlements = past.settlements(seed, now_ms, price, settings.funding_rate)
    return venue
