"""The client against whatever claims to be LN Markets: the paper exchange, and signet where asked for.

`LN_MARKETS_CONTRACT=signet` runs the reading part against the real test network; with
`LN_MARKETS_CONTRACT_KEY`, `…_SECRET` and `…_PASSPHRASE` set it reads that account too.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from exchange import topics
from exchange.auth import Credentials
from exchange.config import PUBLIC_ENDPOINTS, Endpoints, Network
from exchange.cross import CrossOrderState, CrossOrderType, NewCrossOrder
from exchange.errors import KeyRefusedError, RejectedError
from exchange.events import (
    BadFrame,
    CrossOrderEvent,
    CrossPositionEvent,
    PriceTick,
    StreamEvent,
    TickerUpdate,
)
from exchange.formulas import Side
from exchange.market import CandleRange, Source
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.paging import Span
from exchange.position import Position, PositionId
from exchange.protocol import State
from exchange.rest import RestClient
from exchange.serverclock import ServerClock
from exchange.session import StreamSession
from exchange.simulator.running import Simulator
from exchange.topics import ISOLATED_TRADES, LAST_PRICE, TICKER
from exchange.trade import NewTrade, OpenOrder
from exchange.verify import permissions_of
from tests.exchange.places import endpoints_of
from tests.waiting import wait_until

MINUTE = timedelta(minutes=1)
NO_TRADE = PositionId("00000000-0000-4000-8000-000000000000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """An exchange to be tested; without credentials only what everyone may see."""

    endpoints: Endpoints
    credentials: Credentials | None


@contextmanager
def listening(
    venue: Venue, credentials: Credentials | None, wanted: list[str]
) -> Iterator[tuple[StreamSession, list[StreamEvent]]]:
    events: list[StreamEvent] = []
    session = StreamSession(
        venue.endpoints.stream_url,
        credentials,
        wanted,
        events.append,
        ca_file=venue.endpoints.ca_file,
    )
    session.start()
    try:
        wait_until(lambda: session.state is State.LIVE, within_s=15, what="the session is live")
        yield session, events
    finally:
        session.stop()


class ReadingContract:
    """What holds at every exchange and changes nothing there. Subclasses give `where`."""

    @pytest.fixture
    def where(self) -> Venue:
        raise NotImplementedError

    @pytest.fixture
    def public(self, where: Venue) -> RestClient:
        return RestClient(where.endpoints)

    @pytest.fixture
    def rest(self, where: Venue) -> RestClient:
        if where.credentials is None:
            pytest.skip("no key was given")
        return RestClient(where.endpoints, where.credentials)

    def test_it_answers(self, public: RestClient) -> None:
        public.ping()

    def test_its_clock_is_near_ours(self, public: RestClient) -> None:
        assert abs(public.time() - datetime.now(UTC)) < 30 * timedelta(seconds=1)

    def test_the_ticker_is_sound(self, public: RestClient) -> None:
        ticker = public.ticker()
        assert ticker.last_price is not None
        assert ticker.index is not None
        assert abs(ticker.last_price / ticker.index - 1) < Decimal("0.1")
        assert ticker.steps
        for below, above in pairwise(ticker.steps):
            assert below.most <= above.least

    def test_a_quote_is_of_now(self, public: RestClient) -> None:
        before = datetime.now(UTC)
        quote = public.quote()
        assert quote.source is Source.REST
        assert before <= quote.at <= datetime.now(UTC)

    def test_candles_come_newest_first_each_once(self, public: RestClient) -> None:
        until = datetime.now(UTC)
        candles = public.market.candles(Span(since=until - 30 * MINUTE, until=until))
        assert all(later.time > earlier.time for later, earlier in pairwise(candles))
        assert all(each.low <= min(each.open, each.close) for each in candles)
        assert all(each.high >= max(each.open, each.close) for each in candles)

    def test_every_candle_range_is_known(self, public: RestClient) -> None:
        for each in (CandleRange.HOUR, CandleRange.MONTHS_3):
            public.market.candles(Span(most=1), each=each)

    def test_funding_settlements_come_newest_first(self, public: RestClient) -> None:
        settlements = public.market.funding_settlements(Span(most=5))
        assert all(later.time > earlier.time for later, earlier in pairwise(settlements))

    def test_the_account_is_sound(self, rest: RestClient) -> None:
        assert rest.account().balance >= 0

    def test_the_lists_can_be_read(self, rest: RestClient) -> None:
        rest.running_trades()
        rest.open_trades()
        rest.closed_trades(Span(most=5))
        rest.canceled_trades(Span(most=5))
        rest.funding_fees(Span(most=5))

    def test_the_cross_regime_can_be_read(self, rest: RestClient) -> None:
        position = rest.cross.position()
        assert (position.side is None) == (position.quantity == 0)
        rest.cross.open_orders()
        rest.cross.filled_orders(Span(most=5))
        rest.cross.transfers(Span(most=5))
        rest.cross.funding_fees(Span(most=5))

    def test_a_key_nobody_knows_is_refused(self, where: Venue) -> None:
        unknown = Credentials(key="nobody", secret="nothing", passphrase="nowhere")
        with pytest.raises(KeyRefusedError, match="LN Markets refused the key"):
            RestClient(where.endpoints, unknown).account()

    def test_the_stream_tells_the_price(self, where: Venue) -> None:
        with listening(where, None, [LAST_PRICE, TICKER]) as (_, events):
            wait_until(
                lambda: [each for each in events if isinstance(each, PriceTick | TickerUpdate)],
                within_s=15,
                what="a price",
            )

    def test_the_stream_answers_and_knows_the_time(self, where: Venue) -> None:
        with listening(where, None, [TICKER]) as (session, _):
            assert session.ask("ping", timeout_s=5).text("result") == "pong"
            theirs = session.ask("time", timeout_s=5).inner("result").time_ms("time")
            assert abs(theirs / 1000 - datetime.now(UTC).timestamp()) < 30

    def test_the_stream_accepts_the_key(self, where: Venue, rest: RestClient) -> None:
        assert rest is not None
        with listening(where, where.credentials, [ISOLATED_TRADES]) as (session, _):
            assert "futures:isolated:read" in (session.permissions or ())


class TestSignet(ReadingContract):
    @pytest.fixture
    def where(self) -> Venue:
        if os.environ.get("LN_MARKETS_CONTRACT") != "signet":
            pytest.skip("asked for by LN_MARKETS_CONTRACT=signet")
        key, secret, passphrase = (
            os.environ.get(f"LN_MARKETS_CONTRACT_{part}") for part in ("KEY", "SECRET", "PASSPHRASE")
        )
        credentials = None
        if key and secret and passphrase:
            credentials = Credentials(key=key, secret=secret, passphrase=passphrase)
        return Venue(endpoints=PUBLIC_ENDPOINTS[Network.SIGNET], credentials=credentials)


class TestPaper(ReadingContract):
    @pytest.fixture
    def where(self, venue: Simulator) -> Venue:
        return Venue(endpoints=endpoints_of(venue), credentials=venue.accounts[0].credentials)

    def test_a_market_trade_lives_and_ends(self, rest: RestClient) -> None:
        opened = rest.open_trade(
            NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(1000), client_id="bot-1")
        )
        assert isinstance(opened, Position)
        assert rest.running_trades() == (opened,)
        assert (opened.margin, opened.maintenance_margin, opened.client_id) == (100_000, 1100, "bot-1")
        richer = rest.add_margin(opened.id, Sats(50_000))
        assert (richer.margin, richer.liquidation) == (150_000, Decimal("86956.5"))
        assert richer == replace_rounded(opened.with_margin_added(Sats(50_000)), richer)
        closed = rest.close(opened.id)
        assert (closed.exit, closed.profit, closed.client_id) == (Decimal(100_000), 0, "bot-1")
        assert rest.running_trades() == ()
        assert rest.closed_trades() == (closed,)

    def test_exits_are_set_moved_and_removed(self, rest: RestClient) -> None:
        opened = rest.open_trade(NewTrade(side=Side.SELL, leverage=Decimal(5), quantity=Usd(100)))
        stop, target = UsdPerBtc(Decimal(105_000)), UsdPerBtc(Decimal("90000.5"))
        assert rest.set_stoploss(opened.id, stop).stoploss == stop
        assert rest.set_takeprofit(opened.id, target).takeprofit == target
        assert rest.set_stoploss(opened.id, None).stoploss is None
        assert rest.set_takeprofit(opened.id, None).takeprofit is None
        trailing = rest.set_stoploss(opened.id, None, trailing=Decimal("0.02"))
        assert trailing.trailing == Decimal("0.02")

    def test_a_limit_trade_rests_and_is_taken_back(self, rest: RestClient) -> None:
        limit = UsdPerBtc(Decimal(70_000))
        order = rest.open_trade(
            NewTrade(side=Side.SELL, leverage=Decimal(2), margin=Sats(5_000), limit=limit)
        )
        assert isinstance(order, OpenOrder)
        assert (order.margin, order.limit) == (5_000, limit)
        assert rest.open_trades() == (order,)
        assert rest.cancel(order.id).id == order.id
        assert rest.open_trades() == ()
        assert [each.id for each in rest.canceled_trades()] == [order.id]

    def test_all_resting_trades_are_taken_back_at_once(self, rest: RestClient) -> None:
        trade = NewTrade(
            side=Side.BUY, leverage=Decimal(2), quantity=Usd(10), limit=UsdPerBtc(Decimal(50_000))
        )
        resting = {rest.open_trade(trade).id, rest.open_trade(trade).id}
        assert {each.id for each in rest.cancel_all()} == resting
        assert rest.open_trades() == ()

    def test_margin_is_taken_out(self, rest: RestClient) -> None:
        opened = rest.open_trade(NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(1000)))
        poorer = rest.cash_in(opened.id, Sats(40_000))
        assert (poorer.margin, poorer.cashed_in) == (60_000, 40_000)
        assert poorer.liquidation > opened.liquidation

    def test_a_cross_position_is_built_turned_and_closed(self, rest: RestClient) -> None:
        cross = rest.cross
        assert cross.deposit(Sats(500_000)).margin == 500_000
        assert cross.set_leverage(10).leverage == 10
        bought = cross.order(NewCrossOrder(side=Side.BUY, quantity=Usd(1000), client_id="bot-1"))
        assert (bought.state, bought.type) == (CrossOrderState.FILLED, CrossOrderType.MARKET)
        long = cross.position()
        assert (long.side, long.quantity, long.entry) == (Side.BUY, 1000, Decimal(100_000))
        assert (long.running_margin, long.maintenance_margin) == (100_000, 1500)
        cross.order(NewCrossOrder(side=Side.SELL, quantity=Usd(1500)))
        short = cross.position()
        assert (short.side, short.quantity) == (Side.SELL, 500)
        closed = cross.close_position()
        assert (closed.side, closed.quantity) == (Side.BUY, 500)
        flat = cross.position()
        assert (flat.side, flat.liquidation) == (None, None)
        assert cross.withdraw(Sats(100_000)).margin == flat.margin - 100_000
        assert [each.amount for each in cross.transfers(Span())] == [-100_000, 500_000]
        assert [each.id for each in cross.filled_orders(Span())][-1] == bought.id

    def test_cross_orders_rest_and_are_taken_back(self, rest: RestClient) -> None:
        rest.cross.deposit(Sats(500_000))
        order = NewCrossOrder(
            side=Side.BUY, quantity=Usd(100), limit=UsdPerBtc(Decimal(50_000)), client_id="x"
        )
        first, second = rest.cross.order(order), rest.cross.order(order)
        assert {each.id for each in rest.cross.open_orders()} == {first.id, second.id}
        assert rest.cross.cancel(first.id).state is CrossOrderState.CANCELED
        assert [each.id for each in rest.cross.cancel_all()] == [second.id]
        assert rest.cross.open_orders() == ()

    def test_every_topic_can_be_heard(self, where: Venue) -> None:
        public = [
            topics.ANNOUNCEMENTS, topics.LAST_PRICE, topics.TICKER, topics.INDEX, topics.BUCKETS,
            topics.FUNDING, *[topics.candles_topic(each) for each in CandleRange],
        ]  # fmt: skip
        private = [topics.ISOLATED_TRADES, topics.CROSS_ORDERS, topics.CROSS_POSITION]
        with listening(where, None, public), listening(where, where.credentials, private):
            pass

    def test_what_happens_to_the_cross_position_is_told(self, where: Venue, rest: RestClient) -> None:
        with listening(where, where.credentials, [topics.CROSS_ORDERS, topics.CROSS_POSITION]) as (
            _,
            events,
        ):
            rest.cross.deposit(Sats(500_000))
            rest.cross.order(NewCrossOrder(side=Side.SELL, quantity=Usd(10)))
            wait_until(
                lambda: {CrossOrderEvent, CrossPositionEvent} <= set(map(type, events)),
                what="word of the order and of the position",
            )
        assert not [each for each in events if isinstance(each, BadFrame)]

    def test_what_is_not_ours_is_refused(self, rest: RestClient) -> None:
        with pytest.raises(RejectedError, match="LN Markets refused"):
            rest.close(NO_TRADE)

    def test_permissions_are_told(self, where: Venue) -> None:
        assert where.credentials is not None
        found = permissions_of(where.endpoints, where.credentials, server_clock=ServerClock())
        assert "futures:isolated:write" in found


def replace_rounded(expected: Position, seen: Position) -> Position:
    """Return `expected` with the leverage as it comes over the wire: a number of 15 digits or so."""
    assert abs(expected.leverage - seen.leverage) < Decimal("1e-9")
    return replace(expected, leverage=seen.leverage)
