import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal

import pytest

from exchange.admission import OpenGate
from exchange.auth import Credentials
from exchange.config import Timeouts
from exchange.errors import (
    ExchangeError,
    KeyRefusedError,
    OperatorNeededError,
    RejectedError,
    TransientError,
)
from exchange.events import BadFrame, Heard, PriceTick, StreamEvent, TradeEvent, TradeEventKind
from exchange.formulas import Side
from exchange.money import Usd
from exchange.protocol import State
from exchange.rest import RestClient
from exchange.session import StreamSession
from exchange.simulator.running import Simulator
from exchange.topics import ISOLATED_TRADES, LAST_PRICE
from exchange.trade import NewTrade
from tests.exchange.places import endpoints_of
from tests.exchange.stream_script import StreamScript, scripted_stream
from tests.waiting import wait_until

QUICK = Timeouts(
    connect_s=2, read_s=2, heartbeat_s=0.2, silence_s=3, reconnect_first_s=0.01, reconnect_most_s=0.05
)


class Told:
    """What a session told."""

    def __init__(self) -> None:
        self.events: list[StreamEvent] = []
        self.states: list[tuple[State, str]] = []
        self.at_s: list[float] = []
        """When, for each state."""

    def on_state(self, state: State, why: str) -> None:
        self.states.append((state, why))
        self.at_s.append(time.monotonic())

    def of(self, kind: type[StreamEvent]) -> list[StreamEvent]:
        return [event for event in self.events if isinstance(event, kind)]


Start = Callable[..., StreamSession]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def start(venue: Simulator, told: Told) -> Iterator[Start]:
    """Start sessions to the venue that are stopped with the test."""
    with ExitStack() as sessions:

        def start(
            credentials: Credentials | None = None, *, catch_up: Callable[[], None] = lambda: None
        ) -> StreamSession:
            session = StreamSession(
                endpoints_of(venue).stream_url,
                credentials,
                [LAST_PRICE] if credentials is None else [ISOLATED_TRADES],
                told.events.append,
                on_state=told.on_state,
                catch_up=catch_up,
                timeouts=QUICK,
            )
            session.start()
            sessions.callback(session.stop)
            return session

        yield start


def live(session: StreamSession) -> StreamSession:
    wait_until(lambda: session.state is State.LIVE, what="the session is live")
    return session


def test_prices_come_as_ticks(venue: Simulator, start: Start, told: Told) -> None:
    live(start())
    venue.set_price("99999.5")
    wait_until(lambda: told.of(PriceTick), what="a tick")
    (tick,) = told.of(PriceTick)
    assert isinstance(tick, PriceTick)
    assert tick.price == Decimal("99999.5")


def test_what_happens_to_a_trade_is_told(venue: Simulator, start: Start, told: Told) -> None:
    credentials = venue.accounts[0].credentials
    live(start(credentials))
    rest = RestClient(endpoints_of(venue), credentials)
    trade = rest.open_trade(
        NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(100), client_id="x")
    )
    wait_until(lambda: told.of(TradeEvent), what="the event of the fill")
    (event,) = told.of(TradeEvent)
    assert isinstance(event, TradeEvent)
    assert (event.kind, event.trade_id) == (TradeEventKind.FILLED, trade.id)
    assert event.client_id == "x"


def test_accounts_hear_nothing_of_each_other(venue: Simulator, start: Start, told: Told) -> None:
    session = live(start(venue.accounts[0].credentials))
    rest = RestClient(endpoints_of(venue), venue.accounts[1].credentials)
    rest.open_trade(NewTrade(side=Side.BUY, leverage=Decimal(10), quantity=Usd(100)))
    session.ask("ping", timeout_s=2)
    assert told.of(TradeEvent) == []


def test_the_way_to_live_goes_by_the_table(venue: Simulator, start: Start, told: Told) -> None:
    session = live(start(venue.accounts[0].credentials))
    assert [state for state, _ in told.states] == [
        State.DIALLING, State.AUTHENTICATING, State.SUBSCRIBING, State.CATCHING_UP, State.LIVE,
    ]  # fmt: skip
    assert "futures:isolated:read" in (session.permissions or ())


def test_a_session_is_not_live_before_what_was_missed_is_read(start: Start) -> None:
    caught_up, asked = threading.Event(), threading.Event()

    def catch_up() -> None:
        asked.set()
        assert caught_up.wait(5)

    session = start(catch_up=catch_up)
    assert asked.wait(5)
    assert session.state is State.CATCHING_UP
    caught_up.set()
    live(session)


def test_a_session_is_not_given_up_for_what_was_missed_took_long_to_read(
    venue: Simulator, told: Told
) -> None:
    session = StreamSession(
        endpoints_of(venue).stream_url,
        venue.accounts[0].credentials,
        [ISOLATED_TRADES],
        told.events.append,
        on_state=told.on_state,
        catch_up=lambda: time.sleep(1.1),
        timeouts=replace(QUICK, silence_s=1),
    )
    session.start()
    try:
        live(session)
        wait_until(lambda: told.of(Heard), what="a sign of life after it")
        assert session.connections == 1
    finally:
        session.stop()


def test_a_session_that_cannot_catch_up_tries_again_from_the_start(start: Start, told: Told) -> None:
    failures = iter([TransientError("LN Markets is away"), None])

    def catch_up() -> None:
        if (failure := next(failures)) is not None:
            raise failure

    session = live(start(catch_up=catch_up))
    assert session.connections == 2
    assert (State.WAITING, "LN Markets is away") in told.states


def test_a_session_that_was_cut_comes_back_on_a_fresh_connection(
    venue: Simulator, start: Start, told: Told
) -> None:
    session = live(start(venue.accounts[0].credentials))
    venue.cut_streams()
    wait_until(lambda: session.connections == 2, what="a second connection")
    live(session)
    reasons = [why for state, why in told.states if state is State.WAITING]
    assert len(reasons) == 1
    assert reasons[0].startswith(f"{venue.stream} ")


@pytest.mark.parametrize("part", ["secret", "passphrase", "key"])
def test_a_refused_key_is_told_without_a_secret_and_tried_again(
    venue: Simulator, start: Start, told: Told, part: str
) -> None:
    right = venue.accounts[0].credentials
    parts = {"key": right.key, "secret": right.secret, "passphrase": right.passphrase}
    session = start(Credentials(**(parts | {part: "wrong"})))
    wait_until(lambda: session.connections >= 2, what="it is tried again")
    assert session.stop()
    why = next(why for state, why in told.states if state is State.REFUSED)
    assert "LN Markets refused the key" in why
    assert right.secret not in why
    assert right.passphrase not in why


def test_a_key_that_is_refused_once_while_catching_up_is_live_soon_after(
    venue: Simulator, start: Start, told: Told
) -> None:
    refusals = iter([KeyRefusedError("revoked, or so it seemed")])

    def catch_up() -> None:
        for refusal in refusals:
            raise refusal

    live(start(venue.accounts[0].credentials, catch_up=catch_up))
    assert (State.REFUSED, "revoked, or so it seemed") in told.states


def test_a_key_that_is_refused_for_long_is_tried_more_and_more_rarely(
    venue: Simulator, start: Start, told: Told
) -> None:
    session = start(replace(venue.accounts[0].credentials, passphrase="wrong"))
    wait_until(lambda: session.connections >= 10, what="it is tried again and again")
    both = zip(told.states, told.at_s, strict=False)
    refused_s = [at_s for (state, _), at_s in both if state is State.REFUSED]
    assert refused_s[8] - refused_s[7] >= 0.64, "longer than after a connection that was lost"


def test_signs_of_life_come_in(start: Start, told: Told) -> None:
    session = live(start())
    wait_until(lambda: len(told.of(Heard)) >= 2, what="two answers to our pings")
    assert session.last_frame_at is not None


def test_nobody_there_is_told_in_one_sentence(told: Told) -> None:
    session = StreamSession(
        "ws://127.0.0.1:1", None, [LAST_PRICE], told.events.append,
        on_state=told.on_state, timeouts=QUICK,
    )  # fmt: skip
    session.start()
    wait_until(lambda: session.connections >= 3, what="it goes on trying")
    assert session.stop()
    assert told.states[1] == (
        State.WAITING,
        "ws://127.0.0.1:1/v1 cannot be reached: Connection refused",
    )


def test_other_threads_may_ask(start: Start) -> None:
    session = live(start())
    assert session.ask("ping", timeout_s=2).text("result") == "pong"


def test_asking_a_session_that_is_not_live_says_so(start: Start) -> None:
    session = live(start())
    session.stop()
    with pytest.raises(TransientError, match="closed, not live"):
        session.ask("ping", timeout_s=2)


def test_a_session_stops_at_once_and_leaves_no_thread(start: Start) -> None:
    session = live(start())
    before = threading.active_count()
    assert session.stop(timeout_s=1)
    assert session.state is State.CLOSED
    assert threading.active_count() == before - 1


def test_a_fault_in_a_callback_costs_the_connection_not_the_session(
    venue: Simulator, told: Told
) -> None:
    faults = iter([ZeroDivisionError])

    def on_event(event: StreamEvent) -> None:
        told.events.append(event)
        for fault in faults:
            raise fault

    session = StreamSession(
        endpoints_of(venue).stream_url, None, [LAST_PRICE], on_event, timeouts=QUICK
    )
    session.start()
    try:
        live(session)
        venue.set_price(99_000)
        wait_until(lambda: session.connections == 2, what="a second connection")
        live(session)
    finally:
        session.stop()


@pytest.fixture
def stream() -> Iterator[StreamScript]:
    with scripted_stream() as stream:
        yield stream


@pytest.fixture
def scripted(stream: StreamScript, told: Told) -> Iterator[StreamSession]:
    """A live session to a stream that does as told."""
    session = StreamSession(
        stream.url, None, [LAST_PRICE], told.events.append, on_state=told.on_state, timeouts=QUICK
    )
    session.start()
    yield live(session)
    session.stop()


def tick_frame(time_ms: int) -> str:
    params = {"topic": LAST_PRICE, "data": {"time": time_ms, "lastPrice": 100000}}
    return json.dumps({"jsonrpc": "2.0", "method": "subscription", "params": params})


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param("{", id="cut off"),
        pytest.param("null", id="null"),
        pytest.param(b"\xff\x00", id="binary"),
        pytest.param(tick_frame(5).replace("100000", "null"), id="null price"),
        pytest.param(tick_frame(5).replace("100000", "-1"), id="price below nothing"),
        pytest.param('{"x":"' + "y" * 70_000 + '"}', id="far too long"),
    ],
)
def test_garbage_is_told_counted_and_ends_nothing(
    stream: StreamScript, scripted: StreamSession, told: Told, garbage: str | bytes
) -> None:
    stream.say(garbage)
    stream.say(tick_frame(7))
    wait_until(lambda: told.of(PriceTick), what="the tick after the garbage")
    assert len(told.of(BadFrame)) == scripted.bad_frames == 1
    assert (scripted.state, scripted.connections) == (State.LIVE, 1)


def test_frames_that_come_twice_or_late_are_told_as_they_come(
    stream: StreamScript, scripted: StreamSession, told: Told
) -> None:
    for time_ms in (7, 7, 5):
        stream.say(tick_frame(time_ms))
    wait_until(lambda: len(told.of(PriceTick)) == 3, what="three ticks")
    assert scripted.state is State.LIVE


def test_a_half_open_connection_is_noticed_and_replaced(stream: StreamScript, told: Told) -> None:
    impatient = replace(QUICK, read_s=0.3)
    session = StreamSession(
        stream.url, None, [LAST_PRICE], told.events.append, on_state=told.on_state, timeouts=impatient
    )
    session.start()
    try:
        live(session)
        stream.silent = True
        wait_until(lambda: session.connections > 1, what="a fresh connection")
        assert (State.WAITING, "the stream gave no answer within 0.3 s") in told.states
        stream.silent = False
        live(session)
    finally:
        session.stop()


def test_our_own_messages_stay_within_the_budget_of_a_connection(
    scripted: StreamSession,
) -> None:
    with ThreadPoolExecutor(30) as threads:
        started = time.monotonic()
        asked = [threads.submit(scripted.ask, "ping", timeout_s=5) for _ in range(15)]
        for each in asked:
            each.result()
    took_s = time.monotonic() - started
    assert took_s > 1.5  # five at once, then five a second


def test_a_ping_of_the_exchange_is_answered_and_counts_as_heard(
    stream: StreamScript, scripted: StreamSession
) -> None:
    wait_until(lambda: scripted.last_frame_at, what="a frame")
    before = scripted.last_frame_at
    stream.silent = True
    stream.ping()
    wait_until(lambda: stream.pongs == 1, what="our pong")
    wait_until(lambda: scripted.last_frame_at != before, what="the ping is noted")


def test_a_question_nobody_answers_is_given_up(stream: StreamScript, scripted: StreamSession) -> None:
    stream.silent = True
    with pytest.raises(TransientError, match=r"did not answer whoami in 0\.1 s"):
        scripted.ask("whoami", timeout_s=0.1)


def test_the_reason_the_exchange_gives_for_closing_is_told(
    stream: StreamScript, scripted: StreamSession, told: Told
) -> None:
    stream.close(1008, "too many connections")
    wait_until(lambda: scripted.connections == 2, what="a fresh connection")
    waiting = [why for state, why in told.states if state is State.WAITING]
    assert waiting == [f"{stream.url}/v1 closed the connection (1008 too many connections)"]


def test_a_fault_of_whoever_is_told_of_states_costs_nothing(stream: StreamScript) -> None:
    def broken(_state: State, _why: str) -> None:
        raise ZeroDivisionError

    session = StreamSession(
        stream.url, None, [LAST_PRICE], lambda _: None, on_state=broken, timeouts=QUICK
    )
    session.start()
    live(session)
    assert session.connections == 1
    assert session.stop()


def test_a_session_never_started_can_be_stopped(stream: StreamScript) -> None:
    session = StreamSession(stream.url, None, [LAST_PRICE], lambda _: None)
    assert session.stop()
    assert stream.connections == 0


def test_a_callback_may_stop_its_session(stream: StreamScript) -> None:
    stopped: list[bool] = []
    session = StreamSession(
        stream.url, None, [LAST_PRICE], lambda _: stopped.append(session.stop()), timeouts=QUICK
    )
    session.start()
    live(session)
    stream.say(tick_frame(7))
    wait_until(lambda: session.ended, what="the session has ended")
    assert session.state is State.CLOSED


ODD = [
    pytest.param({"error": {"code": -32000, "message": "no"}}, id="-32000"),
    pytest.param({"error": {"code": -32401, "message": "no"}}, id="-32401"),
    pytest.param({"error": {"code": -32503, "message": "no"}}, id="-32503"),
    pytest.param({"error": {"code": -32601, "message": "no"}}, id="-32601"),
    pytest.param({"error": {"code": -32602, "message": "no"}}, id="-32602"),
    pytest.param({"error": {"code": "-32603", "message": "no"}}, id="a code as text"),
    pytest.param({"error": {"code": -32603, "message": 7, "data": "soon"}}, id="odd words"),
    pytest.param({"error": "no"}, id="an error that is text"),
    pytest.param({"result": None}, id="null"),
    pytest.param({"result": {}}, id="nothing in it"),
    pytest.param({"result": []}, id="a list"),
    pytest.param({"result": {"time": "soon", "authenticated": "yes", "subscribed": 5}}, id="fields"),
]


@pytest.mark.parametrize("answer", ODD)
@pytest.mark.parametrize(
    ("with_key", "method"),
    [(False, "subscribe"), (True, "subscribe"), (True, "time"), (True, "authenticate")],
)
def test_one_odd_answer_is_no_verdict(
    stream: StreamScript, told: Told, answer: dict[str, object], method: str, *, with_key: bool
) -> None:
    stream.odd[method] = [answer]
    session = StreamSession(
        stream.url,
        Credentials(key="k", secret="s", passphrase="p") if with_key else None,
        [LAST_PRICE],
        told.events.append,
        on_state=told.on_state,
        timeouts=QUICK,
    )
    session.start()
    try:
        live(session)
        assert session.connections == 2
        refused = [why for state, why in told.states if state is State.REFUSED]
        own_refusal = method == "authenticate" and "-32401" in str(answer)
        assert len(refused) == own_refusal, "a key is refused in the exchange's own words alone"
    finally:
        session.stop()


@pytest.mark.parametrize("answer", ODD[:8])
def test_an_odd_answer_to_a_sign_of_life_costs_the_connection_alone(
    stream: StreamScript, told: Told, answer: dict[str, object]
) -> None:
    stream.odd["ping"] = [answer]
    session = StreamSession(
        stream.url, None, [LAST_PRICE], told.events.append, on_state=told.on_state, timeouts=QUICK
    )
    session.start()
    try:
        wait_until(lambda: session.connections == 2, what="a fresh connection")
        live(session)
    finally:
        session.stop()


@pytest.mark.parametrize(
    "error", [RejectedError("LN Markets refused GET x (404)"), OperatorNeededError("cannot read")]
)
def test_what_was_missed_and_cannot_be_read_refuses_no_key(
    venue: Simulator, start: Start, told: Told, error: ExchangeError
) -> None:
    failures = iter([error])

    def catch_up() -> None:
        for failure in failures:
            raise failure

    live(start(venue.accounts[0].credentials, catch_up=catch_up))
    assert (State.WAITING, str(error)) in told.states
    assert State.REFUSED not in [state for state, _ in told.states]


def test_a_fault_of_whoever_admits_ends_no_session(stream: StreamScript, told: Told) -> None:
    class Broken(OpenGate):
        faults = 3

        def wait_s(self) -> float:
            self.faults -= 1
            if self.faults >= 0:
                raise ZeroDivisionError
            return 0.0

    session = StreamSession(
        stream.url, None, [LAST_PRICE], told.events.append, gate=Broken(), timeouts=QUICK
    )
    session.start()
    live(session)
    assert session.stop()
