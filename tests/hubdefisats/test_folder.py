"""One stack for each folder, and nothing of a dead one in it."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from hubdefisats import folder as folders

_HOLD = """
import sys, time, pathlib
from hubdefisats import folder
with folder.claimed(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
_WITH_A_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_folder_has_one_holder_who_is_named_to_the_next(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(folder)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"

        with (
            pytest.raises(folders.FolderTakenError, match=rf"process {holder.pid}\)"),
            folders.claimed(folder),
        ):
            pass

        holder.kill()
        holder.wait()

        with folders.claimed(folder):
            assert (folder / "lock").read_text() == str(os.getpid())


def test_a_folder_that_is_a_file_is_refused_in_a_sentence(folder: Path) -> None:
    (folder / "data").touch()

    with (
        pytest.raises(
            folders.FolderUnusableError, match=r"cannot be used .*HUBDEFISATS_DATA="
        ) as refused,
        folders.claimed(folder / "data"),
    ):
        pass

    assert "\n" not in str(refused.value)


def test_the_leftovers_of_a_folder_are_ended_with_all_that_they_started(folder: Path) -> None:
    def start(mark: Path) -> tuple[subprocess.Popen[bytes], psutil.Process]:
        parent = subprocess.Popen(
            [sys.executable, "-c", _WITH_A_CHILD],
            stdout=subprocess.PIPE,
            env=os.environ | folders.marked(mark),
        )
        assert parent.stdout
        with parent.stdout as out:
            return parent, psutil.Process(int(out.readline()))

    ours, our_child = start(folder)
    other, other_child = start(folder / "another")
    try:
        assert folders.end_leftovers(folder) == 2
        assert ours.wait(5) < 0
        assert not folders.is_alive(our_child)
        assert folders.is_alive(other_child)
    finally:
        other.kill()
        other.wait()
        other_child.kill()
