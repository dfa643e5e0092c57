"""One stream session: its thread, its connections one after the other, its place in the table."""

import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from exchange.admission import Attempt, Gate, OpenGate
from exchange.auth import Credentials
from exchange.config import USUAL_TIMEOUTS, Rate, Timeouts
from exchange.dialling import Redials
from exchange.errors import ExchangeError, KeyRefusedError, TransientError
from exchange.events import BadFrame, StreamEvent
from exchange.fields import Fields
from exchange.line import Bell, Line
from exchange.protocol import Conversation, Event, State, next_state
from exchange.ratelimit import TokenBucket
from exchange.serverclock import ServerClock

logger = logging.getLogger(__name__)

VERSION_PATH: Final = "/v1"
_MESSAGES: Final = Rate(per_s=5, burst=5)
"""At most 10 in any second (API notes, 5.1): the burst, and what is refilled meanwhile."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _nothing_missed() -> None:
    """Catch up where nothing can be missed."""


class StreamSession:
    """Keeps one session to the stream alive until stopped.

    Its own thread does all reading and writing and calls all callbacks; they must return soon. A
    connection that fails is replaced by a fresh one, forever, at growing intervals, whatever was said.

    Args:
        stream_url: without the version path.
        credentials: None for a session with public topics only.
        topics: what to hear.
        on_event: gets each event, also those of before the session counts as live.
        on_state: gets each new state with the reason, in one sentence, where there is one.
        catch_up: reads by REST what was missed; the session counts as live once it returns. An
            `ExchangeError` of it costs the connection.
        gate: asked before each dial.
        clock: returns seconds from any fixed start, never going back.
        now: our wall clock, aware.
        chance: returns a number in [0, 1).
    """

    def __init__(
        self,
        stream_url: str,
        credentials: Credentials | None,
        topics: Iterable[str],
        on_event: Callable[[StreamEvent], None],
        *,
        on_state: Callable[[State, str], None] = lambda _state, _why: None,
        catch_up: Callable[[], None] = _nothing_missed,
        gate: Gate | None = None,
        timeouts: Timeouts = USUAL_TIMEOUTS,
        server_clock: ServerClock | None = None,
        ca_file: str | None = None,
        proxy: str | None = None,
        name: str = "stream",
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._url = stream_url.rstrip("/") + VERSION_PATH
        self._credentials = credentials
        self._topics = frozenset(topics)
        self._on_event = on_event
        self._on_state = on_state
        self._catch_up = catch_up
        self._gate = gate or OpenGate()
        self._timeouts = timeouts
        self._server_clock = server_clock or ServerClock(clock=clock)
        self._ca_file, self._proxy = ca_file, proxy
        self._clock = clock
        self._now = now
        self._redials = Redials(timeouts, has_key=credentials is not None, chance=chance)
        self._bell = Bell()
        self._stopping = threading.Event()
        self._requests: deque[_Request] = deque()
        self._pending: list[_Request] = []
        self._attempt = Attempt()
        self._pace = TokenBucket(_MESSAGES, clock=clock)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.state = State.CLOSED
        self.connections = 0
        """How many were dialled so far."""
        self.bad_frames = 0
        self.last_frame_at: datetime | None = None
        """When the exchange was last heard, aware."""
        self.permissions: frozenset[str] | None = None
        """What the key may do, once it was accepted and the exchange told."""

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Close the connection and end the thread; return whether it ended in time."""
        self._stopping.set()
        self._bell.ring()
        if self._thread.ident is None:
            self._bell.close()
        elif self._thread is not threading.current_thread():  # a callback may stop its session
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def ended(self) -> bool:
        """Whether it was stopped, and holds no connection any more."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def ask(
        self, method: str, params: Mapping[str, object] | None = None, *, timeout_s: float
    ) -> Fields:
        """Return the answer frame to one request of ours. Not to be called from a callback.

        Raises:
            TransientError: also where the session is not live, or the answer does not come.
            RejectedError, OperatorNeededError
        """
        if self.state is not State.LIVE:
            raise TransientError(f"the stream session is {self.state}, not live")
        request = _Request(method, params)
        self._requests.append(request)
        self._bell.ring()
        try:
            return request.answer.result(timeout_s)
        except TimeoutError:
            raise TransientError(f"the stream did not answer {method} in {timeout_s:g} s") from None

    def _run(self) -> None:
        try:
            self._connections_in_turn()
        finally:
            self._bell.close()

    def _connections_in_turn(self) -> None:
        wait_s = 0.0
        while not self._stopping.wait(wait_s):
            try:
                if not self._admitted_in_time():
                    break
                started_s = self._clock()
                attempt, after_s = self._one_connection()
                lasted_s, is_alone = self._clock() - started_s, self._gate.is_alone()
                redial_s = self._redials.wait_s(attempt, lasted_s=lasted_s, is_alone=is_alone)
                wait_s = max(after_s, redial_s)
            except Exception:  # the thread's outermost loop: nothing ends it but `stop`
                logger.exception("stream session not dialled")
                wait_s = self._timeouts.reconnect_most_s
        self._move(Event.STOP)

    def _admitted_in_time(self) -> bool:
        while (wait_s := self._gate.wait_s()) > 0:
            if self._stopping.wait(wait_s):
                return False
        return True

    def _one_connection(self) -> tuple[Attempt, float]:
        """Keep one connection until it ends; return what became of it, and how long to wait."""
        self._attempt, after_s = Attempt(), 0.0
        try:
            self._connection()
        except KeyRefusedError as error:
            # Where no key was shown none can be refused.
            self._move(Event.REFUSED if self._credentials else Event.LOST, str(error))
        except ExchangeError as error:
            self._move(Event.LOST, str(error))
            after_s = error.after_s if isinstance(error, TransientError) else 0.0
        except Exception as error:  # one more try
            logger.exception("stream session failed")
            self._move(Event.LOST, f"a fault of our own: {type(error).__name__}")
        finally:
            self._fail_requests()
            if not self._attempt.live:  # else it was told then
                self._gate.ended(self._attempt)
        return self._attempt, after_s

    def _connection(self) -> None:
        self._move(Event.DIAL)
        self.connections += 1
        with Line(
            self._url,
            connect_s=self._timeouts.connect_s,
            bell=self._bell,
            ca_file=self._ca_file,
            proxy=self._proxy,
        ) as line:
            self._attempt = Attempt(stood=True)
            talk = self._conversation()
            talk.opened()
            while not self._stopping.is_set():
                self._talk(talk, line)

    def _conversation(self) -> Conversation:
        return Conversation(
            credentials=self._credentials,
            wanted=self._topics,
            timeouts=self._timeouts,
            server_clock=self._server_clock,
            clock=self._clock,
            now=self._now,
            moved=self._move,
        )

    def _talk(self, talk: Conversation, line: Line) -> None:
        """Say what there is to say, then hear one frame, or wait for one until something is due."""
        pause_s = self._say(talk, line)
        if self.state is State.CATCHING_UP:
            self._catch_up()
            talk.resumed()  # a slow exchange may have taken longer than a stream may be silent
            self._move(Event.CAUGHT_UP)
            self._attempt = replace(self._attempt, live=True)
            self._gate.ended(self._attempt)
        frame = line.receive(min(talk.due_s - self._clock(), pause_s))
        if frame is not None:
            self._hear(talk, frame)
        talk.passed()

    def _say(self, talk: Conversation, line: Line) -> float:
        """Send what the message budget allows; return the seconds until it allows more."""
        while talk.outgoing or self._put_request(talk):
            wait_s = self._pace.wait_s()
            if wait_s > 0:
                return wait_s
            line.send(talk.outgoing.popleft())
            self._attempt = replace(self._attempt, signed_in=talk.signs_in)
        return math.inf

    def _put_request(self, talk: Conversation) -> bool:
        """Hand over one request of another thread; the patience for its answer begins here."""
        if self.state is not State.LIVE or not self._requests:
            return False
        request = self._requests.popleft()
        self._pending.append(request)
        request.put_into(talk)
        return True

    def _hear(self, talk: Conversation, frame: bytes) -> None:
        self.last_frame_at = self._now()
        if not frame:
            talk.heard_control_frame()
            return
        for event in talk.heard(frame):
            self.bad_frames += isinstance(event, BadFrame)
            self._on_event(event)
        self.permissions = talk.permissions

    def _fail_requests(self) -> None:
        lost = TransientError("the stream session was lost")
        for request in [*self._pending, *self._requests]:
            request.fail(lost)
        self._pending.clear()
        self._requests.clear()

    def _move(self, event: Event, why: str = "") -> None:
        self.state = next_state(self.state, event)
        try:
            self._on_state(self.state, why)
        except Exception:  # whoever is told has a fault: no reason to lose the session
            logger.exception("state of a stream session not told")


class _Request:
    """A request of another thread, and the place where its answer will be."""

    def __init__(self, method: str, params: Mapping[str, object] | None) -> None:
        self._method = method
        self._params = params
        self.answer: Future[Fields] = Future()

    def put_into(self, talk: Conversation) -> None:
        talk.ask(self._method, self._params, self.answer.set_result, self.fail)

    def fail(self, error: ExchangeError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
