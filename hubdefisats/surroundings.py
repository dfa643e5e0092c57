"""What the environment of a person's shell may say to our processes, and what it may not."""

import os
from collections.abc import Mapping, MutableMapping
from typing import Final

_OF_OTHER_PROGRAMS: Final = ("CELERY", "C_", "FLOWER_", "UVICORN_")
"""Variables that begin so are read by programs of ours, yet were set for somebody else's."""
_OF_OTHER_CELERYS: Final = frozenset(
    {"APP", "BROKER_URL", "CONFIG_MODULE", "LOADER", "RESULT_BACKEND", "SKIP_CHECKS", "WEB_CONCURRENCY"}
)
"""What Celery reads besides, and uvicorn the last of them."""
_OF_POSTGRESQL: Final = "PG"
_OUR_PACKAGES: Final = ("hubdefisats.", "tests.")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def tidy(variables: MutableMapping[str, str] = os.environ) -> None:
    """Take out what was meant for other programs, and let no proxy stand before this machine itself.

    A person's PG… variables stay where they named the database: they may be part of how it is reached.
    """
    for name in [name for name in variables if _is_foreign(name, variables)]:
        del variables[name]
    for name in ("no_proxy", "NO_PROXY"):
        variables[name] = _with_loopback(variables.get(name, ""))


def bare() -> dict[str, str]:
    """Return the whole environment of an embedded server: nothing in it depends on who starts it."""
    return {"PATH": os.defpath, "LC_ALL": "C"}


def _is_foreign(name: str, variables: Mapping[str, str]) -> bool:
    if name.startswith(_OF_POSTGRESQL):
        return not variables.get("DATABASE_URL")
    if name == "DJANGO_SETTINGS_MODULE":
        return not variables[name].startswith(_OUR_PACKAGES)
    return name.startswith(_OF_OTHER_PROGRAMS) or name in _OF_OTHER_CELERYS


def _with_loopback(hosts: str) -> str:
    """Return the hosts, with commas between, and those of this machine; `*` is every host already."""
    named = [host.strip() for host in hosts.split(",") if host.strip()]
    if named == ["*"]:
        return "*"
    return ",".join([*named, *(host for host in _LOOPBACK if host not in named)])
