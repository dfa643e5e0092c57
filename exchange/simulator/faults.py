"""Faults on demand: what goes wrong, for whom, how often (design, section 6)."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from dataclasses import field as field_of
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    STATUS = "status"
    """Answer a request with `status` and apply nothing."""
    DROP = "drop"
    """Cut the connection in place of an answer, with nothing applied."""
    LOST_ANSWER = "lost_answer"
    """Apply the request, then cut the connection in place of an answer."""
    DELAY = "delay"
    """Hold the request back for `ms`, then do as usual."""
    LATE_ANSWER = "late_answer"
    """Apply the request, then hold its answer back for `ms`."""
    ODD = "odd"
    """Answer as usual, but show `field` as `value`, or not at all: of the object `id`, or of each."""
    EMPTY = "empty"
    """Answer as usual, but show a list without its rows."""

    FROZEN = "frozen"
    """Send no push any more; requests are still answered."""
    MISSING = "missing"
    """Lose a push."""
    LATE = "late"
    """Send a push `ms` later."""
    DUPLICATE = "duplicate"
    """Send a push twice."""
    OUT_OF_ORDER = "out_of_order"
    """Send a push after the one that follows it."""
    GARBAGE = "garbage"
    """Send what is no JSON in place of a push."""
    NULL_PRICE = "null_price"
    """Send a push of prices with null in their place."""
    SPIKE = "spike"
    """Send a push with its prices changed by `share`; the market itself does not move."""
    FUTURE = "future"
    """Send a push with a time `ms` ahead."""

    CUT = "cut"
    """Cut stream connections, now."""
    HALF_OPEN = "half_open"
    """Let stream connections stand but never read from or write to them again, from now on."""
    REFUSE = "refuse"
    """Refuse new connections, from now on for `ms`."""


PUSH_KINDS: Final = frozenset(
    {
        Kind.FROZEN,
        Kind.MISSING,
        Kind.LATE,
        Kind.DUPLICATE,
        Kind.OUT_OF_ORDER,
        Kind.GARBAGE,
        Kind.NULL_PRICE,
        Kind.SPIKE,
        Kind.FUTURE,
    }
)
ANSWER_KINDS: Final = frozenset({Kind.ODD, Kind.EMPTY})
"""They change what is shown; what was asked for is done."""
NOWHERE: Final = object()
"""The value of a field that is left out."""
ACTS: Final = frozenset({Kind.CUT, Kind.HALF_OPEN, Kind.REFUSE})
"""They happen when they are ordered; the others wait for their requests and pushes."""
_ENDLESS: Final = 1_000_000_000


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault and what it hits; an absent selector matches everything."""

    kind: Kind
    next: int | None = None
    """How many hits are left; by default one, or endless with a probability, when frozen or odd."""
    probability: float | None = None
    """Of a hit, for each that matches."""
    seed: int = 1
    """Of the draws: the same seed hits the same ones."""
    method: str | None = None
    path: str | None = None
    """Of requests, from `/v3` on."""
    topic: str | None = None
    """Of pushes."""
    account: str | None = None
    """The API key that a request names, or that a stream connection has proven."""
    status: int = 503
    retry_after: str | None = None
    """Of an answer with `status`: its `Retry-After`, seconds or an HTTP date, as it is to be sent."""
    ms: int = 1000
    share: float = -0.3
    id: str | None = None
    field: str = ""
    value: object = NOWHERE
    _draws: random.Random = field_of(init=False, repr=False)

    def __post_init__(self) -> None:
        self._draws = random.Random(self.seed)  # noqa: S311 - chance, not a secret
        if self.next is None:
            endless = self.probability is not None or self.kind in {Kind.FROZEN, Kind.ODD}
            self.next = _ENDLESS if endless else 1

    def hits(self) -> bool:
        """Whether it strikes what matched, by its probability; a hit is counted."""
        assert self.next is not None
        if self.probability is not None and self._draws.random() >= self.probability:
            return False
        self.next -= 1
        return True


class Faults:
    """The faults that wait, the oldest first; of several that match, the first that hits counts."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self.waiting.append(fault)

    def clear(self) -> None:
        self.waiting.clear()

    def for_request(self, *, method: str, path: str, account: str | None) -> Fault | None:
        return self._take(
            lambda fault: (
                fault.kind not in PUSH_KINDS | ANSWER_KINDS
                and fault.method in {None, method}
                and fault.path in {None, path}
                and fault.account in {None, account}
            )
        )

    def for_answer(self, *, method: str, path: str, account: str | None) -> Iterator[Fault]:
        """Yield all that make something odd in the answer: they do not stand in for each other."""
        for fault in list(self.waiting):
            if (
                fault.kind in ANSWER_KINDS
                and fault.method in {None, method}
                and fault.path in {None, path}
                and fault.account in {None, account}
                and self._strikes(fault)
            ):
                yield fault

    def for_push(self, *, topic: str, account: str | None) -> Fault | None:
        return self._take(
            lambda fault: (
                fault.kind in PUSH_KINDS
                and fault.topic in {None, topic}
                and fault.account in {None, account}
            )
        )

    def _take(self, matches: Callable[[Fault], bool]) -> Fault | None:
        return next((each for each in self.waiting if matches(each) and self._strikes(each)), None)

    def _strikes(self, fault: Fault) -> bool:
        hits = fault.hits()
        if hits and fault.next == 0:
            self.waiting.remove(fault)
        return hits


def made_odd(document: object, fault: Fault) -> object:
    """Return the document of an answer with the fault's field changed in every object that it hits."""
    if fault.kind is Kind.EMPTY:
        return _without_rows(document)
    if isinstance(document, list):
        return [made_odd(each, fault) for each in document]
    if not isinstance(document, dict):
        return document
    made = {name: made_odd(value, fault) for name, value in document.items()}
    if fault.field in made and fault.id in {None, document.get("id")}:
        made[fault.field] = fault.value
        if fault.value is NOWHERE:
            del made[fault.field]
    return made


def _without_rows(document: object) -> object:
    """Return a list, or a page of one, as if nothing stood in it; anything else as it is."""
    if isinstance(document, dict) and isinstance(document.get("data"), list):
        return document | {"data": [], "nextCursor": None}
    return [] if isinstance(document, list) else document
