"""The sockets of the paper exchange: REST and stream on one port, control on another, one loop."""

import asyncio
import contextlib
import socket
from typing import Final

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from exchange.simulator import control
from exchange.simulator.paper import Paper
from exchange.simulator.prices import feed
from exchange.simulator.rest.door import RestDoor
from exchange.simulator.settings import Settings
from exchange.simulator.stream.door import MOST_BYTES, Lobby, StreamDoor

CONTROL_HOST: Final = "127.0.0.1"
TICKER_EVERY_S: Final = 1.0


class PortTaken(Exception):  # noqa: N818 - one sentence for the person who chose the address
    """The address cannot be listened on; the message names it and says why."""


class Server:
    """Everything that listens. Made, started and stopped on one running loop."""

    def __init__(self, settings: Settings) -> None:
        self._feed = feed.chosen(settings)
        self.paper = Paper(settings)
        self._settings = settings
        self._lobby = Lobby(settings.limits)
        self._doors: list[HTTPServer] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Listen, then let the prices run; `PortTaken` where an address cannot be had."""
        settings = self._settings
        port = self._listen(self._public(), settings.host, settings.port)
        control_port = self._listen(self._control(), CONTROL_HOST, settings.control_port)
        self.rest = f"http://{_address(settings.host)}:{port}/v3"
        self.stream = f"ws://{_address(settings.host)}:{port}/v1"
        self.control = f"http://{CONTROL_HOST}:{control_port}"
        self._tasks.append(asyncio.create_task(self._every_second()))
        if self._feed is not None:
            self._tasks.append(asyncio.create_task(self._feed.run(self.paper.move)))

    def cut_streams(self) -> None:
        """End every stream connection without a farewell."""
        self._lobby.cut_all()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._lobby.close_all()
        for door in self._doors:
            door.stop()
            await door.close_all_connections()

    def _listen(self, application: Application, host: str, port: int) -> int:
        try:
            sockets = bind_sockets(port, host, family=socket.AF_INET)
        except OSError as error:
            raise PortTaken(f"Cannot listen on {host}:{port}: {error.strerror}.") from None
        door = HTTPServer(application)
        door.add_sockets(sockets)
        self._doors.append(door)
        bound: int = sockets[0].getsockname()[1]
        return bound

    def _public(self) -> Application:
        return Application(
            [
                ("/v1", StreamDoor, {"paper": self.paper, "lobby": self._lobby}),
                (".*", RestDoor, {"paper": self.paper}),
            ],
            log_function=_log_nothing,
            websocket_max_message_size=MOST_BYTES,
        )

    def _control(self) -> Application:
        arguments = {"paper": self.paper}
        return Application(
            [
                ("/ledger", control.LedgerDoor, arguments),
                ("/ticks", control.TicksDoor, arguments),
                ("/price", control.PriceDoor, arguments),
                ("/funding", control.FundingDoor, arguments),
                ("/deposit", control.DepositDoor, arguments),
                ("/announcement", control.AnnouncementDoor, arguments),
                ("/faults", control.FaultsDoor, arguments),
            ],
            log_function=_log_nothing,
        )

    async def _every_second(self) -> None:
        while True:
            await asyncio.sleep(TICKER_EVERY_S)
            self.paper.every_second()
            self._lobby.close_idle(self.paper.moment().monotonic_s)


def _address(host: str) -> str:
    """Return where clients on this machine reach a host that may mean every interface."""
    return "127.0.0.1" if host in {"", "0.0.0.0"} else host  # noqa: S104 - compared, not bound


def _log_nothing(_request: object) -> None:
    """A line per request would drown the noteworthy ones."""
