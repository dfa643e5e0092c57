"""How one request travels: its turn, its signature, its connection, its repetition."""

import logging
import random
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_hex
from typing import Final, SupportsFloat, TypeVar
from urllib.parse import urlencode

import requests

from exchange.auth import Credentials, rest_headers
from exchange.config import Endpoints, Retries, Timeouts
from exchange.connections import Connections
from exchange.errors import (
    ExchangeError,
    OperatorNeededError,
    TransientError,
    UnknownOutcomeError,
)
from exchange.failures import NETWORK_FAILURES, refused, retry_after_s, told_per_s, unanswered
from exchange.fields import Fields, parse, to_ms
from exchange.paging import Span, collect, page_of
from exchange.ratelimit import NOT_URGENT, ORDINARY, RENEWED_S, Limiter, Scope, Waiter
from exchange.rows import Rows
from exchange.serverclock import ServerClock
from exchange.wire import server_time

logger = logging.getLogger(__name__)

Value = TypeVar("Value")
Item = TypeVar("Item")
Reader = Callable[[object, str], Value]
"""Makes a value of a JSON document; the text says where it came from."""

VERSION_PATH: Final = "/v3"
_CLOCK_DOUBT_S: Final = 30.0
_TURN_KEPT_S: Final = 1.0
"""Whoever took a turn and sends nothing for so long has lost it."""
_PIECE: Final = 2**16
_LARGEST_ANSWER: Final = 2**24


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request before it is signed."""

    method: str
    path: str
    scope: Scope
    query: str = ""
    """With its `?`, encoded; empty where there is none."""
    body: str | None = None
    urgency: float | None = None
    """As of `exchange.ratelimit.Waiter`: None for an ordinary call."""

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def protective(self) -> bool:
        return self.urgency is not None

    @property
    def where(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes


class _Turn(threading.local):
    """The turn that a thread took ahead of its request."""

    until_s: float = float("-inf")
    waits_as: str | None = None
    """The name under which it stands in front of all others."""


class Transport:
    """The way to one exchange with at most one key.

    Args:
        limiter: asked for a slot before each request.
        server_clock: shared by all transports to the same exchange.
        retries: how reads are repeated.
        connections: shared with other keys; None: of its own.
        clock: returns seconds from any fixed start, never going back.
        sleep: waits that many seconds.
        chance: returns a number in [0, 1).
    """

    def __init__(
        self,
        endpoints: Endpoints,
        credentials: Credentials | None,
        *,
        timeouts: Timeouts,
        limiter: Limiter,
        server_clock: ServerClock,
        retries: Retries,
        connections: Connections | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._address = endpoints.api_url.rstrip("/")
        self._credentials = credentials
        self._timeouts = timeouts
        self._limiter = limiter
        self._server_clock = server_clock
        self._retries = retries
        self._clock = clock
        self._sleep = sleep
        self._chance = chance
        self._shares_connections = connections is not None
        self._connections = connections or Connections(endpoints, idle_s=timeouts.idle_s)
        self._doubted_s = float("-inf")
        self._turn = _Turn()
        self._owners = {Scope.PUBLIC: self._address, Scope.PRIVATE: _owner(credentials)}

    def take_turn(self, urgency: SupportsFloat) -> bool:
        """Take the turn of this thread's next protective request, if free; it is kept a moment."""
        waiter = Waiter(urgency=float(urgency), name=self._turn.waits_as or token_hex(8))
        self._turn.waits_as = None
        if self._limiter.wait_s(Scope.PRIVATE, self._owners[Scope.PRIVATE], waiter) > 0:
            return False
        self._turn.until_s = self._clock() + _TURN_KEPT_S
        return True

    def await_turn(self, urgency: Callable[[], SupportsFloat]) -> None:
        """Wait until this thread may take the turn of a protective request; nobody else does then.

        `urgency` is asked again while it waits: the price goes on, and the most urgent goes first.

        Raises:
            TransientError: it would come too late.
        """
        name = token_hex(8)
        self._wait(
            Scope.PRIVATE,
            lambda: Waiter(urgency=float(urgency()), name=name, takes=False),
            what="A protective request",
        )
        self._turn.waits_as = name

    def leave_turn(self) -> None:
        """Let others have the turn that this thread waited for, if it has not taken it."""
        if self._turn.waits_as is not None:
            waiter = Waiter(urgency=0.0, name=self._turn.waits_as, takes=False)
            self._turn.waits_as = None
            self._limiter.wait_s(Scope.PRIVATE, self._owners[Scope.PRIVATE], waiter)

    def close(self) -> None:
        """Give back connections of its own; those that are shared are not its to close."""
        if not self._shares_connections:
            self._connections.close()

    def get(
        self,
        path: str,
        reader: Reader[Value],
        *,
        scope: Scope,
        query: Mapping[str, str] | None = None,
        urgency: SupportsFloat | None = None,
    ) -> Value:
        """Read, and read again where that may help; `urgency` is for what a protective write needs.

        Raises:
            TransientError, RejectedError, OperatorNeededError
        """
        call = Call(
            method="GET",
            path=path,
            scope=scope,
            query=_query_text(query),
            urgency=None if urgency is None else _urgency(urgency),
        )
        for attempt in range(1, self._retries.attempts):
            try:
                return self._once(call, reader)
            except TransientError as error:
                delay_s = self._delay_s(attempt, error.after_s)
                if delay_s > self._retries.most_s:
                    raise
                self._sleep(delay_s)
        return self._once(call, reader)

    def pages(
        self,
        path: str,
        item: Callable[[Fields], Item],
        span: Span,
        *,
        scope: Scope,
        key: Callable[[Item], Hashable],
        query: Mapping[str, str] | None = None,
    ) -> Rows[Item]:
        """Read a list page by page, newest first; `key` tells an item that came on two pages."""
        fixed = dict(query or {})
        return collect(
            lambda asked: self.get(path, page_of(item), scope=scope, query=fixed | asked),
            span,
            key=key,
        )

    def write(
        self,
        method: str,
        path: str,
        reader: Reader[Value],
        *,
        body: str | None = None,
        query: Mapping[str, str] | None = None,
        protective: bool = False,
        urgency: SupportsFloat | None = None,
    ) -> Value:
        """Send once. What is protective, for it cuts risk, goes before all that is not.

        Of several protective ones that with the smallest `urgency` goes first, such as how far
        liquidation is; None comes last among them.

        Raises:
            TransientError, RejectedError, UnknownOutcomeError, OperatorNeededError
        """
        call = Call(
            method=method,
            path=path,
            scope=Scope.PRIVATE,
            query=_query_text(query),
            body=body,
            urgency=_urgency(urgency) if protective else None,
        )
        return self._once(call, reader)

    def measure_clock(self) -> None:
        """Take the exchange's time now, waiting for a slot."""
        self._server_clock.measure(lambda: to_ms(self.get("/time", server_time, scope=Scope.PUBLIC)))

    def _once(self, call: Call, reader: Reader[Value]) -> Value:
        answer = self._exchange(call)
        if answer.status == 401 and self._clock_was_wrong(call):
            answer = self._exchange(call)
        if not 200 <= answer.status < 300:
            raise self._refusal(call, answer)
        if call.protective:
            self._limiter.release(call.scope, self._owners[call.scope])
        try:
            return reader(parse(answer.content, call.where), call.where)
        except OperatorNeededError as error:
            if call.writes:
                # A success we cannot read has happened: it must not pass for "not sent".
                raise UnknownOutcomeError(f"{error}; it may have been done") from error
            raise

    def _exchange(self, call: Call) -> _Answer:
        self._wait_for_turn(call)
        self._keep_clock(call)
        return self._send(call)

    def _send(self, call: Call) -> _Answer:
        path = VERSION_PATH + call.path
        headers = self._headers(call, path)
        body = None if call.body is None else call.body.encode("ascii")
        try:
            with self._connections.send(
                call.method, path + call.query, headers=headers, body=body, timeouts=self._timeouts
            ) as response:
                content = self._content(response)
        except NETWORK_FAILURES as error:
            # `from None`: the cause holds the request, and with it the key and its passphrase.
            raise unanswered(
                error, where=call.where, address=self._address, writes=call.writes
            ) from None
        if (told := told_per_s(response.raw.headers)) is not None:
            self._limiter.heed(call.scope, self._owners[call.scope], per_s=told)
        return _Answer(status=response.status_code, headers=response.raw.headers, content=content)

    def _content(self, response: requests.Response) -> bytes:
        """Return the body. The timeout is for each piece: one that drips on must end as well."""
        content, ends_s = b"", self._clock() + self._timeouts.read_s
        while piece := response.raw.read1(_PIECE, decode_content=True):
            content += piece
            if self._clock() > ends_s or len(content) > _LARGEST_ANSWER:
                raise requests.ReadTimeout("the answer does not end")
        return content

    def _headers(self, call: Call, path: str) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "hubdefisats"}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        return headers | self._signature(call, path) if call.scope is Scope.PRIVATE else headers

    def _signature(self, call: Call, path: str) -> dict[str, str]:
        if self._credentials is None:
            raise OperatorNeededError(f"{call.where} needs an API key and none is given")
        return rest_headers(
            self._credentials,
            timestamp_ms=self._server_clock.now_ms(),
            method=call.method,
            path=path,
            data=call.query + (call.body or ""),
        )

    def _refusal(self, call: Call, answer: _Answer) -> ExchangeError:
        now_s = self._server_clock.now_ms() / 1000
        if answer.status == 429:
            after_s = retry_after_s(answer.headers, now_s=now_s)
            self._limiter.hold(call.scope, self._owners[call.scope], after_s=after_s)
        return refused(
            answer.status,
            headers=answer.headers,
            content=answer.content,
            where=call.where,
            writes=call.writes,
            protective=call.protective,
            now_s=now_s,
        )

    def _wait_for_turn(self, call: Call) -> None:
        waiter = _waiter(call)
        if call.scope is Scope.PRIVATE and waiter.protective and self._turn.until_s > self._clock():
            self._turn.until_s = float("-inf")
            return
        self._wait(call.scope, lambda: waiter, what=call.where)

    def _wait(self, scope: Scope, who: Callable[[], Waiter], *, what: str) -> None:
        latest = self._clock() + self._timeouts.turn_s
        while True:
            within_s, waiter = latest - self._clock(), who()
            wait_s = self._limiter.wait_s(scope, self._owners[scope], waiter, within_s=within_s)
            if wait_s <= 0:
                return
            if wait_s > within_s:
                raise TransientError(f"{what} was not sent: the rate limit is used up", after_s=wait_s)
            self._sleep(min(wait_s, RENEWED_S) if waiter.protective else wait_s)

    def _delay_s(self, attempt: int, after_s: float) -> float:
        backoff_s: float = self._retries.first_s * 2 ** (attempt - 1) * (0.5 + self._chance() / 2)
        return max(backoff_s, after_s)

    def _keep_clock(self, call: Call) -> None:
        """Measure from time to time; a write does not wait for it, a refused signature does."""
        if call.scope is Scope.PRIVATE and not call.writes and not self._server_clock.fresh:
            self._measure_if_free()

    def _clock_was_wrong(self, call: Call) -> bool:
        """After a refused signature: whether a fresh look at the clock gives reason to try again."""
        doubted_s, now_s = self._doubted_s, self._clock()
        if call.scope is Scope.PUBLIC or now_s - doubted_s < _CLOCK_DOUBT_S:
            return False
        self._doubted_s = now_s
        return self._measure_if_free()

    def _measure_if_free(self) -> bool:
        """Measure unless the rate limit or the exchange is in the way; return whether it moved."""
        if self._limiter.wait_s(Scope.PUBLIC, self._owners[Scope.PUBLIC]) > 0:
            return False
        call = Call(method="GET", path="/time", scope=Scope.PUBLIC)
        try:
            moved = self._server_clock.measure(lambda: self._asked_time_ms(call))
        except ExchangeError as error:
            logger.warning("exchange clock not measured", extra={"why": str(error)})
            return False
        if moved:
            logger.warning(
                "our clock differs from the exchange's",
                extra={"offset_ms": self._server_clock.offset_ms},
            )
        return moved

    def _asked_time_ms(self, call: Call) -> int:
        answer = self._send(call)
        if answer.status != 200:
            raise self._refusal(call, answer)
        return to_ms(server_time(parse(answer.content, call.where), call.where))


def _owner(credentials: Credentials | None) -> str:
    """Return a name for the key that does not show it."""
    return sha256(credentials.key.encode()).hexdigest()[:16] if credentials else "nobody"


def _urgency(urgency: SupportsFloat | None) -> float:
    return NOT_URGENT if urgency is None else float(urgency)


def _waiter(call: Call) -> Waiter:
    if call.urgency is None:
        return ORDINARY
    return Waiter(urgency=call.urgency, name=token_hex(8))


def _query_text(query: Mapping[str, str] | None) -> str:
    return f"?{urlencode(query)}" if query else ""
