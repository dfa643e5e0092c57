"""Which processes there are, by what the environment says; and which yield to others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from accounts import crypto
from hubdefisats import local
from hubdefisats.process import Process
from hubdefisats.stack import programs
from hubdefisats.stack.secrets import own


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


@pytest.mark.parametrize(
    ("process", "opens"),
    [
        (Process.WEB, False),
        (Process.BEAT, False),
        (Process.FLOWER, False),
        (Process.WORKER, True),
        (Process.URGENT, True),
        (Process.STREAM, True),
        (Process.MANAGE, True),
    ],
)
def test_only_who_acts_is_given_what_opens_credentials(process: Process, opens: bool) -> None:
    kept = local.new_secrets() | {"CREDENTIAL_KEYS": "from before"}

    given = own(process, kept)

    assert ("SEAL_PRIVATE_KEYS" in given, "CREDENTIAL_KEYS" in given) == (opens, opens)
    assert given["SEAL_PUBLIC_KEYS"] == kept["SEAL_PUBLIC_KEYS"]
    assert given["SECRET_KEY"] == kept["SECRET_KEY"]
    assert opens or programs.known_as(process)["SEAL_PRIVATE_KEYS"] == ""


def test_web_reads_no_private_key_even_where_its_environment_has_one(folder: Path) -> None:
    local.write(folder, local.new_secrets())
    shown = "from django.conf import settings as s; print(s.SEAL_PUBLIC_KEYS, s.SEAL_PRIVATE_KEYS)"
    public, private = crypto.new_pair()
    done = subprocess.run(
        [sys.executable, "-c", shown],
        env=os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "hubdefisats.settings",
            "HUBDEFISATS_DATA": str(folder),
            "PROCESS": "web",
            "SEAL_PUBLIC_KEYS": public,
            "SEAL_PRIVATE_KEYS": private,
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == f"{[public]} []\n"
