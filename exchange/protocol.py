"""One stream connection as a table of states, and its talk without a socket."""

import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from exchange import frames, topics
from exchange.auth import Credentials
from exchange.config import Timeouts
from exchange.errors import ExchangeError, KeyRefusedError, OperatorNeededError, TransientError
from exchange.events import BadFrame, Heard, StreamEvent
from exchange.fields import Fields, parse
from exchange.serverclock import ServerClock


class State(StrEnum):
    """Where a session stands."""

    CLOSED = "closed"
    WAITING = "waiting"
    """For the time of the next connection."""
    DIALLING = "dialling"
    AUTHENTICATING = "authenticating"
    SUBSCRIBING = "subscribing"
    CATCHING_UP = "catching up"
    """Subscribed; what was missed is read by REST before anyone may rely on the session."""
    LIVE = "live"
    REFUSED = "refused"
    """The exchange refused our key: it may think better of it, so the next connection has its time,
    too. A session without a key is never refused, and whatever else is said only loses a connection."""


class Event(StrEnum):
    """What moves a session on."""

    DIAL = "dial"
    CONNECTED = "connected"
    CONNECTED_WITHOUT_KEY = "connected without key"
    ACCEPTED = "accepted"
    SUBSCRIBED = "subscribed"
    CAUGHT_UP = "caught up"
    LOST = "lost"
    REFUSED = "refused"
    STOP = "stop"


_OPEN: Final = (
    State.DIALLING,
    State.AUTHENTICATING,
    State.SUBSCRIBING,
    State.CATCHING_UP,
    State.LIVE,
)
"""A connection may be lost, or a key refused, at any step: no word of the exchange ends a session."""
_NEXT: Final = {
    (State.CLOSED, Event.DIAL): State.DIALLING,
    (State.WAITING, Event.DIAL): State.DIALLING,
    (State.REFUSED, Event.DIAL): State.DIALLING,
    (State.DIALLING, Event.CONNECTED): State.AUTHENTICATING,
    (State.DIALLING, Event.CONNECTED_WITHOUT_KEY): State.SUBSCRIBING,
    (State.AUTHENTICATING, Event.ACCEPTED): State.SUBSCRIBING,
    (State.SUBSCRIBING, Event.SUBSCRIBED): State.CATCHING_UP,
    (State.CATCHING_UP, Event.CAUGHT_UP): State.LIVE,
    **{(state, Event.LOST): State.WAITING for state in _OPEN},
    **{(state, Event.REFUSED): State.REFUSED for state in _OPEN},
    **{(state, Event.STOP): State.CLOSED for state in State},
}


def next_state(state: State, event: Event) -> State:
    """Return where `event` leads.

    Raises:
        ValueError: it cannot happen in that state.
    """
    try:
        return _NEXT[state, event]
    except KeyError:
        raise ValueError(f"a session that is {state} cannot be {event}") from None


Answered = Callable[[Fields], None]
"""Gets the whole answer frame."""
Failed = Callable[[ExchangeError], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request without an answer so far."""

    method: str
    asked_s: float
    answered: Answered
    failed: Failed


class Conversation:
    """The talk over one connection: what to say next, what came, what it means. Knows no socket.

    Whoever owns the socket calls `opened` once, `heard` for each frame, `passed` whenever `due_s` is
    reached, and sends what stands in `outgoing`. All three raise KeyRefusedError where the exchange
    refuses the key, another ExchangeError where the connection is of no more use.

    Args:
        wanted: the topics to subscribe to.
        clock: returns seconds from any fixed start, never going back.
        now: our wall clock, aware.
        moved: told of each step in the table.
    """

    def __init__(
        self,
        *,
        credentials: Credentials | None,
        wanted: frozenset[str],
        timeouts: Timeouts,
        server_clock: ServerClock,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        moved: Callable[[Event], None],
    ) -> None:
        self._credentials = credentials
        self._wanted = wanted
        self._timeouts = timeouts
        self._server_clock = server_clock
        self._clock = clock
        self._now = now
        self._moved = moved
        self._asked: dict[int, Asked] = {}
        self._last_id = 0
        self._pinging = False
        self._said_s = self._heard_s = clock()
        self._events: list[StreamEvent] = []
        self.outgoing: deque[str] = deque()
        self.signs_in = False
        """Whether `authenticate` was said: the exchange counts it."""
        self.permissions: frozenset[str] | None = None
        """What the key may do, as the exchange said when it accepted the key; None: it did not say."""

    def opened(self) -> None:
        """The connection stands: say who we are, or what we want to hear."""
        self._heard_s = self._clock()
        if self._credentials is None:
            self._moved(Event.CONNECTED_WITHOUT_KEY)
            self._subscribe()
            return
        self._moved(Event.CONNECTED)
        self._ask_time(self._credentials)

    def heard(self, frame: str | bytes) -> list[StreamEvent]:
        """Return what one frame tells; a frame we cannot read tells just that."""
        self._heard_s = self._clock()
        received_at = self._now()
        self._events = []
        try:
            fields = Fields.of(parse(frame, "stream"), "stream")
            if "method" in fields.values:
                return [topics.event(fields.inner("params"), received_at)]
            asked = self._asked.pop(fields.integer("id", least=1, most=self._last_id), None)
        except OperatorNeededError as error:
            return [BadFrame(why=str(error), received_at=received_at)]
        if asked is not None:
            self._settle(asked, fields)
        return self._events

    def heard_control_frame(self) -> None:
        """Note a ping, or an answer to ours: the exchange is there."""
        self._heard_s = self._clock()

    def resumed(self) -> None:
        """Go on after a while in which nobody listened: all patience begins anew."""
        self._heard_s = now_s = self._clock()
        self._asked = {key: replace(each, asked_s=now_s) for key, each in self._asked.items()}

    def passed(self) -> None:
        """Note that time has passed: ask whether the exchange is there, or give the connection up."""
        now = self._clock()
        oldest = min((each.asked_s for each in self._asked.values()), default=now)
        if now - oldest >= self._timeouts.read_s:
            raise TransientError(f"the stream gave no answer within {self._timeouts.read_s:g} s")
        if now - self._heard_s >= self._timeouts.silence_s:
            raise TransientError(f"the stream was silent for {self._timeouts.silence_s:g} s")
        if not self._pinging and now - self._said_s >= self._timeouts.heartbeat_s:
            self._ping()

    @property
    def due_s(self) -> float:
        """When `passed` has something to do, by `clock`."""
        times = [self._heard_s + self._timeouts.silence_s]
        if not self._pinging:
            times.append(self._said_s + self._timeouts.heartbeat_s)
        times += [each.asked_s + self._timeouts.read_s for each in self._asked.values()]
        return min(times)

    def ask(
        self,
        method: str,
        params: Mapping[str, object] | None,
        answered: Answered,
        failed: Failed,
    ) -> None:
        """Put a request into `outgoing`; one of the two is called once the answer is heard."""
        self._last_id += 1
        self._said_s = self._clock()
        self._asked[self._last_id] = Asked(method, self._said_s, answered, failed)
        self.outgoing.append(frames.request_text(self._last_id, method, params))

    def _ask_time(self, credentials: Credentials) -> None:
        """Signatures are valid for seconds only: learn the exchange's time on every connection."""
        asked_s = self._clock()

        def told(answer: Fields) -> None:
            self._server_clock.learn(answer.inner("result").time_ms("time"), asked_s=asked_s)
            self._authenticate(credentials)

        self.ask("time", None, told, _give_up)

    def _authenticate(self, credentials: Credentials) -> None:
        params = frames.authentication(
            credentials, timestamp_ms=self._server_clock.now_ms(), nonce=secrets.token_hex(16)
        )
        self.signs_in = True
        self.ask("authenticate", params, self._accepted, _give_up)

    def _accepted(self, answer: Fields) -> None:
        result = answer.inner("result")
        if not result.flag("authenticated"):
            raise KeyRefusedError("LN Markets did not accept the key on the stream")
        if isinstance(result.values.get("permissions"), list):
            self.permissions = frozenset(map(str, result.items("permissions")))
        self._moved(Event.ACCEPTED)
        self._subscribe()

    def _subscribe(self) -> None:
        params = {"topics": sorted(self._wanted)}
        self.ask("subscribe", params, self._subscribed, _give_up)

    def _subscribed(self, answer: Fields) -> None:
        missing = self._wanted - frames.topics_answered(answer.inner("result"), "subscribed")
        if missing:
            raise TransientError(f"the stream did not subscribe us to {', '.join(sorted(missing))}")
        self._moved(Event.SUBSCRIBED)

    def _ping(self) -> None:
        asked_at = self._now()
        self._pinging = True
        self.ask("ping", None, lambda _: self._heard_back(asked_at), _drop)

    def _heard_back(self, asked_at: datetime) -> None:
        self._pinging = False
        self._events.append(Heard(asked_at=asked_at, received_at=self._now()))

    def _settle(self, asked: Asked, answer: Fields) -> None:
        if answer.values.get("error") is not None:
            asked.failed(frames.failure(answer, asked.method))
        else:
            asked.answered(answer)


def _give_up(error: ExchangeError) -> None:
    raise error


def _drop(error: ExchangeError) -> None:
    """A session that was accepted may have expired: only a new one tells whether we still may."""
    raise TransientError(str(error))
