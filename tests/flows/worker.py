"""A worker as a process of a test: asked by messages, it answers in its log."""

import ast
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from types import TracebackType
from typing import Any, Final, Self

from automations import tasks
from automations.models import Execution
from exchange.config import Endpoints
from tests.flows.processes import CELERY, program
from tests.waiting import wait_until

_ACT: Final = "automations.tasks.act"
_PATIENCE_S: Final = 120
"""A message waits for a slow test's worker."""
_RECEIVED: Final = re.compile(r" Task \S+\[(\S+)\] received")
_ENDED: Final = re.compile(
    r" Task \S+\[(\S+)\] (?:succeeded|retry|raised|ignored|rejected)"
    r"| Discarding revoked task: \S+\[(\S+)\]"
)
_ANSWER: Final = re.compile(r" Task (\S+)\[(\S+)\] succeeded in \S+s: (.*)$", re.MULTILINE)


class Worker:
    """One on the database and the Redis of the tests.

    It may call the exchange as often as it likes, and wait for a slow test with what it decides on.
    """

    def __init__(self, exchange: Endpoints, log: Path) -> None:
        self._exchange = exchange
        self._log = log
        self._running = ExitStack()
        self._process: Popen[str] | None = None
        self._begun = 0
        """How much it had said when it started last."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._running.close()

    def start(self) -> None:
        """Return when it takes messages."""
        begun = self._begun = len(self.said())
        log = self._running.enter_context(self._log.open("a"))
        self._process = self._running.enter_context(
            program(
                *CELERY,
                "worker",
                paper=self._exchange,
                log=log,
                PRIVATE_CALLS_PER_S="10000",
                PUBLIC_CALLS_PER_S="10000",
                DATA_MAX_AGE_S="60",
            )
        )
        wait_until(lambda: " ready." in self.said()[begun:], within_s=60, what="the worker is ready")

    def kill(self) -> None:
        """Kill it and every process of its own at once, whatever they do."""
        assert self._process
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(5)
        self._running.close()

    def said(self) -> str:
        """Return what it ever said on standard error."""
        return self._log.read_text() if self._log.exists() else ""

    def look(self, automation_id: int, position_id: str | None, *, task_id: str | None = None) -> str:
        """Send the message that a crossed trigger or a sweep sends; return its id."""
        sent = tasks.act.apply_async(
            (automation_id, position_id), queue="urgent", task_id=task_id, expires=_PATIENCE_S
        )
        return str(sent.id)

    def answers(self, task_id: str, number: int = 1) -> list[dict[str, Any]]:
        """Wait until it answered a message as often; return its answers."""

        def answered() -> list[Any]:
            return [answer for _, asked, answer in self._answers() if asked == task_id]

        wait_until(lambda: len(answered()) >= number, what="the worker answered")
        self._wait_until_read_back()
        return answered()

    def sweep(self, ask: Callable[[], str]) -> list[dict[str, Any]]:
        """Let it sweep as beat does, and do all that is due; return what came of each.

        Args:
            ask: the task to send.
        """
        before = len(self._acted())
        swept = ask.delay().id  # type: ignore[attr-defined]  # a task is a function to the checker
        found = wait_until(
            lambda: [answer for _, asked, answer in self._answers() if asked == swept],
            what="the worker swept",
        )
        due = int(found[0].removesuffix(" due"))
        wait_until(lambda: len(self._acted()) == before + due, what=f"the worker did {found[0]}")
        self._wait_until_read_back()
        return self._acted()[before:]

    def wait_until_idle(self) -> None:
        """Wait until it ended all that it took, so that nothing meets the tables of another story."""

        def is_idle() -> bool:
            said = self.said()[self._begun :]
            ended = Counter(one or other for one, other in _ENDED.findall(said))
            return Counter(_RECEIVED.findall(said)) <= ended

        wait_until(is_idle, within_s=30, what="the worker ended what it took")

    def _wait_until_read_back(self) -> None:
        """Wait until what was done is read back, or it is said that it could not be."""

        def unsaid() -> bool:
            due = Execution.objects.filter(read_back_due=True).values_list("pk", flat=True)
            # What was settled by proof is read back when it is overdue.
            due = due.exclude(journal__event__endswith="_reconciled")
            said = self.said() if due else ""
            return any(not re.search(rf" not read back .*execution={pk}\b", said) for pk in due)

        wait_until(lambda: not unsaid(), what="all is read back")

    def _acted(self) -> list[dict[str, Any]]:
        return [answer for name, _, answer in self._answers() if name == _ACT]

    def _answers(self) -> list[tuple[str, str, Any]]:
        """Return the name and the id of each task that ended well, and its answer, in order."""
        return [
            (name, asked, ast.literal_eval(answer))
            for name, asked, answer in _ANSWER.findall(self.said())
        ]
