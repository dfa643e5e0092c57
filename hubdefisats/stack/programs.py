"""The platform's long-lived programs, for all who start them: the stack, flow tests, benchmarks."""

import os
import sys
from typing import Final

from hubdefisats.env import Environment
from hubdefisats.process import Process
from hubdefisats.stack.processes import Program
from hubdefisats.stack.secrets import withheld

CELERY: Final = (sys.executable, "-m", "celery", "--quiet", "-A", "hubdefisats")
_ALONE: Final = ("--without-gossip", "--without-mingle")
"""Workers need not hear of each other."""
_LONG_LIVED: Final = {"DATABASE_MAX_AGE_S": "600", "DATABASE_STATEMENT_S": "20"}
"""For those whose threads stay: they keep their database connections, and no statement keeps them."""


def known_as(process: Process) -> dict[str, str]:
    """Return the variables that tell a program what it is, and take others' secrets from it."""
    return dict.fromkeys(withheld(process), "") | {"PROCESS": process.value}


def urgent() -> tuple[Program, ...]:
    """Return the processes that save positions; their threads mostly wait for the exchange.

    They take all messages at once: Celery's threads otherwise wait for the event loop's next turn at
    the limit.

    Raises:
        ImproperlyConfigured: the environment gives no usable number of them.
    """
    environment = Environment(os.environ)
    processes = environment.integer("URGENT_PROCESSES", default=2, least=1)
    threads = environment.integer("URGENT_CONCURRENCY", default=16, least=1)
    return tuple(_urgent(f"urgent-{number + 1}", threads) for number in range(processes))


def _urgent(name: str, threads: int) -> Program:
    return Program(
        name=name,
        command=(
            *CELERY, "worker", "--hostname", f"{name}@%h", "--queues", "urgent",
            "--prefetch-multiplier", "0", *_ALONE,
        ),
        variables=_LONG_LIVED | known_as(Process.URGENT) | {"WORKER_CONCURRENCY": str(threads)},
    )  # fmt: skip


# All else yields the processor to them: what they did is read back, told and swept a moment later.
WORKER: Final = Program(
    name="worker",
    command=(
        sys.executable, "-m", "hubdefisats.stack.yielding", "10",
        *CELERY, "worker", "--hostname", "worker@%h",
        "--queues", "automation-execute,maintenance,notifications", *_ALONE,
    ),
    variables=_LONG_LIVED | known_as(Process.WORKER),
)  # fmt: skip
BEAT: Final = Program(
    name="beat",
    command=(*CELERY, "beat", "--pidfile="),
    variables=_LONG_LIVED | known_as(Process.BEAT),
)
STREAM: Final = Program(
    name="stream",
    command=(sys.executable, "manage.py", "stream"),
    variables=_LONG_LIVED | known_as(Process.STREAM),
)
