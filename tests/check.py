"""`python -m tests.check`: what must hold before a change is taken in, the quickest answers first."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LEAST_COVERED_PERCENT: Final = 95


@dataclass(frozen=True, slots=True)
class Step:
    """One question, and the command whose exit status answers it."""

    headline: str
    command: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)


_BIN: Final = Path(sys.executable).parent
_MANAGE: Final = (sys.executable, "manage.py")
_COVERAGE: Final = (sys.executable, "-m", "coverage")
_OFFLINE: Final = {"DJANGO_SETTINGS_MODULE": "tests.offline_settings"}

STEPS: Final = (
    Step("Format", (sys.executable, "-m", "ruff", "format", "--check", ".")),
    Step("Lint", (sys.executable, "-m", "ruff", "check", ".")),
    Step("Types", (sys.executable, "-m", "mypy", ".")),
    Step("Import layers", (str(_BIN / "lint-imports"), "--no-logo", "--no-cache")),
    Step("Django's checks", (*_MANAGE, "check", "--fail-level", "WARNING"), _OFFLINE),
    Step("Missing migrations", (*_MANAGE, "makemigrations", "--check", "--dry-run"), _OFFLINE),
    Step("Known vulnerabilities", (sys.executable, "-m", "tests.audit")),
    Step("Forget older coverage", (*_COVERAGE, "erase")),
    Step("Tests", (*_COVERAGE, "run", "-m", "pytest", "-n", "4")),
    Step("Gather coverage", (*_COVERAGE, "combine", "--quiet")),
    Step("Coverage", (*_COVERAGE, "report", f"--fail-under={LEAST_COVERED_PERCENT}")),
)


def main(steps: Iterable[Step] = STEPS) -> int:
    """Take the steps until one fails; return its status, or 0.

    The last line is the one with which the tests closed, so that whoever reads only the end sees
    that they ran.
    """
    closing = ""
    for step in steps:
        _say(f"== {step.headline}")
        started_at = time.monotonic()
        status, last_line = _take(step)
        took = f"{time.monotonic() - started_at:.1f} s"
        if status:
            _say(f"== {step.headline}: failed after {took}")
            return status
        _say(f"== {step.headline}: {took}")
        if step.headline == "Tests":
            closing = last_line
    _say(closing)
    return 0


def _take(step: Step) -> tuple[int, str]:
    """Return the status, and the last line that was no blank."""
    last_line = ""
    with subprocess.Popen(
        step.command, env=os.environ | step.variables, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        for line in process.stdout:
            _say(line.rstrip())
            last_line = line.strip() or last_line
    return process.returncode, last_line


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is what this command is for


if __name__ == "__main__":
    sys.exit(main())
