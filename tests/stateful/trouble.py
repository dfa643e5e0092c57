"""What goes wrong while one worker looks: at the exchange, on the way, in the database, by a person."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from django.db import connection
from hypothesis import strategies as st

from accounts.gateway import redis_client
from exchange.position import PositionId
from tests.stateful import hand
from tests.stateful.committed import ISOLATED
from tests.stateful.stage import Person, Stage
from tests.stateful.witness import Ambush

_WRITES: Final = ({"method": "POST"}, {"method": "PUT"}, {"path": ISOLATED})
"""Any write but an exit; an exit; the opening, which also follows a reduction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that goes wrong, or nothing."""

    fault: str | None = None
    selectors: dict[str, Any] = field(default_factory=dict)
    on: str | None = None
    """`read` or `write`: when somebody acts in between."""
    by: str | None = None
    """A touch of the owner's hand, a `crash`, the name of a switch thrown, or the worker's `death`."""
    nth: int = 1
    forwards: bool = True
    answers: bool = True
    """Whether, of a write, the request arrives at the exchange, and its answer here."""
    shut: bool = False
    """Whether the exchange refuses connections."""

    @property
    def reads(self) -> bool:
        """Whether it is about reads: then nothing may be known beforehand."""
        return self.shut or self.on == "read" or self.selectors.get("method") == "GET"

    def ambush(self, stage: Stage, person: Person, position_id: PositionId | None) -> Ambush | None:
        by_hand = self.on == "read"
        if self.on is None or (by_hand and position_id is None):
            return None
        does = partial(_happens, stage, person, self.by, position_id, _backend())
        return Ambush(on=self.on, does=does, nth=self.nth, forwards=self.forwards, answers=self.answers)

    @contextmanager
    def reigns(self, stage: Stage, person: Person) -> Iterator[None]:
        """Let it go wrong for that person only, and be over afterwards."""
        if self.reads:
            redis_client().flushdb()
        if self.fault is not None:
            stage.venue.fault(self.fault, account=person.key, **self.selectors)
        if self.shut:
            stage.witness.shut()
        try:
            yield
        finally:
            stage.venue.clear_faults()
            if self.shut:
                stage.witness.open()
            if self.selectors.get("status") == 429:
                redis_client().flushdb()  # nobody waits for the limit to pass


def _happens(
    stage: Stage, person: Person, by: str | None, position_id: PositionId | None, backend: int
) -> None:
    match by:
        case None:
            pass
        case "death":
            stage.committed.execute("SELECT pg_terminate_backend(%s)", backend)
        case "halted" | "reduce_only":
            stage.committed.execute("UPDATE accounts_installation SET switch = %s", by)
        case "crash":
            stage.price_moves(int(stage.venue.price()) * 7 // 10)
        case _:
            (touch,) = (each for each in hand.TOUCHES if each.__name__ == by)
            touch(person, str(position_id))


def _backend() -> int:
    connection.ensure_connection()
    assert connection.connection is not None
    pid: int = connection.connection.info.backend_pid
    return pid


def _write_faults() -> st.SearchStrategy[Trouble]:
    faults: list[dict[str, Any]] = [
        {"fault": "lost_answer"},
        {"fault": "drop"},
        {"fault": "late_answer", "ms": 30},
        {"fault": "delay", "ms": 30},
        *({"fault": "status", "status": status} for status in (400, 401, 429, 500, 502, 503, 504)),
    ]
    return st.builds(
        lambda fault, where: Trouble(
            fault=fault["fault"],
            selectors=where | {name: value for name, value in fault.items() if name != "fault"},
        ),
        st.sampled_from(faults),
        st.sampled_from(_WRITES),
    )


def _read_faults() -> st.SearchStrategy[Trouble]:
    # What breaks down is asked again, which takes a while: the others are as good, and quicker.
    reads = [{"status": status, "next": 10} for status in (400, 400, 502)] + [{"status": 401}]
    return st.sampled_from(reads).map(
        lambda fault: Trouble(fault="status", selectors={"method": "GET", **fault})
    )


_AMBUSHES: Final = (
    *(Trouble(on="read", by=touch.__name__) for touch in hand.TOUCHES),
    *(
        Trouble(on="write", by="death", nth=nth, forwards=forwards)
        for nth in (1, 2)
        for forwards in (True, False)
    ),
    Trouble(on="read", by="crash"),
    Trouble(on="write", by="halted"),
    Trouble(on="write", by="reduce_only"),
    Trouble(shut=True),
)
NONE: Final = Trouble()

lost_answers: Final = st.sampled_from(
    [
        Trouble(on="write", answers=False),
        Trouble(on="write", answers=False),
        Trouble(on="write", answers=False, nth=2),
        Trouble(on="write", forwards=False),
        *(each for each in _AMBUSHES if each.by == "death"),
    ]
)
"""After these nobody here knows what happened."""

troubles: Final = st.one_of(
    st.just(NONE), st.just(NONE), _write_faults(), _write_faults(), _read_faults(),
    st.sampled_from(_AMBUSHES),
)  # fmt: skip
