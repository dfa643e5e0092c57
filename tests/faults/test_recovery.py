"""A whole stack under one fault after the other: how soon a rescue reaches the exchange again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.processes import ROOT

KILLED = ("kill ", "terminate a worker")
WITHIN_S = {
    **dict.fromkeys(KILLED, 10.0),
    "kill postgres": 15.0,
    "end every postgres session": 15.0,
    "crash a postgres backend": 15.0,
    "freeze postgres": 15.0,
    "kill redis": 30.0,
    "flush redis": 30.0,
    "fill redis": 30.0,
    "freeze redis": 30.0,
}
"""By the beginning of its name; the longest that fits counts."""
DRAINS_WITHIN_S = 20.0


@pytest.mark.full
@pytest.mark.timeout(600)
def test_protection_is_back_after_each_fault(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.soak", "--each-once", "--minutes", "8"),
            *("--accounts", "20", "--only", ",".join(WITHIN_S), "--log", str(tmp_path / "said.log")),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )

    line = json.loads(done.stdout)
    assert {name: line[name] for name in ("duplicates", "lost_effects", "denied_effects")} == {
        "duplicates": 0, "lost_effects": 0, "denied_effects": 0,
    }  # fmt: skip
    assert (line["lost_though_savable"], line["unsettled"], line["not_back"]) == (0, 0, [])
    took_s = {name: found["worst"] for name, found in line["recovery_s"].items()}
    assert {_kind(name) for name in took_s} == set(WITHIN_S)
    assert {name: s for name, s in took_s.items() if s > WITHIN_S[_kind(name)]} == {}
    assert line["drained_s"] <= DRAINS_WITHIN_S
    assert done.returncode == 0


def _kind(fault: str) -> str:
    return max((begins for begins in WITHIN_S if fault.startswith(begins)), key=len)
