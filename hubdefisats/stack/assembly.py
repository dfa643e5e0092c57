"""What belongs to a stack, and the order in which it starts and stops."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import django
import redis
from django.core.management import call_command
from django.db import connection

from hubdefisats import embedded, local, surroundings
from hubdefisats import folder as folders
from hubdefisats.process import Process
from hubdefisats.refusals import RefusalError
from hubdefisats.stack import login, programs
from hubdefisats.stack.options import Options
from hubdefisats.stack.paper import PaperExchange, paper_exchange
from hubdefisats.stack.processes import Program
from hubdefisats.stack.servers import Servers
from hubdefisats.stack.stopping import StopRequest
from hubdefisats.stack.supervisor import Supervisor
from hubdefisats.stack.terminal import Terminal

HOST: Final = "127.0.0.1"
_TASKS_IN_FLOWER: Final = 10_000
"""It keeps them in memory, 100,000 if not told: nearly a gigabyte."""


class StackError(RefusalError):
    """The stack cannot start, or cannot go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A stack whose programs are started, though not all may be ready yet."""

    supervisor: Supervisor
    servers: Servers
    paper: PaperExchange | None
    """None where the settings name a real network, or an exchange that somebody else runs."""
    web_url: str
    flower_url: str
    login: str
    """Name and password of the admin, to be shown to whoever started the stack."""
    flower_login: str

    def tend(self) -> None:
        """Keep it running; to be called often. Raises PaperExchangeError where that cannot be."""
        self.servers.tend()
        self.supervisor.tend()
        if self.paper:
            self.paper.check()


@contextmanager
def running(options: Options, terminal: Terminal, stop: StopRequest) -> Iterator[Stack]:
    """Start a stack in its data folder; stop all of it at the end of the block.

    Raises:
        RefusalError: it cannot start.
        ImproperlyConfigured, OperationalError, RedisError: what the settings name cannot be used.
        StoppedError: somebody asked to stop meanwhile.
    """
    surroundings.tidy()
    folder = local.data_folder()
    ports = {
        "web": _port(options.web_port, "WEB_PORT"),
        "flower": _port(options.flower_port, "FLOWER_PORT"),
    }
    with ExitStack() as parts:
        parts.enter_context(folders.claimed(folder))
        if left := folders.end_leftovers(folder):
            terminal.say("stack", f"ended {left} processes that a killed stack had left")
        parts.callback(folders.end_leftovers, folder)
        secrets = _kept_secrets(folder)
        paper = _paper(parts, options, terminal, stop)
        servers = Servers(folder, terminal)
        parts.callback(servers.stop)
        addresses = servers.start(secrets["REDIS_PASSWORD"], stop)
        _keep(folder, {**secrets, **addresses, **(paper.settings() if paper else {})})
        parts.callback(_forget_addresses, folder, secrets, terminal)
        stop.check()
        knows_password = _prepare(secrets["ADMIN_PASSWORD"], terminal)
        stop.check()
        if paper:
            _demo(paper)
        supervisor = Supervisor(_programs(folder, ports, secrets), terminal)
        parts.callback(supervisor.stop)
        supervisor.start()
        password = secrets["ADMIN_PASSWORD"] if knows_password else "(the password you chose)"
        yield Stack(
            supervisor=supervisor,
            servers=servers,
            paper=paper,
            web_url=f"http://{HOST}:{ports['web']}",
            flower_url=f"http://{HOST}:{ports['flower']}",
            login=f"{login.USERNAME} / {password}",
            flower_login=f"{login.USERNAME} / {secrets['FLOWER_PASSWORD']}",
        )


def _port(wanted: int, variable: str) -> int:
    """Return a port that is free now: the wanted one, or any where 0 is wanted."""
    if wanted == 0:
        return embedded.free_port()
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise StackError(
                f"Port {wanted} cannot be used ({error.strerror}): name another with `make run "
                f"{variable}={wanted + 1}`, 0 for any (--{variable.lower().replace('_', '-')})."
            ) from error
    return wanted


def _kept_secrets(folder: Path) -> dict[str, str]:
    """Return the secrets of this folder, made on its first start.

    The key with which an older version sealed stays: rows that nobody sealed anew need it.
    """
    kept = local.read(folder)
    older = {name: kept[name] for name in ("CREDENTIAL_KEYS",) if name in kept}
    return older | {name: kept.get(name, fresh) for name, fresh in local.new_secrets().items()}


def _paper(
    parts: ExitStack, options: Options, terminal: Terminal, stop: StopRequest
) -> PaperExchange | None:
    """Start the paper exchange, unless the environment says where to trade."""
    network = os.environ.get("LN_MARKETS_NETWORK") or "paper"
    if network != "paper" or os.environ.get("LN_MARKETS_API_URL"):
        return None
    terminal.say("stack", "starting the paper exchange")
    return parts.enter_context(paper_exchange(options, terminal, stop))


def _keep(folder: Path, values: Mapping[str, str]) -> None:
    try:
        local.write(folder, values)
    except OSError as error:
        raise folders.unusable(folder, error) from error


def _forget_addresses(folder: Path, secrets: Mapping[str, str], terminal: Terminal) -> None:
    """Keep the secrets alone: where the parts of a stack were is of no use to anybody after it."""
    try:
        local.write(folder, secrets)
    except OSError as error:  # a full disk must keep nothing from being stopped
        terminal.say("stack", f"{folder / 'local.json'} stays as it is ({error.strerror})")


def _prepare(admin_password: str, terminal: Terminal) -> bool:
    """Check that the services answer, and bring the record up to date.

    The settings are read here for the first time, when all they need is known.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = "hubdefisats.settings"
    django.setup()
    from django.conf import settings  # noqa: PLC0415 - see above

    with redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=5) as client:
        client.ping()
    connection.ensure_connection()
    terminal.say("stack", "bringing the database up to date")
    call_command("migrate", verbosity=0, interactive=False)
    knows_password = login.ensure_admin(admin_password)
    connection.close()
    return knows_password


def _demo(paper: PaperExchange) -> None:
    """Give the paper exchange's accounts to a demo owner, with positions and guards."""
    done = subprocess.run(
        [sys.executable, "manage.py", "demo"],
        cwd=local.BASE_DIR,
        input=paper.first_line,
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip() or "it did not say why").splitlines()[-1]
        raise StackError(f"The demo cannot be set up: {last}")


def _programs(folder: Path, ports: dict[str, int], secrets: dict[str, str]) -> list[Program]:
    marks = {**folders.marked(folder), "HUBDEFISATS_DATA": str(folder)}
    web = (sys.executable, "-m", "uvicorn", "hubdefisats.asgi:application", "--lifespan", "off")
    flower = (
        *(*programs.CELERY, "flower", f"--address={HOST}", f"--port={ports['flower']}"),
        f"--max_tasks={_TASKS_IN_FLOWER}",
    )
    return [
        Program(
            name="web",
            command=(
                *web,
                "--host",
                HOST,
                "--port",
                str(ports["web"]),
                "--timeout-graceful-shutdown",
                "4",
            ),
            variables=marks | programs.known_as(Process.WEB),
        ),
        Program(
            name="flower",
            command=flower,
            # By a variable, since arguments are shown to the whole machine.
            variables=marks
            | programs.known_as(Process.FLOWER)
            | {"FLOWER_BASIC_AUTH": f"{login.USERNAME}:{secrets['FLOWER_PASSWORD']}"},
        ),
        *(
            replace(program, variables={**marks, **program.variables})
            for program in (*programs.urgent(), programs.WORKER, programs.BEAT, programs.STREAM)
        ),
    ]
