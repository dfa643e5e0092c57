"""`python -m tests.surroundings [WORDS]`: do `make run` and `make test` succeed where people are?

For each surrounding the project is laid into a folder of its own, as a clone is, and the commands that
people type are run there. It prints one line for each as it goes; WORDS picks those whose names hold
one of them.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
_WITHIN_S: Final = 180.0
_RUNS: Final = "Ctrl-C stops everything"
_TESTS: Final = "-q -n 1 tests/hubdefisats/test_settings.py tests/accounts/test_models.py"
_LEFT_OUT: Final = (".git", ".venv", ".data", ".*_cache", ".hypothesis", "__pycache__", ".coverage*")
_NOBODY_LISTENS: Final = "http://127.0.0.1:9"
_IS_ROOT: Final = os.geteuid() == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrounding:
    """Where the commands are typed, by whom, and what is to come of it."""

    name: str
    folder: str = "hub"
    """Below a folder of this surrounding alone."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """`{home}` stands for that folder."""
    as_nobody: bool = False
    """By a user with no rights, started by root."""
    parent_mode: int = 0o755
    umask: int = 0o022
    lay: Callable[[Path], None] = lambda _: None
    """Change something of the clone."""
    words: tuple[str, ...] = ()
    """For make, as typed."""
    refusal: str = ""
    """Words of the one sentence with which it ends; empty: it comes up."""
    runs_tests: bool = True


def _data_is_a_file(clone: Path) -> None:
    (clone / ".data").touch()


def _read_only(clone: Path) -> None:
    """Take the rights to write, which only others than root miss; the venv stays as in no clone."""
    shutil.move(clone / ".venv", clone.parent / "venv")
    for path in (clone, *clone.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)


_READ_ONLY: Final[dict[str, Any]] = {"lay": _read_only, "as_nobody": True}
SURROUNDINGS: Final = (
    Surrounding(name="nothing special"),
    Surrounding(name="folder with a space", folder="my hub"),
    Surrounding(name="folder with a quote", folder="it's"),
    Surrounding(name="folder with a dollar sign", folder="a$HOME b"),
    Surrounding(name="folder with all the others", folder='x" & (co,mma); a%20b ü'),
    Surrounding(name="folder with a long path", folder="x" * 150),
    Surrounding(
        name="locale that is not generated",
        variables={"LANG": "de_DE.UTF-8", "LC_ALL": "de_DE.UTF-8", "LANGUAGE": "de"},
    ),
    Surrounding(
        name="locale of another alphabet", variables={"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}
    ),
    Surrounding(
        name="proxies",
        variables=dict.fromkeys(
            ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), _NOBODY_LISTENS
        ),
    ),
    Surrounding(
        name="variables of PostgreSQL",
        variables={
            "PGSERVICE": "other",
            "PGOPTIONS": "-c nonsense=1",
            "PGREQUIREAUTH": "scram-sha-256",
            "PGCONNECT_TIMEOUT": "soon",
            "PGTARGETSESSIONATTRS": "read-only",
            "PGHOST": "db.example",
            "PGSSLMODE": "verify-full",
        },
    ),
    Surrounding(
        name="variables of another Celery, Flower, Django",
        variables={
            "FLOWER_URL_PREFIX": "flower",
            "FLOWER_PORT": "1",
            "CELERY_BROKER_URL": "redis://other.example",
            "CELERY_WORKER_POOL": "gevent",
            "BROKER_URL": "redis://other.example",
            "WEB_CONCURRENCY": "4",
            "DJANGO_SETTINGS_MODULE": "other.settings",
        },
        words=("FLOWER_PORT=0",),
    ),
    Surrounding(
        name="variables of Python and pip",
        variables={
            "PYTHONPATH": "/nowhere",
            "PYTHONSAFEPATH": "1",
            "PYTHONWARNINGS": "error",
            "PYTHONOPTIMIZE": "2",
            "PIP_USER": "1",
        },
    ),
    Surrounding(name="umask that gives nothing", umask=0o077),
    Surrounding(name="private parent folder", parent_mode=0o700),
    Surrounding(
        name="user with the XDG_RUNTIME_DIR of root",
        as_nobody=True,
        variables={"XDG_RUNTIME_DIR": "/run/user/0", "HOME": "/nonexistent"},
    ),
    Surrounding(
        name="read-only clone, with other folders named",
        words=("VENV={home}/venv", "HUBDEFISATS_DATA={home}/data"),
        **_READ_ONLY,
    ),
    Surrounding(name="read-only clone", refusal="make run VENV=", runs_tests=False, **_READ_ONLY),
    Surrounding(
        name="read-only clone, with another .venv",
        words=("VENV={home}/venv",),
        refusal="make run HUBDEFISATS_DATA=",
        runs_tests=False,
        **_READ_ONLY,
    ),
    Surrounding(
        name="data folder that is a file",
        lay=_data_is_a_file,
        refusal="make run HUBDEFISATS_DATA=",
        runs_tests=False,
    ),
    Surrounding(
        name="port that is taken",
        words=("WEB_PORT={taken}",),
        refusal="make run WEB_PORT=",
        runs_tests=False,
    ),
)


class FailedError(Exception):
    """It did not go as it should; the message says what came."""


def main(words: list[str]) -> int:
    """Try each; return 1 if one failed."""
    failed = 0
    chosen = [each for each in SURROUNDINGS if not words or any(word in each.name for word in words)]
    for each in chosen:
        began = time.monotonic()
        if each.as_nobody and (why := _keeps_nobody_out()):
            _say(f"skipped  {each.name}: {why}")
            continue
        try:
            _try(each)
        except FailedError as error:
            failed += 1
            _say(f"FAILED   {each.name}: {error}")
        else:
            _say(f"ok       {each.name} ({time.monotonic() - began:.0f} s)")
    _say(f"{len(chosen) - failed} passed, {failed} failed")
    return int(bool(failed))


def _try(each: Surrounding) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="hubdefisats-around-") as name,
        closing(socket.socket()) as taken,
    ):
        home = Path(name).resolve()
        home.chmod(0o755)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (home / "parent").mkdir()
        clone = _clone(home / "parent" / each.folder)
        each.lay(clone)
        if each.as_nobody:
            _give_to_nobody(home)
        (home / "parent").chmod(each.parent_mode)
        meant = {"home": str(home / "parent"), "taken": str(taken.getsockname()[1])}
        words = [word.format(**meant) for word in ("WEB_PORT=0", "FLOWER_PORT=0", *each.words)]
        _run(each, clone, words)
        if each.runs_tests:
            _test(each, clone, words)
        if (home / "parent").stat().st_mode & 0o777 != each.parent_mode:
            raise FailedError("the rights of the parent folder were changed")


def _clone(folder: Path) -> Path:
    """Lay the project there as a clone is, with a virtual environment that is up to date."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    venv = folder / ".venv"
    try:
        shutil.copytree(sys.prefix, venv, symlinks=True, copy_function=os.link)
    except (OSError, shutil.Error):  # another file system
        shutil.rmtree(venv, ignore_errors=True)
        shutil.copytree(sys.prefix, venv, symlinks=True)
    for stamp in ("runtime", "development"):
        (venv / stamp).unlink(missing_ok=True)  # it may be a link to the file of ours
        (venv / stamp).touch()
    return folder


def _run(each: Surrounding, clone: Path, words: list[str]) -> None:
    with _made(each, clone, ["run", *words]) as (process, said):
        end = time.monotonic() + _WITHIN_S
        while process.poll() is None and time.monotonic() < end and _RUNS not in "".join(said):
            time.sleep(0.1)
        came_up = process.poll() is None and _RUNS in "".join(said)
    text = "".join(said)
    if each.refusal:
        sentences = [line for line in text.splitlines() if each.refusal in line]
        if came_up or len(sentences) != 1 or "Traceback" in text:
            raise FailedError(f"make run did not refuse with {each.refusal!r}: {text[-2000:]}")
    elif not came_up:
        raise FailedError(f"make run did not come up: {text[-2000:]}")


def _test(each: Surrounding, clone: Path, words: list[str]) -> None:
    with _made(each, clone, ["test", f"ARGS={_TESTS}", *words]) as (process, said):
        with suppress(subprocess.TimeoutExpired):
            process.wait(_WITHIN_S)
        status = process.poll()
    if status != 0:
        raise FailedError(f"make test ended with {status}: {''.join(said)[-2000:]}")


@contextmanager
def _made(
    each: Surrounding, clone: Path, words: list[str]
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run make; stop all of it, and wait for its end.

    Not as Ctrl-C does: whoever runs this in the background has chosen to ignore that for all.
    """
    nobody = pwd.getpwnam("nobody") if each.as_nobody else None
    process = subprocess.Popen(
        ["make", *words],  # noqa: S607 - as people type it
        cwd=clone,
        env={"PATH": os.environ["PATH"], "HOME": str(clone.parent)} | dict(each.variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        umask=each.umask,
        start_new_session=True,
        user=nobody.pw_uid if nobody else None,
        group=nobody.pw_gid if nobody else None,
        extra_groups=[] if nobody else None,
    )
    said: list[str] = []
    assert process.stdout
    reader = threading.Thread(target=said.extend, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        yield process, said
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise FailedError("it did not stop within 60 s") from None
        reader.join(10)
        process.stdout.close()


def _keeps_nobody_out() -> str:
    """Return why nothing can be tried as another user; empty: it can."""
    if not _IS_ROOT:
        return "only root can become somebody else"
    nobody = pwd.getpwnam("nobody")
    python = Path(sys.prefix) / "bin" / "python"
    try:
        subprocess.run(
            [python, "-c", ""],
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
            cwd="/",
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return f"the user nobody may not run {python.resolve()}"
    return ""


def _give_to_nobody(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    for path in (folder, *folder.rglob("*")):
        # The files of the virtual environment are those of ours.
        if path.is_dir() or path.stat(follow_symlinks=False).st_nlink == 1:
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is what this command is for


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
