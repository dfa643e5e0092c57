"""The platform's long-lived programs, for all who start them: the stack, flow tests, benchmarks."""

import os
import sys
from typing import Final

from hubdefisats.stack.processes import Program

CELERY: Final = (sys.executable, "-m", "celery", "--quiet", "-A", "hubdefisats")
_LONG_LIVED: Final = {"DATABASE_MAX_AGE_S": "600", "DATABASE_STATEMENT_S": "20"}
"""For those whose threads stay: they keep their database connections, and no statement keeps them."""

# What saves positions has a process of its own, whose threads mostly wait for the exchange. It takes
# all messages at once: Celery's threads otherwise wait for the event loop's next turn at the limit.
URGENT: Final = Program(
    name="urgent",
    command=(
        *CELERY, "worker", "--hostname", "urgent@%h", "--queues", "urgent",
        "--prefetch-multiplier", "0",
    ),
    variables={
        **_LONG_LIVED,
        "WORKER_CONCURRENCY": os.environ.get("URGENT_CONCURRENCY") or "32",
    },
)  # fmt: skip
WORKER: Final = Program(
    name="worker",
    command=(
        *CELERY, "worker", "--hostname", "worker@%h",
        "--queues", "automation-execute,maintenance,notifications",
    ),
    variables=_LONG_LIVED,
)  # fmt: skip
BEAT: Final = Program(name="beat", command=(*CELERY, "beat", "--pidfile="))
STREAM: Final = Program(
    name="stream", command=(sys.executable, "manage.py", "stream"), variables=_LONG_LIVED
)
