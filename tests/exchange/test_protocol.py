import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from exchange.auth import Credentials, sign_stream
from exchange.config import Timeouts
from exchange.errors import ExchangeError, KeyRefusedError, RejectedError, TransientError
from exchange.events import BadFrame, Heard
from exchange.protocol import Conversation, Event, State, next_state
from exchange.serverclock import ServerClock
from exchange.topics import ISOLATED_TRADES, LAST_PRICE

CREDENTIALS = Credentials(key="test-key", secret="test-secret", passphrase="test-passphrase")
NOW_MS = 1767225600000
OURS_MS = NOW_MS - 45_000
"""Our clock is wrong: signatures by it would be refused."""
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        pytest.param([], State.CLOSED, id="not started"),
        pytest.param([Event.DIAL], State.DIALLING, id="dialled"),
        pytest.param(
            [Event.DIAL, Event.CONNECTED, Event.ACCEPTED, Event.SUBSCRIBED, Event.CAUGHT_UP],
            State.LIVE,
            id="the whole way with a key",
        ),
        pytest.param(
            [Event.DIAL, Event.CONNECTED_WITHOUT_KEY, Event.SUBSCRIBED, Event.CAUGHT_UP],
            State.LIVE,
            id="the whole way without",
        ),
        pytest.param([Event.DIAL, Event.LOST, Event.DIAL], State.DIALLING, id="lost, dialled anew"),
        pytest.param([Event.DIAL, Event.CONNECTED, Event.REFUSED], State.REFUSED, id="wrong key"),
        pytest.param(
            [Event.DIAL, Event.CONNECTED, Event.REFUSED, Event.DIAL, Event.CONNECTED, Event.ACCEPTED],
            State.SUBSCRIBING,
            id="a refused key is tried again",
        ),
        pytest.param([Event.DIAL, Event.STOP], State.CLOSED, id="stopped"),
    ],
)
def test_a_session_goes_by_the_table(events: list[Event], state: State) -> None:
    current = State.CLOSED
    for event in events:
        current = next_state(current, event)
    assert current is state


@pytest.mark.parametrize(
    ("state", "event"),
    [
        pytest.param(State.SUBSCRIBING, Event.CAUGHT_UP, id="not live before what was missed is read"),
        pytest.param(State.LIVE, Event.DIAL, id="one connection at a time"),
    ],
)
def test_an_impossible_step_raises(state: State, event: Event) -> None:
    with pytest.raises(ValueError, match=f"{state} cannot be {event}"):
        next_state(state, event)


@pytest.mark.parametrize("state", State)
def test_a_session_can_be_stopped_in_any_state(state: State) -> None:
    assert next_state(state, Event.STOP) is State.CLOSED


class Talk:
    """A conversation with its clock and its steps in the hand of the test."""

    def __init__(
        self, credentials: Credentials | None = CREDENTIALS, topic: str = ISOLATED_TRADES
    ) -> None:
        self.moved: list[Event] = []
        self.seconds = 0.0
        self.conversation = Conversation(
            credentials=credentials,
            wanted=frozenset({topic}),
            timeouts=Timeouts(read_s=10, heartbeat_s=30, silence_s=40),
            server_clock=ServerClock(wall_ms=lambda: OURS_MS, clock=lambda: self.seconds),
            clock=lambda: self.seconds,
            now=lambda: START + timedelta(seconds=self.seconds),
            moved=self.moved.append,
        )
        self.conversation.opened()

    def said(self) -> dict[str, Any]:
        """Return the one request that stands ready to be sent."""
        (text,) = self.conversation.outgoing
        self.conversation.outgoing.clear()
        request: dict[str, Any] = json.loads(text)
        return request

    def answer(self, result: object) -> list[object]:
        frame = {"jsonrpc": "2.0", "id": self.said()["id"], "result": result}
        return list(self.conversation.heard(json.dumps(frame)))

    def refuse(self, code: int, **more: object) -> None:
        error = {"code": code, "message": "no", "data": more}
        frame = {"jsonrpc": "2.0", "id": self.said()["id"], "error": error}
        self.conversation.heard(json.dumps(frame))


ACCEPTED = {"authenticated": True, "permissions": ["futures:isolated:read"]}


def signing_in() -> Talk:
    """Return a talk that has just said who we are."""
    talk = Talk()
    talk.answer({"time": NOW_MS})
    return talk


def live_talk() -> Talk:
    talk = signing_in()
    talk.answer(ACCEPTED)
    talk.answer({"subscribed": [ISOLATED_TRADES]})
    return talk


def test_it_asks_for_the_time_before_it_signs() -> None:
    assert Talk().said()["method"] == "time"


def test_it_says_who_we_are_with_a_fresh_nonce_each_time() -> None:
    first, second = signing_in().said(), signing_in().said()
    params = first["params"]
    assert first["method"] == "authenticate"
    assert params["key"] == "test-key"
    assert params["timestamp"] == NOW_MS
    assert params["signature"] == sign_stream("test-secret", timestamp_ms=NOW_MS, nonce=params["nonce"])
    assert params["nonce"] != second["params"]["nonce"]


def test_accepted_it_subscribes_and_compares_the_answer() -> None:
    talk = live_talk()
    assert talk.moved == [Event.CONNECTED, Event.ACCEPTED, Event.SUBSCRIBED]
    assert talk.conversation.permissions == frozenset({"futures:isolated:read"})


def test_without_a_key_it_subscribes_at_once() -> None:
    talk = Talk(credentials=None, topic=LAST_PRICE)
    assert talk.said()["params"] == {"topics": [LAST_PRICE]}
    assert talk.moved == [Event.CONNECTED_WITHOUT_KEY]


def test_a_subscription_to_less_than_asked_is_none() -> None:
    talk = signing_in()
    talk.answer(ACCEPTED)
    with pytest.raises(TransientError, match=ISOLATED_TRADES):
        talk.answer({"subscribed": []})


def test_a_key_that_is_not_accepted_needs_a_person() -> None:
    with pytest.raises(KeyRefusedError, match="did not accept the key"):
        signing_in().answer({"authenticated": False, "permissions": []})


@pytest.mark.parametrize(
    ("code", "error"),
    [
        pytest.param(-32401, KeyRefusedError, id="wrong key"),
        pytest.param(-32403, KeyRefusedError, id="no permission"),
        pytest.param(-32602, RejectedError, id="wrong parameters"),
        pytest.param(-32603, TransientError, id="their fault"),
        pytest.param(-32429, TransientError, id="too many"),
    ],
)
def test_a_refusal_while_signing_in_says_what_may_be_done(
    code: int, error: type[ExchangeError]
) -> None:
    with pytest.raises(error):
        signing_in().refuse(code)


def test_the_exchange_may_say_how_long_to_wait() -> None:
    with pytest.raises(TransientError) as caught:
        signing_in().refuse(-32429, retryAfterMs=2500)
    assert caught.value.after_s == 2.5


@pytest.mark.parametrize(
    ("told", "after_s"),
    [
        pytest.param(3_600_000, 60, id="an hour"),
        pytest.param(10**20, 1, id="for ever"),
        pytest.param(-5, 1, id="negative"),
        pytest.param("soon", 1, id="a word"),
        pytest.param([], 1, id="a list"),
    ],
)
def test_no_session_stays_away_for_long_whatever_it_is_told(told: object, after_s: float) -> None:
    with pytest.raises(TransientError) as caught:
        signing_in().refuse(-32429, retryAfterMs=told)
    assert caught.value.after_s == after_s


def test_a_refusal_without_details_means_a_second() -> None:
    talk = signing_in()
    error = {"code": -32603, "message": "no"}
    with pytest.raises(TransientError) as caught:
        talk.conversation.heard(json.dumps({"id": talk.said()["id"], "error": error}))
    assert caught.value.after_s == 1


def test_it_asks_for_a_sign_of_life_and_tells_when_it_came() -> None:
    talk = live_talk()
    talk.seconds = 29.9
    talk.conversation.passed()
    assert not talk.conversation.outgoing
    talk.seconds = 30
    talk.conversation.passed()
    asked_at = START + timedelta(seconds=30)
    talk.seconds = 31
    assert talk.answer("pong") == [
        Heard(asked_at=asked_at, received_at=asked_at + timedelta(seconds=1))
    ]


def test_it_asks_for_one_sign_of_life_at_a_time() -> None:
    talk = live_talk()
    for talk.seconds in (30, 35):
        talk.conversation.passed()
    assert len(talk.conversation.outgoing) == 1
    assert talk.conversation.due_s == 40
    talk.answer("pong")
    assert talk.conversation.due_s == 60


def test_a_sign_of_life_refused_ends_the_connection_not_the_session() -> None:
    talk = live_talk()
    talk.seconds = 30
    talk.conversation.passed()
    with pytest.raises(TransientError):
        talk.refuse(-32401)


@pytest.mark.parametrize(
    ("seconds", "why"),
    [
        pytest.param([10], "no answer within 10 s", id="signing in"),
        pytest.param([30, 40], "no answer within 10 s", id="half open"),
    ],
)
def test_a_connection_that_does_not_answer_is_given_up(seconds: list[float], why: str) -> None:
    talk = Talk() if len(seconds) == 1 else live_talk()
    for now in seconds[:-1]:
        talk.seconds = now
        talk.conversation.passed()
    talk.seconds = seconds[-1]
    with pytest.raises(TransientError, match=why):
        talk.conversation.passed()


def test_frames_prove_that_the_connection_lives_but_not_for_longer_than_the_silence() -> None:
    talk = live_talk()
    talk.seconds = 39
    talk.conversation.heard_control_frame()
    talk.seconds = 78.9
    assert talk.conversation.due_s == 30
    talk.conversation.passed()
    talk.seconds = 79
    with pytest.raises(TransientError, match="silent for 40 s"):
        talk.conversation.passed()


def test_while_nobody_listened_nothing_counts_as_silence_or_as_late() -> None:
    talk = live_talk()
    talk.seconds = 30
    talk.conversation.passed()
    assert talk.said()["method"] == "ping"
    talk.seconds = 60  # so long it took to read what was missed
    talk.conversation.resumed()
    talk.conversation.passed()
    talk.seconds = 69.9
    talk.conversation.passed()
    talk.seconds = 70
    with pytest.raises(TransientError, match="no answer within 10 s"):
        talk.conversation.passed()


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param("{", id="not JSON"),
        pytest.param(b"\xff\xfe\xfd", id="not text"),
        pytest.param("[]", id="not an object"),
        pytest.param("{}", id="neither answer nor push"),
        pytest.param('{"id":"x","result":1}', id="an id we did not give"),
        pytest.param('{"id":99,"result":1}', id="an id we have not given yet"),
        pytest.param('{"method":"subscription"}', id="a push without content"),
        pytest.param(
            '{"method":"subscription","params":{"topic":"x","data":{}}}', id="an unknown topic"
        ),
    ],
)
def test_a_frame_we_cannot_read_is_told_and_ends_nothing(frame: str | bytes) -> None:
    talk = live_talk()
    (event,) = talk.conversation.heard(frame)
    assert isinstance(event, BadFrame)
    assert "stream" in event.why


def test_an_answer_that_comes_twice_counts_once() -> None:
    talk = signing_in()
    frame = json.dumps({"jsonrpc": "2.0", "id": talk.said()["id"], "result": ACCEPTED})
    talk.conversation.heard(frame)
    assert talk.conversation.heard(frame) == []
    assert talk.moved == [Event.CONNECTED, Event.ACCEPTED]
