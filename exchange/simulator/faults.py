"""Faults on demand: what goes wrong, for which requests, how often."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    STATUS = "status"
    """Answer with a status and apply nothing."""
    LOST_ANSWER = "lost_answer"
    """Apply the request, then cut the connection in place of an answer."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault waiting for its requests; an absent selector matches everything."""

    kind: Kind
    next: int = 1
    """How many matching requests it still hits."""
    status: int = 503
    method: str | None = None
    path: str | None = None
    account: str | None = None
    """The API key that the request names."""

    def matches(self, *, method: str, path: str, account: str | None) -> bool:
        return (
            self.next > 0
            and self.method in {None, method}
            and self.path in {None, path}
            and self.account in {None, account}
        )


class Faults:
    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self.waiting.append(fault)

    def clear(self) -> None:
        self.waiting.clear()

    def take(self, *, method: str, path: str, account: str | None) -> Fault | None:
        """Return the oldest fault that hits this request, and count the hit."""
        for fault in self.waiting:
            if fault.matches(method=method, path=path, account=account):
                fault.next -= 1
                if fault.next == 0:
                    self.waiting.remove(fault)
                return fault
        return None
