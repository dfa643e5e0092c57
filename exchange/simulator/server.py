"""The sockets of the paper exchange: REST and stream on one port, control on another, one loop."""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Coroutine
from typing import Final

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from exchange.simulator import control
from exchange.simulator.certificate import Certificate
from exchange.simulator.faults import ACTS, Fault, Kind
from exchange.simulator.paper import Paper
from exchange.simulator.prices import feed
from exchange.simulator.prices.feed import Feed
from exchange.simulator.prices.live import LiveFeed
from exchange.simulator.rest.door import RestDoor
from exchange.simulator.settings import Settings
from exchange.simulator.stream.door import Lobby, StreamDoor

logger = logging.getLogger(__name__)

CONTROL_HOST: Final = "127.0.0.1"
EVERY_S: Final = 1.0


class PortTaken(Exception):  # noqa: N818 - one sentence for the person who chose the address
    """The address cannot be listened on; the message names it and says why."""


class Entrance:
    """One address and what answers there; it can be shut and opened again."""

    def __init__(
        self, application: Application, host: str, port: int, tls: ssl.SSLContext | None = None
    ) -> None:
        self._application = application
        self._tls = tls
        self._servers: list[HTTPServer] = []
        self._host = host
        self.port = port

    def open(self) -> None:
        try:
            sockets = bind_sockets(self.port, self._host, family=socket.AF_INET)
        except OSError as error:
            raise PortTaken(f"Cannot listen on {self._host}:{self.port}: {error.strerror}.") from None
        # A server that was stopped cannot be started again, so each opening has its own.
        self._servers.append(HTTPServer(self._application, ssl_options=self._tls))
        self._servers[-1].add_sockets(sockets)
        self.port = sockets[0].getsockname()[1]

    def shut(self) -> None:
        """Refuse new connections; those that stand go on."""
        for server in self._servers:
            server.stop()

    async def leave(self) -> None:
        self.shut()
        for server in self._servers:
            await server.close_all_connections()


class Server:
    """Everything that listens. Made, started and stopped on one running loop.

    Args:
        prices: where they come from, if not from what the settings say.
    """

    def __init__(self, settings: Settings, prices: Feed | LiveFeed | None = None) -> None:
        self._feed = prices or feed.chosen(settings)
        self.certificate = Certificate(settings.host) if settings.tls else None
        self.paper = Paper(settings)
        self._settings = settings
        self._lobby = Lobby(settings.limits)
        tls = self.certificate.context() if self.certificate else None
        self._public = Entrance(self._public_doors(), settings.host, settings.port, tls)
        self._control = Entrance(self._control_doors(), CONTROL_HOST, settings.control_port)
        self._tasks: list[asyncio.Task[None]] = []
        self.over = asyncio.Event()
        """Set by whoever wants it to stop, and by itself where its own work has failed."""
        self._failure: BaseException | None = None
        self._reopening: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Listen, then let the prices run.

        Raises:
            PortTaken: an address cannot be had.
            Unreachable: the prices are to come from a place that does not answer.
        """
        try:
            if self._feed is not None and (first := await self._feed.open()) is not None:
                self.paper.open_at(first)
            self._public.open()
            self._control.open()
        except BaseException:
            await self.stop()
            raise
        self._run(self._every_second())
        if self._feed is not None:
            self._run(self._feed.run(self.paper.move))

    @property
    def rest(self) -> str:
        return f"{'https' if self.certificate else 'http'}://{self._address}/v3"

    @property
    def stream(self) -> str:
        return f"{'wss' if self.certificate else 'ws'}://{self._address}/v1"

    @property
    def control(self) -> str:
        return f"http://{CONTROL_HOST}:{self._control.port}"

    def streams(self) -> Counter[str]:
        """Return how many open stream connections have proven each API key."""
        return Counter(door.key for door in self._lobby.connections if door.key)

    def order(self, fault: Fault) -> None:
        """Do at once what is an act; let the other faults wait for what they hit."""
        logger.info("fault ordered: %s", fault.kind)
        if fault.kind not in ACTS:
            self.paper.faults.add(fault)
        elif fault.kind is Kind.CUT:
            self._lobby.cut(fault.account)
        elif fault.kind is Kind.HALF_OPEN:
            for door in self._lobby.of(fault.account):
                door.go_silent()
        else:
            self._refuse(fault.ms)

    def begin(self) -> float | None:
        """Let prices run that were to wait; return in how many seconds the deepest fall is over.

        None where nobody knows: prices that come from people or from the real exchange.
        """
        if not isinstance(self._feed, Feed):
            return None
        self._feed.begin()
        return self._feed.fall_over_s

    def end_faults(self) -> None:
        """Let no fault wait any longer, and let everyone in again."""
        self.paper.faults.clear()
        self._let_in()

    async def stop(self) -> None:
        """Leave every socket; raises what made it stop, where that was a failure of its own."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._feed is not None:
            self._feed.close()
        if self._reopening is not None:
            self._reopening.cancel()
        await self._lobby.close_all()
        for entrance in (self._public, self._control):
            await entrance.leave()
        if self.certificate is not None:
            self.certificate.remove()
        if self._failure is not None:
            raise self._failure

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self.over.set()

    @property
    def _address(self) -> str:
        """Where clients on this machine reach a host that may mean every interface."""
        every = {"", "0.0.0.0"}  # noqa: S104 - compared, not bound
        host = CONTROL_HOST if self._settings.host in every else self._settings.host
        return f"{host}:{self._public.port}"

    def _refuse(self, for_ms: int) -> None:
        self._let_in()
        self._public.shut()
        loop = asyncio.get_running_loop()
        self._reopening = loop.call_later(for_ms / 1000, self._let_in)

    def _let_in(self) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
            self._public.open()

    def _public_doors(self) -> Application:
        return Application(
            [
                ("/v1", StreamDoor, {"paper": self.paper, "lobby": self._lobby}),
                (".*", RestDoor, {"paper": self.paper}),
            ],
            log_function=_log_nothing,
            websocket_max_message_size=self._settings.most_message_bytes,
        )

    def _control_doors(self) -> Application:
        given = {
            "paper": self.paper,
            "order": self.order,
            "end_faults": self.end_faults,
            "begin": self.begin,
        }
        return Application(
            [(path, door, given) for path, door in control.DOORS.items()],
            log_function=_log_nothing,
        )

    async def _every_second(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            self.paper.every_second()
            self._lobby.close_idle(self.paper.moment().monotonic_s)


def _log_nothing(_request: object) -> None:
    """A line per request would drown the noteworthy ones."""
