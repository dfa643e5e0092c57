"""`python -m tests.supply`: a bill of what the platform is made of, and its licences."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
REQUIREMENTS: Final = ROOT / "requirements.txt"
BILL: Final = ROOT / "bom.cdx.json"
LICENCES: Final = ROOT / "docs" / "licences.md"
_PINNED: Final = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(?: ; (.*?))? \\$", re.MULTILINE)
_SAYS: Final = """# Licences

What the platform is installed with, from `requirements.txt`; `make bom` writes this list and, with the
hashes of every file, the bill of materials `bom.cdx.json` (CycloneDX).

"""


def pinned(requirements: Path = REQUIREMENTS) -> dict[str, str]:
    """Return the versions of the packages that a requirements file names for every machine."""
    found = _PINNED.findall(requirements.read_text())
    return {name: version for name, version, marker in found if not marker or "PyPy" in marker}


def write_bill(file: Path = BILL) -> None:
    """Write the bill of materials as CycloneDX JSON; the same requirements always give the same."""
    _run("cyclonedx_py", "requirements", "--output-reproducible", "--of", "JSON", "-o", str(file),
         str(REQUIREMENTS))  # fmt: skip


def licences() -> str:
    """Return the list of licences as a page, by what the installed packages say of themselves."""
    table = _run(
        "piplicenses", "--format", "markdown", "--from", "mixed", "--order", "name",
        "--packages", *pinned(),
    )  # fmt: skip
    cells = ([cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines())
    head, _, *rows = [f"| {' | '.join(each)} |" for each in cells if len(each) > 1]
    return _SAYS + "\n".join([head, "|---|---|---|", *sorted(rows, key=str.lower)]) + "\n"


def _run(module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout


if __name__ == "__main__":
    write_bill()
    LICENCES.write_text(licences())
