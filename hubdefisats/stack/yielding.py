"""`python -m hubdefisats.stack.yielding 5 COMMAND …`: become a command that lets others go first."""

import os
import sys
from contextlib import suppress
from pathlib import Path

_OF_SESSION = Path("/proc/self/autogroup")


def main() -> None:
    niceness, *command = sys.argv[1:]
    os.nice(int(niceness))
    # Where Linux shares the processor among sessions first, niceness counts only within one. What
    # was started in somebody else's session leaves that one alone.
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            _OF_SESSION.write_text(niceness)
    os.execvp(command[0], command)  # noqa: S606 - the project's own programs


if __name__ == "__main__":
    main()
