import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from fractions import Fraction
from typing import Final
from urllib.parse import urlsplit

import pytest

from exchange.auth import Credentials, sign_request
from exchange.config import Endpoints, Retries, Timeouts
from exchange.connections import Connections
from exchange.errors import (
    ExchangeError,
    KeyRefusedError,
    OperatorNeededError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from exchange.formulas import Side
from exchange.market import Source
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.paging import Span
from exchange.position import PositionId
from exchange.ratelimit import FORGOTTEN_S, LONGEST_HOLD_S, NOT_URGENT, RENEWED_S, Scope
from exchange.rest import RestClient
from exchange.trade import NewTrade
from tests.exchange import documents
from tests.exchange.scripted import Answer, Request, Script, scripted_exchange
from tests.exchange.unlimited import Unlimited

CREDENTIALS = Credentials(key="test-key", secret="test-secret", passphrase="test-passphrase")
SECRETS = ("test-secret", "test-passphrase")
TRADE = PositionId(documents.TRADE_ID)
SECOND = timedelta(seconds=1)


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_exchange() as script:
        yield script


@pytest.fixture
def client(script: Script) -> RestClient:
    client = client_of(script.endpoints)
    client.measure_clock()
    return client


def client_of(
    endpoints: Endpoints,
    credentials: Credentials | None = CREDENTIALS,
    *,
    retries: Retries = Retries(attempts=1),  # noqa: B008 - frozen
    sleep: Callable[[float], object] = time.sleep,
    connections: Connections | None = None,
) -> RestClient:
    return RestClient(
        endpoints,
        credentials,
        timeouts=Timeouts(connect_s=0.5, read_s=0.3, idle_s=0.2),
        retries=retries,
        limiter=Unlimited(),
        connections=connections,
        sleep=sleep,
        chance=lambda: 0.0,
    )


def answer(document: object, status: int = 200) -> Answer:
    return Answer(status=status, content=json.dumps(document))


def failure(status: int, code: str = "BAD_REQUEST", message: str = "no") -> Answer:
    return answer({"code": code, "message": message}, status)


ENGINE_DOWN = failure(503, "SERVICE_UNAVAILABLE", "Trading engine is temporarily unavailable")


@pytest.mark.parametrize(
    ("given", "of_a_write", "of_a_read"),
    [
        pytest.param(failure(429), TransientError, TransientError, id="429: not yet"),
        pytest.param(ENGINE_DOWN, TransientError, TransientError, id="503: the engine refused"),
        pytest.param(
            Answer(status=503, content="<html>"), UnknownOutcomeError, TransientError,
            id="503 of a gateway: the engine may have acted",
        ),
        pytest.param(failure(500), UnknownOutcomeError, TransientError, id="500: broke on the way"),
        pytest.param(
            Answer(status=502, content="<html>"), UnknownOutcomeError, TransientError, id="502"
        ),
        pytest.param(
            Answer(status=504, content=""), UnknownOutcomeError, TransientError, id="504"
        ),
        pytest.param(
            Answer(delay_s=0.5), UnknownOutcomeError, TransientError, id="answered too late"
        ),
        pytest.param(Answer(cut=True), UnknownOutcomeError, TransientError, id="connection lost"),
        pytest.param(
            Answer(content="x" * 1000, drip_s=0.05), UnknownOutcomeError, TransientError,
            id="an answer that drips on for ever",
        ),
        pytest.param(
            Answer(content="x" * 20_000_000), UnknownOutcomeError, TransientError,
            id="an answer larger than any",
        ),
        pytest.param(
            Answer(missing=5), UnknownOutcomeError, TransientError, id="an answer cut short"
        ),
        pytest.param(failure(400), RejectedError, RejectedError, id="400: refused"),
        pytest.param(failure(404), RejectedError, RejectedError, id="404: no such thing"),
        pytest.param(failure(422), RejectedError, RejectedError, id="422: not valid"),
        pytest.param(failure(401), KeyRefusedError, KeyRefusedError, id="401: the key"),
        pytest.param(failure(403), RejectedError, KeyRefusedError, id="403: not allowed"),
        pytest.param(
            Answer(status=301, headers={"Location": "http://127.0.0.1:1/"}),
            OperatorNeededError, OperatorNeededError, id="301: another address, never followed",
        ),
        pytest.param(
            Answer(content="<html>"), UnknownOutcomeError, OperatorNeededError,
            id="a success we cannot read has happened",
        ),
        pytest.param(
            answer(documents.running_trade(margin=None)), UnknownOutcomeError, OperatorNeededError,
            id="a success with a fault in it has happened too",
        ),
    ],
)  # fmt: skip
def test_errors_say_what_the_caller_may_do(
    script: Script,
    client: RestClient,
    given: Answer,
    of_a_write: type[ExchangeError],
    of_a_read: type[ExchangeError],
) -> None:
    script.then(given, given)
    with pytest.raises(ExchangeError) as write:
        client.add_margin(TRADE, Sats(1000))
    with pytest.raises(ExchangeError) as read:
        client.running_trades()
    assert (type(write.value), type(read.value)) == (of_a_write, of_a_read)
    assert len(script.requests) == 2


def test_an_answer_about_another_trade_is_an_unknown_outcome(
    script: Script, client: RestClient
) -> None:
    script.then(answer(documents.running_trade(id="other")))
    with pytest.raises(UnknownOutcomeError, match="about other, not"):
        client.add_margin(TRADE, Sats(1000))


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("http://127.0.0.1:1", id="nobody listens"),
        pytest.param("http://host.invalid:1", id="no such name"),
    ],
)
def test_what_never_left_may_be_sent_again(address: str) -> None:
    client = client_of(Endpoints(api_url=address, stream_url=""))
    with pytest.raises(TransientError, match=f"{address} cannot be reached: "):
        client.add_margin(TRADE, Sats(1000))


def test_retry_after_is_passed_on(script: Script, client: RestClient) -> None:
    script.then(Answer(status=429, headers={"Retry-After": "7"}))
    with pytest.raises(TransientError) as caught:
        client.account()
    assert caught.value.after_s == 7


@pytest.mark.parametrize("told", ["Wed, 21 Oct 2015 07:28:00 GMT", "nan", "-5", "", "inf", "soon"])
def test_a_retry_after_that_makes_no_sense_means_a_second(
    script: Script, client: RestClient, told: str
) -> None:
    script.then(Answer(status=429, headers={"Retry-After": told}))
    with pytest.raises(TransientError) as caught:
        client.account()
    assert caught.value.after_s == 1


SENT: Final = datetime(2031, 3, 1, 12, 0, 0, tzinfo=UTC)
"""By the exchange's clock, far from ours."""


@pytest.mark.parametrize(
    ("told", "after_s"),
    [
        pytest.param("Sat, 01 Mar 2031 12:00:42 GMT", 42, id="as dates are written today"),
        pytest.param("Saturday, 01-Mar-31 12:00:42 GMT", 42, id="as RFC 850 wrote them"),
        pytest.param("Sat Mar  1 12:00:42 2031", 42, id="as asctime writes them"),
        pytest.param("Sat, 01 Mar 2031 11:00:00 GMT", 1, id="past"),
        pytest.param("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_HOLD_S, id="far ahead"),
        pytest.param("Sat, 01 Mar 99999999999999999999 12:00:00 GMT", 1, id="no such year"),
        pytest.param("Sat, 01 Mar 2031", 1, id="half a date"),
        pytest.param("3600", LONGEST_HOLD_S, id="an hour"),
        pytest.param("1e300", LONGEST_HOLD_S, id="for ever"),
        pytest.param("7, 7", 1, id="twice"),
        pytest.param("120 s", 1, id="with a unit"),
    ],
)
def test_a_date_in_retry_after_counts_from_the_exchange_s_own_clock(
    script: Script, client: RestClient, told: str, after_s: float
) -> None:
    script.then(
        Answer(status=429, headers={"Retry-After": told, "Date": format_datetime(SENT, usegmt=True)})
    )
    with pytest.raises(TransientError) as caught:
        client.account()
    assert caught.value.after_s == after_s


@pytest.mark.parametrize("date", [{}, {"Date": "yesterday"}], ids=["none", "unreadable"])
def test_without_its_date_the_clock_measured_at_the_exchange_counts(
    script: Script, date: dict[str, str]
) -> None:
    script.clock_ahead_s = 3_600
    client = client_of(script.endpoints)
    client.measure_clock()
    until = datetime.now(UTC) + timedelta(seconds=3_640)
    script.then(
        Answer(status=429, headers={"Retry-After": format_datetime(until, usegmt=True), **date})
    )
    with pytest.raises(TransientError) as caught:
        client.account()
    assert caught.value.after_s == pytest.approx(39, abs=2)


@pytest.mark.parametrize("told", ["1000", "3600", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_long_hold_lets_protective_writes_try_each_second_and_the_answer_decides(
    script: Script, told: str
) -> None:
    waits: list[float] = []
    client = RestClient(
        script.endpoints, CREDENTIALS, clock=lambda: 1000.0 + sum(waits), sleep=waits.append
    )
    client.measure_clock()
    refused = Answer(status=429, headers={"Retry-After": told})
    script.then(refused, refused, answer(documents.running_trade()), answer(documents.account()))
    with pytest.raises(TransientError):
        client.account()
    for _ in range(2):
        with pytest.raises(TransientError, match="the rate limit is used up"):
            client.account()
        before_s = sum(waits)
        with suppress(TransientError):
            client.add_margin(TRADE, Sats(1000))
        assert sum(waits) - before_s == pytest.approx(1, abs=0.1)

    assert client.account().balance == 500_000, "the write went through: nobody is held any more"
    assert [each.method for each in script.requests] == ["GET", "POST", "POST", "GET"]


def test_the_exchange_s_reason_is_in_the_sentence(script: Script, client: RestClient) -> None:
    script.then(failure(400, "BAD_REQUEST", "You do not own this trade"))
    with pytest.raises(RejectedError) as caught:
        client.close(TRADE)
    assert str(caught.value) == (
        "LN Markets refused POST /futures/isolated/trade/close (400 BAD_REQUEST):"
        " You do not own this trade"
    )


def test_no_failure_shows_a_secret(script: Script, client: RestClient) -> None:
    script.then(failure(401, "UNAUTHORIZED", "Signature is not valid"), Answer(cut=True))
    for _ in range(2):
        with pytest.raises(ExchangeError) as caught:
            client.account()
        seen = f"{caught.value!r} {caught.value.__cause__!r} {client!r} {CREDENTIALS!r}"
        assert not any(secret in seen for secret in SECRETS)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


def signed(request: Request) -> str:
    """Return the signature that belongs to what came over the wire (API notes, 2.3)."""
    parts = urlsplit(request.target)
    query = f"?{parts.query}" if parts.query else ""
    return sign_request(
        "test-secret",
        timestamp_ms=int(request.headers["lnm-access-timestamp"]),
        method=request.method,
        path=parts.path,
        data=query + request.body,
    )


def every_signed_call(client: RestClient, script: Script) -> None:
    script.then(
        answer(documents.account()),
        answer([documents.running_trade()]),
        answer({"data": [documents.closed_trade()], "nextCursor": None}),
        answer(documents.running_trade()),
        answer(documents.running_trade()),
        answer(documents.running_trade()),
        answer([documents.canceled_trade()]),
    )
    client.account()
    client.running_trades()
    client.closed_trades(Span(since=datetime(2026, 1, 1, tzinfo=UTC), most=10))
    client.open_trade(NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(1)))
    client.set_stoploss(TRADE, None, trailing=Decimal("0.1"))
    client.set_takeprofit(TRADE, None)
    client.cancel_all()


def test_the_bytes_signed_are_the_bytes_sent(script: Script, client: RestClient) -> None:
    every_signed_call(client, script)
    assert len(script.requests) == 7
    for request in script.requests:
        assert request.headers["lnm-access-signature"] == signed(request)
        assert request.headers["lnm-access-key"] == "test-key"


def test_requests_look_as_the_exchange_wants_them(script: Script, client: RestClient) -> None:
    every_signed_call(client, script)
    assert [(each.method, each.target, each.body) for each in script.requests] == [
        ("GET", "/v3/account", ""),
        ("GET", "/v3/futures/isolated/trades/running", ""),
        (
            "GET",
            "/v3/futures/isolated/trades/closed?from=2026-01-01T00%3A00%3A00.000Z&limit=10",
            "",
        ),
        (
            "POST",
            "/v3/futures/isolated/trade",
            '{"type":"market","side":"buy","quantity":1,"leverage":10}',
        ),
        (
            "PUT",
            "/v3/futures/isolated/trade/stoploss",
            f'{{"id":"{TRADE}","value":0.1,"mode":"trailing"}}',
        ),
        ("DELETE", f"/v3/futures/isolated/trade/takeprofit?id={TRADE}", ""),
        ("POST", "/v3/futures/isolated/trades/cancel-all", ""),
    ]
    types = [each.headers.get("Content-Type") for each in script.requests]
    assert types == [None, None, None, "application/json", "application/json", None, None]


def test_a_public_call_carries_no_key(script: Script) -> None:
    script.then(answer("pong"))
    client_of(script.endpoints).ping()
    assert not any(name.startswith("lnm-") for name in script.requests[0].headers)


def test_a_private_call_without_a_key_is_not_sent(script: Script) -> None:
    client = client_of(script.endpoints, None)
    with pytest.raises(OperatorNeededError, match="needs an API key"):
        client.account()
    assert script.requests == []


def test_a_read_is_asked_again_and_signed_anew(script: Script) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(0.002)  # long enough for another timestamp

    retries = Retries(attempts=3, first_s=0.2, most_s=2)
    client = client_of(script.endpoints, retries=retries, sleep=sleep)
    client.measure_clock()
    script.then(Answer(status=500), Answer(cut=True), answer(documents.account()))
    assert client.account().balance == 500_000
    stamps = {each.headers["lnm-access-timestamp"] for each in script.requests}
    assert len(stamps) == 3
    assert all(each.headers["lnm-access-signature"] == signed(each) for each in script.requests)
    assert waits == [pytest.approx(0.1), pytest.approx(0.2)]


def test_a_read_gives_up_after_its_attempts(script: Script) -> None:
    client = client_of(script.endpoints, retries=Retries(attempts=2, first_s=0.001))
    client.measure_clock()
    script.then(Answer(status=500), Answer(status=500))
    with pytest.raises(TransientError):
        client.account()
    assert len(script.requests) == 2


def test_a_long_wait_is_left_to_the_caller(script: Script) -> None:
    client = client_of(script.endpoints, retries=Retries(attempts=3, most_s=2))
    client.measure_clock()
    script.then(Answer(status=429, headers={"Retry-After": "60"}))
    with pytest.raises(TransientError):
        client.account()
    assert len(script.requests) == 1


def test_a_write_does_not_wait_for_the_clock(script: Script) -> None:
    client = client_of(script.endpoints)
    script.then(answer(documents.running_trade()))
    client.add_margin(TRADE, Sats(1))
    assert script.clock_reads == 0


def test_a_clock_that_is_off_is_set_before_the_first_signature_of_a_read(script: Script) -> None:
    script.clock_ahead_s = 100
    client = client_of(script.endpoints)
    script.then(answer(documents.account()))
    client.account()
    ahead_ms = int(script.requests[0].headers["lnm-access-timestamp"]) - time.time() * 1000
    assert ahead_ms == pytest.approx(100_000, abs=500)


def test_a_refused_signature_makes_us_look_at_the_clock_and_try_once_more(
    script: Script, client: RestClient
) -> None:
    script.clock_ahead_s = 60
    script.then(failure(401, "UNAUTHORIZED"), answer(documents.running_trade()))
    client.add_margin(TRADE, Sats(1))
    first, second = (int(each.headers["lnm-access-timestamp"]) for each in script.requests)
    assert second - first == pytest.approx(60_000, abs=1_000)


def test_a_refused_key_with_a_right_clock_is_refused_once(script: Script, client: RestClient) -> None:
    script.then(*[failure(401, "UNAUTHORIZED", "wrong")] * 2)
    for _ in range(2):
        with pytest.raises(KeyRefusedError, match=r"the key \(401 UNAUTHORIZED\): wrong"):
            client.account()
    assert len(script.requests) == 2
    assert script.clock_reads == 2  # the first measure, and one doubt


def test_a_quote_is_no_fresher_than_the_moment_it_was_asked_for(
    script: Script, client: RestClient
) -> None:
    script.then(Answer(content=json.dumps(documents.ticker()), delay_s=0.2))
    asked = datetime.now(UTC)
    quote = client.quote()
    assert (quote.price, quote.source) == (UsdPerBtc(Decimal("100000.5")), Source.REST)
    assert quote.index == Decimal("100010.25")
    assert asked <= quote.at < asked + 0.15 * SECOND


def test_an_unknown_price_is_no_quote(script: Script, client: RestClient) -> None:
    script.then(answer(documents.ticker(lastPrice=None)))
    with pytest.raises(TransientError, match="no price"):
        client.quote()


def test_pages_are_walked_and_an_item_on_two_pages_counts_once(
    script: Script, client: RestClient
) -> None:
    pages = [["c", "b"], ["b", "a"]]
    for ids, cursor in zip(pages, ["2026-01-01T00:00:00.000Z", None], strict=True):
        items = [documents.closed_trade(id=each) for each in ids]
        script.then(answer({"data": items, "nextCursor": cursor}))
    assert [each.id for each in client.closed_trades()] == ["c", "b", "a"]
    assert script.requests[1].target.endswith("closed?limit=998&cursor=2026-01-01T00%3A00%3A00.000Z")


def test_a_cursor_that_leads_nowhere_ends_the_walk(script: Script, client: RestClient) -> None:
    page = answer({"data": [documents.closed_trade()], "nextCursor": "same"})
    script.then(page, page)
    assert len(client.closed_trades()) == 1


@pytest.mark.parametrize(
    ("pause_s", "connections"),
    [
        pytest.param(0.0, 1, id="kept alive"),
        pytest.param(0.25, 2, id="idle for long: the server may be about to close it"),
    ],
)
def test_connections_are_kept_alive_until_they_idled_for_long(
    script: Script, client: RestClient, pause_s: float, connections: int
) -> None:
    script.then(*[answer(documents.account())] * 2)
    client.account()
    time.sleep(pause_s)
    client.account()
    assert len({each.connection for each in script.requests}) == connections


def test_nothing_is_sent_for_an_amount_of_nothing(script: Script, client: RestClient) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        client.add_margin(TRADE, Sats(0))
    assert script.requests == []


def test_funding_of_one_trade_can_be_asked_for(script: Script, client: RestClient) -> None:
    script.then(answer(documents.page(documents.funding_fee(tradeId=TRADE))))
    (fee,) = client.funding_fees(trade_id=TRADE)
    assert (fee.fee, fee.trade_id) == (-3, TRADE)
    assert script.requests[0].target.endswith(f"funding-fees?tradeId={TRADE}&limit=1000")


def test_a_request_without_a_slot_in_time_is_given_back_unsent(script: Script) -> None:
    limiter, waits = Unlimited(), list[float]()
    limiter.wait = 2.0
    client = RestClient(
        script.endpoints,
        CREDENTIALS,
        timeouts=Timeouts(turn_s=5),
        limiter=limiter,
        clock=lambda: sum(waits),
        sleep=waits.append,
    )
    with pytest.raises(TransientError, match="was not sent: the rate limit is used up") as caught:
        client.cash_in(TRADE, Sats(1))
    assert caught.value.after_s == 2
    assert waits == [2, 2]
    assert script.requests == []


def test_a_turn_taken_ahead_is_the_next_protective_writes(script: Script) -> None:
    limiter, now = Unlimited(), [0.0]
    client = RestClient(script.endpoints, CREDENTIALS, limiter=limiter, clock=lambda: now[0])
    script.then(answer(documents.running_trade()), answer(documents.running_trade()))
    assert client.take_turn(Fraction(1, 50))
    limiter.wait = 99.0

    client.add_margin(TRADE, Sats(1))

    with pytest.raises(TransientError, match="the rate limit is used up"):
        client.add_margin(TRADE, Sats(1))


def test_a_turn_taken_ahead_is_lost_where_nothing_is_sent_for_long(script: Script) -> None:
    limiter, now = Unlimited(), [0.0]
    client = RestClient(script.endpoints, CREDENTIALS, limiter=limiter, clock=lambda: now[0])
    assert client.take_turn(0)
    limiter.wait, now[0] = 99.0, 2.0

    with pytest.raises(TransientError, match="the rate limit is used up"):
        client.add_margin(TRADE, Sats(1))
    assert not client.take_turn(0)
    assert script.requests == []


def test_a_protective_write_that_waits_asks_again_before_it_is_forgotten(script: Script) -> None:
    limiter, waits = Unlimited(), list[float]()
    limiter.wait = 2.0
    client = RestClient(
        script.endpoints,
        CREDENTIALS,
        timeouts=Timeouts(turn_s=5),
        limiter=limiter,
        clock=lambda: sum(waits),
        sleep=waits.append,
    )
    with pytest.raises(TransientError, match="was not sent: the rate limit is used up"):
        client.add_margin(TRADE, Sats(1))
    assert set(waits) == {RENEWED_S}
    assert RENEWED_S < FORGOTTEN_S


@pytest.mark.parametrize(
    ("call", "urgency"),
    [
        pytest.param(lambda c: c.add_margin(TRADE, Sats(1)), NOT_URGENT, id="cuts risk"),
        pytest.param(
            lambda c: c.add_margin(TRADE, Sats(1), urgency=Fraction(1, 50)), 0.02, id="adds, urgent"
        ),
        pytest.param(
            lambda c: c.set_stoploss(TRADE, UsdPerBtc(Decimal(9)), urgency=0), 0.0, id="sets a stop"
        ),
        pytest.param(lambda c: c.cash_in(TRADE, Sats(1)), None, id="raises it"),
        pytest.param(lambda c: c.set_stoploss(TRADE, None), None, id="takes protection away"),
    ],
)
def test_only_writes_that_cut_risk_may_use_the_reserve_each_as_urgent_as_it_is(
    script: Script, call: Callable[[RestClient], object], urgency: float | None
) -> None:
    limiter = Unlimited()
    script.then(answer(documents.running_trade()))
    call(RestClient(script.endpoints, CREDENTIALS, limiter=limiter))
    assert limiter.asked == [(Scope.PRIVATE, urgency)]


def test_the_patience_asked_for_holds_for_all_with_the_same_limits(script: Script) -> None:
    limiter = Unlimited()
    script.then(Answer(status=429, headers={"Retry-After": "7"}))
    with pytest.raises(TransientError):
        RestClient(script.endpoints, CREDENTIALS, limiter=limiter).close(TRADE)
    assert limiter.held == [(Scope.PRIVATE, 7.0)]


def test_a_clock_that_cannot_be_asked_stops_no_reading(script: Script) -> None:
    script.clock_is_out = True
    script.then(answer(documents.account()))
    assert client_of(script.endpoints).account().balance == 500_000
    assert script.clock_reads == 1


def test_an_exchange_that_does_not_even_connect_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        address = full.getsockname()
        for _ in range(4):  # the queue of connections nobody takes up is full now
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(address)
        client = client_of(Endpoints(api_url=f"http://127.0.0.1:{address[1]}", stream_url=""))
        with pytest.raises(TransientError, match="cannot be reached: no connection in time"):
            client.add_margin(TRADE, Sats(1))


def test_an_answer_to_ping_that_is_no_pong_is_a_fault(script: Script, client: RestClient) -> None:
    script.then(answer("ping"))
    with pytest.raises(OperatorNeededError, match="not pong"):
        client.ping()


def test_a_stop_is_fixed_or_trailing(client: RestClient) -> None:
    with pytest.raises(ValueError, match="not both"):
        client.set_stoploss(TRADE, UsdPerBtc(Decimal(1)), trailing=Decimal("0.1"))


def test_connections_can_be_given_back(script: Script, client: RestClient) -> None:
    script.then(*[answer(documents.account())] * 2)
    client.account()
    client.close_connections()
    client.account()
    assert len({each.connection for each in script.requests}) == 2


def test_many_keys_share_connections_that_none_of_them_closes(script: Script) -> None:
    script.then(*[answer(documents.account())] * 3)
    shared = Connections(script.endpoints, idle_s=5)
    other = Credentials(key="other-key", secret="other-secret", passphrase="other-passphrase")
    for credentials in (CREDENTIALS, other, CREDENTIALS):
        client = client_of(script.endpoints, credentials, connections=shared)
        client.account()
        client.close_connections()
    keys = [each.headers["lnm-access-key"] for each in script.requests]
    assert keys == ["test-key", "other-key", "test-key"]
    assert len({each.connection for each in script.requests}) == 1
