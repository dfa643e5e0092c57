"""Which processes there are, by what the environment says; and which yield to others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from hubdefisats.stack import programs


def test_each_urgent_process_has_a_name_and_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("URGENT_PROCESSES", "3")
    monkeypatch.setenv("URGENT_CONCURRENCY", "7")

    found = programs.urgent()

    assert [each.name for each in found] == ["urgent-1", "urgent-2", "urgent-3"]
    assert [f"{each.name}@%h" in each.command for each in found] == [True] * 3
    assert {each.variables["WORKER_CONCURRENCY"] for each in found} == {"7"}


@pytest.mark.parametrize("name", ["URGENT_PROCESSES", "URGENT_CONCURRENCY"])
def test_a_number_that_is_none_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "none")

    with pytest.raises(ImproperlyConfigured, match=f"{name} must be a whole number from 1 on"):
        programs.urgent()


_SESSION = Path("/proc/self/autogroup")
_SAYS = f"import os; print(os.nice(0), open('{_SESSION}').read())"


@pytest.mark.skipif(not _SESSION.exists(), reason="this system does not group sessions")
@pytest.mark.parametrize("own_session", [True, False])
def test_a_program_yields_the_processor_and_so_does_its_own_session(*, own_session: bool) -> None:
    command = (sys.executable, "-m", "hubdefisats.stack.yielding", "7", sys.executable, "-c", _SAYS)

    said = subprocess.run(
        command, check=True, capture_output=True, text=True, start_new_session=own_session
    ).stdout

    niceness, _, of_session = said.partition(" ")
    assert int(niceness) == os.nice(0) + 7
    assert of_session.split()[1:] == (
        ["nice", "7"] if own_session else _SESSION.read_text().split()[1:]
    )
