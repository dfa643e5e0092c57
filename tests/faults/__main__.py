"""`python -m tests.faults`: every fault of the catalogue and of the documentation, the long ones too.

Further arguments are pytest's.
"""

import os
import sys

from tests.faults.catalogue import FAULTS, documented


def main() -> None:
    tests = dict.fromkeys([*(test for each in FAULTS.values() for test in each), *documented()])
    apart = [test for test in tests if not test.startswith("tests/faults/")]
    arguments = ["-m", "full or not full", "-n", "2", "tests/faults", *apart, *sys.argv[1:]]
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])  # noqa: S606 - becomes pytest


if __name__ == "__main__":
    main()
