"""`python -m tests.audit`: known vulnerabilities of what is installed, each with a written answer.

Where the database cannot be reached one line says so: that is no finding, and no all-clear either.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
ANSWERS: Final = ROOT / "audit-answers.toml"
REQUIREMENTS: Final = (ROOT / "requirements.txt", ROOT / "requirements-dev.txt")
_PATIENCE_S: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One vulnerability that is known of a version that we install."""

    package: str
    version: str
    names: frozenset[str]
    """Its id, and what else it is called."""
    mended_in: tuple[str, ...]

    def __str__(self) -> str:
        names, mended = ", ".join(sorted(self.names)), ", ".join(self.mended_in) or "no version yet"
        return f"{self.package} {self.version}: {names}; mended in {mended}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Why a finding does no harm here, and until when that is believed without another look."""

    id: str
    package: str
    why: str
    until: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the database knew."""

    findings: tuple[Finding, ...]
    asked: int
    untold: int
    """Packages of which it told nothing."""


def read(told: dict[str, Any]) -> Audit:
    """Return what pip-audit's JSON says."""
    packages = told["dependencies"]
    findings = tuple(_findings(packages))
    untold = sum("skip_reason" in each for each in packages)
    return Audit(findings=findings, asked=len(packages), untold=untold)


def _findings(packages: Iterable[dict[str, Any]]) -> Iterator[Finding]:
    for package in packages:
        for each in package.get("vulns", ()):
            yield Finding(
                package=package["name"],
                version=package["version"],
                names=frozenset({each["id"], *each.get("aliases", ())}),
                mended_in=tuple(each.get("fix_versions", ())),
            )


def answers(file: Path = ANSWERS) -> tuple[Answer, ...]:
    """Return the written answers.

    Raises:
        TypeError, KeyError: one lacks a field, or has one too many.
    """
    return tuple(Answer(**each) for each in tomllib.loads(file.read_text()).get("answer", ()))


def judge(audit: Audit, written: Iterable[Answer], today: date) -> tuple[list[str], bool]:
    """Return what is to be said, and whether every finding has an answer that still counts."""
    said, good, used = [], True, set()
    for finding in audit.findings:
        answer = next(
            (each for each in written if each.id in finding.names and each.package == finding.package),
            None,
        )
        if answer is None:
            said.append(f"{finding}: no answer in {ANSWERS.name}")
            good = False
            continue
        used.add(answer)
        if answer.until < today:
            said.append(f"{finding}: the answer was good until {answer.until}; look again")
            good = False
        else:
            said.append(f"{finding}: answered: {answer.why}")
    if not audit.untold:
        said += [f"{each.id} of {each.package} is no finding any more: take its answer out"
                 for each in written if each not in used]  # fmt: skip
    else:
        said.append(
            f"The database of vulnerabilities told nothing about {audit.untold} of {audit.asked}"
            " packages: they are not audited here."
        )
    return said, good


def main() -> int:
    told = _asked()
    if told is None:
        _say("The database of vulnerabilities cannot be reached: nothing is audited here.")
        return 0
    said, good = judge(read(told), answers(), datetime.now(UTC).date())
    for line in said or ["No known vulnerabilities."]:
        _say(line)
    return 0 if good else 1


def _asked() -> dict[str, Any] | None:
    """Return what pip-audit found out; None where it did not get that far."""
    files = [part for file in REQUIREMENTS for part in ("--requirement", str(file))]
    command = (
        sys.executable, "-m", "pip_audit", *files, "--require-hashes", "--disable-pip",
        "--format", "json", "--progress-spinner", "off", "--timeout", "10",
    )  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
        told: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return told


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is what this command is for


if __name__ == "__main__":
    sys.exit(main())
