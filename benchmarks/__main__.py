"""`python -m benchmarks`: run one benchmark after the other, each in a process of its own."""

import subprocess
import sys
from collections.abc import Iterable
from typing import Final

from benchmarks import report

SHORT: Final = (
    ("live_view",),
    ("trigger_book",),
    ("footprint",),
    # Without arguments it takes four minutes: `make bench-pool`.
    ("pool", "--accounts", "60", "--sockets", "15"),
    ("tick_to_order",),
    ("flash_crash",),
    ("sweep",),
    ("start_up",),
    ("bad_account", "--accounts", "100"),
    ("outage",),
)
"""All of them, so short that together they take less than ten minutes."""


def run(benchmarks: Iterable[tuple[str, ...]]) -> list[str]:
    """Run them all; return those that crashed. A figure that misses its aim is a result."""
    crashed = []
    for name, *options in benchmarks:
        command = [sys.executable, "-m", f"benchmarks.{name}", *options]
        if subprocess.run(command, cwd=report.ROOT, check=False).returncode:  # noqa: S603 - our own
            crashed.append(name)
    return crashed


def main() -> int:
    results = report.parser(__doc__ or "").parse_args().results
    crashed = run((*each, "--results", str(results)) for each in SHORT)
    if crashed:
        print(f"crashed: {', '.join(crashed)}", file=sys.stderr)  # noqa: T201 - for whoever waits
    return bool(crashed)


if __name__ == "__main__":
    sys.exit(main())
