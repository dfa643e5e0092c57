"""The witness: the door through which every request of ours reaches the exchange.

At each write it looks up what is committed, and how the account stands before and after. The user's own
hand goes past it.
"""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import urlsplit

from exchange.simulator.ledger import WriteRecord
from exchange.simulator.running import Simulator
from tests.exchange.simulator.calling import Rest
from tests.stateful.committed import Committed, Intent

_OWN_HEADERS: Final = {"connection", "content-length", "date", "server", "transfer-encoding"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How an account stands at the exchange, asked for past the witness."""

    trades: Mapping[str, Mapping[str, Any]]
    """The running isolated trades, by their ids."""
    cross: Mapping[str, Any]
    balance: int

    @classmethod
    def of(cls, rest: Rest) -> Self:
        return cls(
            trades={trade["id"]: trade for trade in _told(rest, "/futures/isolated/trades/running")},
            cross=_told(rest, "/futures/cross/position"),
            balance=_told(rest, "/account")["balance"],
        )


def _told(rest: Rest, path: str) -> Any:
    """Return what the exchange says, past all faults that are meant for our own reads."""
    while (reply := rest.get(path)).status != 200:
        pass
    return reply.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One write of ours on its way to the exchange."""

    at: datetime
    key: str
    method: str
    path: str
    params: Mapping[str, Any]
    intents: tuple[Intent, ...]
    """What was committed before it could arrive, and may be what it stands for."""
    record: WriteRecord | None
    """What the exchange noted; None: it never arrived there."""
    before: Standing
    after: Standing
    ambushed: bool
    """Whether somebody else acted since the decision."""

    @property
    def applied(self) -> bool:
        return self.record is not None and self.record.applied

    @property
    def intent(self) -> Intent:
        (intent,) = self.intents
        return intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One read of ours, and what came of it."""

    key: str | None
    path: str
    status: int | None
    """None where no answer came."""
    body: Any
    writes_before: int
    """How many writes had passed when it was asked."""


@dataclass(slots=True, kw_only=True)
class Ambush:
    """What happens at the door, once, when the `nth` request of its sort comes."""

    on: str
    """`read`: of positions, with the answer still at the door; `write`: with its effect done."""
    does: Callable[[], object]
    nth: int = 1
    forwards: bool = True
    """Whether a write still reaches the exchange."""
    answers: bool = True
    """Whether its answer still reaches us."""


@dataclass(slots=True, kw_only=True)
class Witness:
    """A context manager: a server on a free port of loopback that hands all on to the exchange."""

    venue: Simulator
    committed: Committed
    passages: list[Passage] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    ambush: Ambush | None = None
    ambushed: bool = False
    port: int = 0
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _server: "_Server" = field(init=False)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), type("Door", (_Door,), {"witness": self}))
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def shut(self) -> None:
        """Refuse connections from now on.

        Raises:
            BaseException: something went wrong in the witness itself.
        """
        self._server.shutdown()
        self._server.server_close()
        for failure in self._server.failures:
            raise failure

    def hand_on(self, request: "_Door") -> tuple[HTTPResponse | None, bytes]:
        """Return the exchange's answer and its body; None where there is none."""
        if request.command == "GET":
            return self._read(request)
        with self._turn:
            return self._write(request)

    def _read(self, request: "_Door") -> tuple[HTTPResponse | None, bytes]:
        path = urlsplit(request.path).path
        writes_before = len(self.passages)
        response, content = self._ask(request, b"")
        if "/time" not in path:
            self.readings.append(
                Reading(
                    key=request.headers.get("lnm-access-key"),
                    path=path,
                    status=response.status if response else None,
                    body=_json(content),
                    writes_before=writes_before,
                )
            )
        if path.endswith(("/trades/running", "/cross/position")) and self._springs("read"):
            self._spring()
        return response, content

    def _write(self, request: "_Door") -> tuple[HTTPResponse | None, bytes]:
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        url = urlsplit(request.path)
        key = request.headers.get("lnm-access-key", "")
        params = _json(body) or {}
        intents = self.committed.behind(request.command, url.path, params)
        at, before, known = datetime.now(UTC), self._standing(key), len(self.venue.writes())
        springs, ambushed = self._springs("write"), self.ambushed
        arrives = self.ambush is None or self.ambush.forwards or not springs
        response, content = self._ask(request, body) if arrives else (None, b"")
        self.passages.append(
            Passage(
                at=at,
                key=key,
                method=request.command,
                path=url.path,
                params=params,
                intents=intents,
                record=next(iter(self.venue.writes()[known:]), None),
                before=before,
                after=self._standing(key),
                ambushed=ambushed,
            )
        )
        if springs:
            self._spring()
            assert self.ambush is not None
            response = response if self.ambush.answers else None
        return response, content

    def _springs(self, on: str) -> bool:
        if self.ambush is None or self.ambush.on != on:
            return False
        self.ambush.nth -= 1
        return self.ambush.nth == 0

    def _spring(self) -> None:
        assert self.ambush is not None
        self.ambush.does()
        self.ambushed = True

    def _standing(self, key: str) -> Standing:
        (credentials,) = (
            each.credentials for each in self.venue.accounts if each.credentials.key == key
        )
        return Standing.of(Rest(self.venue.rest, credentials))

    def _ask(self, request: "_Door", body: bytes) -> tuple[HTTPResponse | None, bytes]:
        connection = HTTPConnection(urlsplit(self.venue.rest).netloc, timeout=20)
        try:
            connection.request(request.command, request.path, body or None, dict(request.headers))
            response = connection.getresponse()
            return response, response.read()
        except (OSError, HTTPException):
            return None, b""
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], door: type["_Door"]) -> None:
        super().__init__(address, door)
        self.failures: list[BaseException] = []

    def handle_error(self, *_: object) -> None:
        """Keep a failure of the witness itself, which must not pass for one of the exchange."""
        error = sys.exception()
        assert error is not None
        self.failures.append(error)


class _Door(BaseHTTPRequestHandler):
    """One connection, one request: so that a shut door refuses the very next one."""

    protocol_version = "HTTP/1.1"
    witness: Witness

    def _pass(self) -> None:
        self.close_connection = True
        response, content = self.witness.hand_on(self)
        if response is None:
            return
        with suppress(OSError):  # whoever asked has gone
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                if name.lower() not in _OWN_HEADERS:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _pass  # noqa: N815 - the names are http.server's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Say nothing."""


def _json(content: bytes) -> Any:
    try:
        return json.loads(content, parse_float=Decimal)
    except ValueError:
        return None
