"""The socket side of the stream: connections, their limits, their end."""

import asyncio
import logging
from typing import Final

from tornado.ioloop import IOLoop
from tornado.iostream import IOStream
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from exchange.simulator.paper import Paper
from exchange.simulator.settings import Limits
from exchange.simulator.windows import Windows

logger = logging.getLogger(__name__)

POLICY_VIOLATION: Final = 1008
GOING_AWAY: Final = 1001
FAREWELL_S: Final = 0.5


class Lobby:
    """Every open connection, and the limits on them per IP."""

    def __init__(self, limits: Limits | None) -> None:
        self._limits = limits
        self._new = Windows(limits.new_connections) if limits else None
        self.connections: dict[StreamDoor, None] = {}

    def admits(self, ip: str, now_s: float) -> bool:
        if self._limits is None or self._new is None:
            return True
        standing = sum(door.admitted and door.ip == ip for door in self.connections)
        if standing >= self._limits.connections:
            return False
        return self._new.take(ip, now_s)

    def close_idle(self, now_s: float) -> None:
        if self._limits is not None:
            for door in list(self.connections):
                if now_s - door.heard_at_s > self._limits.idle_s:
                    door.close(POLICY_VIOLATION, "idle")

    def of(self, key: str | None) -> list["StreamDoor"]:
        """Return the connections that have proven an API key, or all without one."""
        return [door for door in self.connections if key in {None, door.key}]

    def cut(self, key: str | None = None) -> None:
        """End connections at once, without a farewell."""
        for door in self.of(key):
            door.cut()

    async def close_all(self) -> None:
        """Say goodbye to every client, and wait a moment for each to answer."""
        for door in list(self.connections):
            door.close(GOING_AWAY, "going away")
        end_s = asyncio.get_running_loop().time() + FAREWELL_S
        while self.connections and asyncio.get_running_loop().time() < end_s:
            await asyncio.sleep(0.01)
        self.cut()
        # The streams tell of their own end in the loop's next round.
        await asyncio.sleep(0)


class StreamDoor(WebSocketHandler):
    """One connection."""

    def initialize(self, paper: Paper, lobby: Lobby) -> None:
        self._paper = paper
        self._lobby = lobby
        self.ip = self.request.remote_ip or ""
        self._session = paper.session(self.ip, self)
        self.heard_at_s = paper.moment().monotonic_s
        self.admitted = False
        self._silent = False

    def check_origin(self, origin: str) -> bool:  # noqa: ARG002 - tornado's own signature
        """Let everyone in: programs send whatever origin they like, and no cookie is at stake."""
        return True

    def open(self, *_args: str, **_kwargs: str) -> None:
        assert self.ws_connection is not None
        assert self.ws_connection.stream is not None
        # Kept, for tornado forgets it as soon as a farewell was said.
        self._wire: IOStream = self.ws_connection.stream
        self.admitted = self._lobby.admits(self.ip, self.heard_at_s)
        self._lobby.connections[self] = None
        if self.admitted:
            self.set_nodelay(value=True)
        else:
            logger.info("a stream connection of %s is one too many", self.ip)
            self.close(POLICY_VIOLATION, "too many connections")

    def on_message(self, message: str | bytes) -> None:
        moment = self._paper.moment()
        self.heard_at_s = moment.monotonic_s
        if self.admitted:
            self.push(self._session.answer(message, moment))

    def on_ping(self, data: bytes) -> None:  # noqa: ARG002 - tornado's own signature
        self.heard_at_s = self._paper.moment().monotonic_s

    def on_close(self) -> None:
        self._lobby.connections.pop(self, None)
        self._session.end()

    @property
    def key(self) -> str | None:
        account = self._session.account
        return account.identity.credentials.key if account else None

    def go_silent(self) -> None:
        """Never read or write again, as when the machine behind a live socket has gone."""
        self._silent = True
        IOLoop.current().remove_handler(self._wire.fileno())

    def cut(self) -> None:
        """End the connection without a farewell."""
        self._wire.close()

    def push(self, text: str) -> None:
        """Send a text frame; a connection that is closing hears nothing more."""
        if self._silent:
            return
        try:
            self.write_message(text)
        except WebSocketClosedError:
            self._session.leave()
