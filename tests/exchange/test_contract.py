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

from exchange.auth import Credentials
from exchange.config import PUBLIC_ENDPOINTS, Endpoints, Network
from exchange.errors import KeyRefusedError, RejectedError
from exchange.events import PriceTick, StreamEvent, TickerUpdate
from exchange.formulas import Side
from exchange.market import Source
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
    venue: Venue, credentials: Credentials | None, topics: list[str]
) -> Iterator[tuple[StreamSession, list[StreamEvent]]]:
    events: list[StreamEvent] = []
    session = StreamSession(
        venue.endpoints.stream_url,
        credentials,
        topics,
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

    def test_the_account_is_sound(self, rest: RestClient) -> None:
        assert rest.account().balance >= 0

    def test_the_lists_can_be_read(self, rest: RestClient) -> None:
        rest.running_trades()
        rest.open_trades()
        rest.closed_trades(Span(most=5))
        rest.canceled_trades(Span(most=5))

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
            assert "futures:isolated:read" in session.permissions


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
