"""A running server that is embedded: a child of ours, or one that a killed stack left."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import psutil

from hubdefisats import surroundings
from hubdefisats.folder import is_alive
from hubdefisats.refusals import RefusalError

_LONGEST_LOG: Final = 10_000_000
_REASON_WITHIN: Final = 8_000
"""In so many last bytes of a log stands why its server ended."""


class EmbeddedServiceError(RefusalError):
    """A service did not start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody other than root, as whom a server is started that refuses to run as root."""

    user: int
    group: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a server is started. Its environment is this one alone."""

    command: Sequence[str]
    environment: Mapping[str, str]
    cwd: Path
    log: Path
    tells_why: Sequence[str]
    """A line of its log that holds one of these says why it ended."""
    stop_signal: signal.Signals = signal.SIGTERM
    account: Account | None = None
    """None: the user who starts it."""
    standard_input: str = field(default="", repr=False)


class Server(Protocol):
    """A server that can be started, and started again at the same address."""

    @property
    def name(self) -> str: ...

    @property
    def url(self) -> str:
        """Return where it is, once it is prepared."""

    @property
    def while_away(self) -> str:
        """Return what people must know where it cannot be started: what that means, where to look."""

    def prepare(self) -> None:
        """Do what it needs once, before its first start.

        Raises:
            EmbeddedServiceError: it cannot run here.
        """

    def start(self) -> "ServerProcess":
        """Start it, without waiting until it answers. Raises OSError where that cannot be."""

    def is_ready(self) -> bool:
        """Return whether it answers at its address."""

    def forget(self) -> None:
        """Remove what it laid elsewhere, after its end."""

    def refusal(self, why: str) -> EmbeddedServiceError:
        """Return what to say where it does not start."""


class ServerProcess:
    """A started server."""

    def __init__(self, process: psutil.Process, launch: Launch, *, log_began_at: int) -> None:
        self._process = process
        self._launch = launch
        self._log_began_at = log_began_at

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def ending(self) -> str | None:
        """Return how it ended, in words; None while it runs."""
        if is_alive(self._process):
            return None
        status = None
        with suppress(psutil.TimeoutExpired):
            status = self._process.wait(0.1)  # for a child of ours, which is then gone for good
        if status is None:
            return "ended"
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        why = self.why()
        return f"ended with status {int(status)}" + (f" ({why})" if why else "")

    def why(self) -> str:
        """Return the last line of its log, since it was started, that says why it cannot run."""
        with suppress(OSError), self._launch.log.open("rb") as log:
            log.seek(max(self._log_began_at, log_size(self._launch.log) - _REASON_WITHIN))
            for line in reversed(log.read().decode(errors="replace").splitlines()):
                for word in self._launch.tells_why:
                    if word in line:
                        return line.partition(word)[2].strip()
        return ""

    def ask_to_end(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self._process.send_signal(self._launch.stop_signal)

    def end_within(self, seconds: float) -> bool:
        """Wait for it, then kill it; return whether it ended by itself."""
        try:
            self._process.wait(max(0.0, seconds))
        except psutil.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        return True


def launched(launch: Launch) -> ServerProcess:
    """Start a server. Raises OSError."""
    if log_size(launch.log) > _LONGEST_LOG:
        launch.log.replace(launch.log.with_name(f"{launch.log.name}.old"))
    began_at = log_size(launch.log)
    with launch.log.open("ab") as log:
        process = psutil.Popen(
            launch.command,
            env=launch.environment,
            cwd=launch.cwd,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # A session of its own keeps the terminal's Ctrl-C from stopping it before its users.
            start_new_session=True,
            **_becoming(launch.account),
        )
    with suppress(BrokenPipeError), process.stdin as pipe:  # it may have ended already
        pipe.write(launch.standard_input.encode())
    return ServerProcess(process, launch, log_began_at=began_at)


def finished(
    command: Sequence[str], *, account: Account | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, in a bare environment. Raises OSError where it cannot be started."""
    return subprocess.run(  # noqa: S603 - programs found by ourselves
        command,
        env=surroundings.bare(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        **_becoming(account),
    )


def words_of(error: OSError) -> str:
    """Return what the system says, and about what."""
    about = error.filename2 or error.filename
    return f"{error.strerror or error}: {about}" if about else str(error.strerror or error)


def log_size(log: Path) -> int:
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def _becoming(account: Account | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account.user, "group": account.group, "extra_groups": []}
