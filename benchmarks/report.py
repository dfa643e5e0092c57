"""The shape of a result, the same for all benchmarks: one JSON line, which is also kept in a file."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What one figure should be. A figure that could not be measured is None, and misses its aim."""

    measured: float | None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        return (
            self.measured is not None
            and (self.at_most is None or self.measured <= self.at_most)
            and (self.at_least is None or self.measured >= self.at_least)
        )

    def as_json(self) -> dict[str, Any]:
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return {"measured": None} | given | {"met": self.met}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one benchmark found. Numbers carry their unit in their name."""

    benchmark: str
    figures: Mapping[str, Any]
    floor: Mapping[str, Any] | None = None
    """The least that it could take, measured in the same run."""
    rival: Mapping[str, Any] | None = None
    """What another way of doing it takes, measured in the same run."""
    aims: Mapping[str, Aim]

    def as_json(self) -> dict[str, Any]:
        beside = {"floor": self.floor, "rival": self.rival}
        return {
            "benchmark": self.benchmark,
            "commit": commit(),
            "machine": machine(),
            "figures": dict(self.figures),
            **{name: dict(value) for name, value in beside.items() if value is not None},
            "aim": {name: aim.as_json() for name, aim in self.aims.items()},
            "aim_met": all(aim.met for aim in self.aims.values()),
        }


def publish(report: Report, folder: Path) -> None:
    """Print the report as one line, and keep it in the folder, where a person can read it."""
    found = report.as_json()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{report.benchmark}.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found), flush=True)  # noqa: T201 - the result


def parser(purpose: str) -> argparse.ArgumentParser:
    """Return the command line that every benchmark has; one may add options of its own."""
    made = argparse.ArgumentParser(
        description=purpose, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="for the file")
    return made


def measured_at(revision: str, benchmark: str) -> dict[str, Any]:
    """Run a benchmark as another revision of the project has it; return its result.

    Raises:
        subprocess.CalledProcessError: there is no such revision, or its benchmark crashed.
    """
    with tempfile.TemporaryDirectory(prefix="hubdefisats-before-") as folder:
        tree = Path(folder) / "project"
        _git("worktree", "add", "--detach", str(tree), revision)
        try:
            done = subprocess.run(  # noqa: S603 - our own
                [sys.executable, "-m", f"benchmarks.{benchmark}", "--results", folder],
                cwd=tree,
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
        finally:
            _git("worktree", "remove", "--force", str(tree))
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def machine() -> dict[str, Any]:
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def commit() -> dict[str, Any]:
    """Return which code was measured. Results kept from an earlier benchmark do not make it dirty."""
    try:
        return {
            "hash": _git("rev-parse", "--short", "HEAD"),
            "dirty": bool(_git("status", "--porcelain", "--", ".", f":!{RESULTS.relative_to(ROOT)}")),
        }
    except (OSError, subprocess.CalledProcessError):  # no git here, or no repository
        return {"hash": None, "dirty": None}


def _cpu() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - arguments of our own
        ["git", *arguments],  # noqa: S607 - wherever it is installed
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
