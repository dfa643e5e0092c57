"""Stacks for tests: started by the command that people type, in folders of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from hubdefisats import folder as folders
from tests.waiting import wait_until

_OF_THE_TESTS = {"DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SEAL_PUBLIC_KEYS", "SEAL_PRIVATE_KEYS"}
STARTS_WITHIN_S = 40.0


def variables(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment in which nothing is set but the folder, and what is given."""
    clean = {name: value for name, value in os.environ.items() if name not in _OF_THE_TESTS}
    return clean | {"HUBDEFISATS_DATA": str(folder)} | more


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hubdefisats.stack", *arguments]


@dataclass
class RunningStack:
    process: subprocess.Popen[str]
    folder: Path
    lines: list[str] = field(default_factory=list)

    def address(self, part: str) -> str:
        """Return the URL that was printed for `part`, without the slash at its end."""
        line = next(line for line in self.lines if f"  {part} " in line)
        return next(word for word in line.split() if word.startswith("http")).rstrip("/")

    def processes(self) -> list[psutil.Process]:
        """Return every process of the folder: ours, the servers, and PostgreSQL's."""
        mark = folders.marked(self.folder)
        ours = [process for process in psutil.process_iter() if _is_marked(process, mark)]
        server = self.postmaster()
        return [*ours, server, *server.children(recursive=True)]

    def postmaster(self) -> psutil.Process:
        pid_file = self.folder / "postgres" / "postmaster.pid"
        return psutil.Process(int(pid_file.read_text().split()[0]))

    def part(self, words: str) -> psutil.Process:
        """Return the process of this stack whose command line holds the words."""
        return next(each for each in self.processes() if words in " ".join(each.cmdline()))

    def kept(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.folder / "local.json").read_text())
        return found


@contextmanager
def running(folder: Path) -> Iterator[RunningStack]:
    """Start a stack and yield it once it says that it is ready; end it if the test did not."""
    process = subprocess.Popen(
        command("run", "--web-port", "0", "--flower-port", "0"),
        env=variables(folder),
        stdout=subprocess.PIPE,
        text=True,
    )
    stack = RunningStack(process, folder)
    assert process.stdout
    try:
        for line in process.stdout:
            stack.lines.append(line)
            if "Ctrl-C stops everything" in line:
                break
        else:
            raise AssertionError(f"the stack ended: {''.join(stack.lines)}")
        yield stack
    finally:
        process.terminate()
        process.communicate(timeout=15)


def wait_until_gone(processes: list[psutil.Process], *, within_s: float) -> None:
    wait_until(
        lambda: not [each for each in processes if folders.is_alive(each)],
        within_s=within_s,
        what=f"all of {processes} are gone",
    )


def _is_marked(process: psutil.Process, mark: Mapping[str, str]) -> bool:
    try:
        return bool(mark.items() <= process.environ().items())
    except psutil.Error:
        return False
