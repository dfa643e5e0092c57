"""PostgreSQL and Redis of a stack: started where the environment names none, kept running since."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hubdefisats import embedded
from hubdefisats.stack.disk import Disk
from hubdefisats.stack.stopping import StopRequest
from hubdefisats.stack.supervisor import Supervisor
from hubdefisats.stack.terminal import Terminal

_STOP_WITHIN_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class _Supervised:
    """A server as the supervisor knows what it keeps; its words go into its own log."""

    server: embedded.Server

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def while_away(self) -> str:
        return self.server.while_away

    def start(self, _: Terminal) -> embedded.ServerProcess:
        return self.server.start()


class Servers:
    """The servers that came along."""

    def __init__(
        self, folder: Path, terminal: Terminal, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._terminal = terminal
        self._clock = clock
        self._supervisor = Supervisor([], terminal, clock=clock)
        self._servers: list[embedded.Server] = []
        self._disk: Disk | None = None

    def start(self, redis_password: str, stop: StopRequest) -> Mapping[str, str]:
        """Start what the environment does not name; return where that is, by variable.

        Raises:
            EmbeddedServiceError: it cannot start here.
            StoppedError: somebody asked to stop meanwhile.
        """
        found = {}
        if not os.environ.get("DATABASE_URL"):
            postgres = embedded.Postgres(self._folder / "postgres")
            self._begin(postgres, "PostgreSQL", stop)
            if postgres.is_elsewhere:
                self._terminal.say("stack", postgres.is_elsewhere)
            postgres.create_database()
            found["DATABASE_URL"] = postgres.url
            self._disk = Disk(self._folder / "postgres", self._terminal, clock=self._clock)
        if not os.environ.get("REDIS_URL"):
            redis = embedded.Redis(self._folder, redis_password)
            self._begin(redis, "Redis", stop)
            found["REDIS_URL"] = redis.url
        return found

    def tend(self) -> None:
        """Start again what ended; to be called often."""
        disk = self._disk
        if disk and disk.tend():
            self._supervisor.hurry()
        self._supervisor.tend(quietly=bool(disk and disk.is_full))

    def stop(self) -> None:
        self._supervisor.stop(within_s=_STOP_WITHIN_S)
        for server in self._servers:
            server.forget()

    def pids(self) -> dict[str, int]:
        """Return the processes that run now, by name."""
        return self._supervisor.pids()

    def _begin(self, server: embedded.Server, name: str, stop: StopRequest) -> None:
        self._terminal.say("stack", f"starting {name}")
        process = embedded.first_start(server, pause=stop.pause)
        self._servers.append(server)
        self._supervisor.take_over(_Supervised(server), process)
