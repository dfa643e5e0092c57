"""Workers that are killed at a named point: `python -m tests.faults.mortal`, told by lines of JSON.

One process sets Django up and forks a child for each line, as single-threaded as itself. The child does
what a worker does with a message, and at the first call of the named function, or at its return, it
kills itself by SIGKILL: nothing is closed, nothing is said. Python's own profiling hook sees calls and
returns, so that not a line of ours is another than in a real worker.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, Final

import django


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A place on the path of a look: the first call of a function, or its return."""

    module: str
    function: str
    event: str = "call"
    """Or `return`."""

    def is_at(self, code: CodeType, module: str, event: str) -> bool:
        return (event, code.co_qualname, module) == (self.event, self.function, self.module)


def kill_at(point: Point) -> Callable[[FrameType, str, Any], None]:
    """Return a profiling function that ends the process there, as if the machine had."""

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if point.is_at(frame.f_code, frame.f_globals.get("__name__", ""), event):
            os.kill(os.getpid(), signal.SIGKILL)

    return watch


def look(message: dict[str, Any]) -> None:
    """Do as a worker does, and die at the point; who does not come by there ends well."""
    from automations import tasks  # noqa: PLC0415 - Django is ready only now

    watch = kill_at(Point(**message["point"]))
    threading.setprofile(watch)
    sys.setprofile(watch)
    tasks.act(message["automation"], message["position"])


def main() -> None:
    django.setup()
    from automations import tasks  # noqa: F401, PLC0415 - once, for all who are forked

    print("ready", flush=True)  # noqa: T201 - it is what the starter waits for
    for line in sys.stdin:
        child = os.fork()
        if not child:
            status = 1
            try:
                look(json.loads(line))
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - the answer


KILLED: Final = -signal.SIGKILL
"""What is answered for one that died at its point."""

if __name__ == "__main__":
    main()
