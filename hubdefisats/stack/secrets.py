"""Which program of the stack is given which secrets: its own, and nobody else's."""

from collections.abc import Mapping
from typing import Final

from hubdefisats.process import Process

_OPENS: Final = frozenset({"SEAL_PRIVATE_KEYS", "CREDENTIAL_KEYS"})
"""Whoever has these reads the accounts' credentials."""
GIVEN: Final[Mapping[Process, frozenset[str]]] = {
    Process.WEB: frozenset(),
    Process.WORKER: _OPENS,
    Process.URGENT: _OPENS,
    Process.STREAM: _OPENS,
    Process.BEAT: frozenset(),
    Process.FLOWER: frozenset(),
}
ALL: Final = frozenset[str]().union(*GIVEN.values())


def own(process: Process, values: Mapping[str, str]) -> dict[str, str]:
    """Return the values without the secrets of other programs; a person's commands have all."""
    return {name: text for name, text in values.items() if name not in withheld(process)}


def withheld(process: Process) -> frozenset[str]:
    """Return the names of the secrets that a program is not given."""
    return ALL - GIVEN.get(process, ALL)
