"""The stage of one story: an empty database, a paper exchange, its people, and what was seen so far."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F
from django.test import override_settings
from django.utils import timezone

from accounts.gateway import redis_client
from accounts.models import Account, Installation
from automations.models import AutoEntry, Execution
from exchange.config import Endpoints, Network
from exchange.money import Sats, UsdPerBtc
from exchange.position import PositionId
from exchange.simulator.running import Simulator
from hubdefisats.logs import LineFormatter
from tests.exchange.simulator.calling import Rest
from tests.stateful.committed import Committed
from tests.stateful.witness import Passage, Reading, Standing, Witness

PEOPLE: Final = 3
FIRST_BALANCE: Final = Sats(1_000_000)
DATA_MAX_AGE_S: Final = 600
"""Longer than any story: what is fresh at its beginning is fresh at its end, on every machine."""
_EVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(slots=True, kw_only=True, eq=False)
class Person:
    """An owner, their account, and their own way to the exchange, which is not ours."""

    number: int
    account: Account
    key: str
    rest: Rest
    changed_at: datetime
    """When anything last changed on the account at the exchange, by whomever."""
    touched: dict[tuple[str, str], datetime] = field(default_factory=dict)
    """When the owner last set the exit of a trade, by the trade and the exit's name."""

    def standing(self) -> Standing:
        return Standing.of(self.rest)


@dataclass(slots=True, kw_only=True)
class Look:
    """One look of a worker, and all that came of it."""

    account_id: int
    automation_id: int
    position_id: PositionId | None
    answer: dict[str, Any] | None = None
    error: BaseException | None = None
    foreseen: "Rehearsal | None" = None
    """What the automation, as a shadow, made of the same inputs; None where nobody asked it."""
    passages: list[Passage] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    """Begun in it."""
    alone: bool = True
    """Whether no other look ran at the same time."""
    ambushed: bool = False
    changed_at: datetime = _EVER
    """When the account last changed at the exchange, before the look."""

    @property
    def word(self) -> str | None:
        return None if self.answer is None else str(self.answer["status"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What a shadow answered, and the intent that it wrote down."""

    word: str
    intent: dict[str, Any] | None


@dataclass(slots=True, kw_only=True)
class Stage:
    """A context manager; the whole platform on it is real but for the clock of its records."""

    venue: Simulator = field(init=False)
    first_price: UsdPerBtc = field(init=False)
    witness: Witness = field(init=False)
    committed: Committed = field(init=False)
    people: list[Person] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    """Those of the present step."""
    swept: list[tuple[int | None, set[tuple[int, str | None]]]] = field(default_factory=list)
    """What sweeps of the present step found due, each with the account that was ill."""
    messages: list[str] = field(default_factory=list)
    verified: int = 0
    """How many entries the journals had when their chains were verified last."""
    lines: list[str] = field(default_factory=list)
    """What was logged, formatted as it would be."""
    _passed: int = 0
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            empty_the_record()
            self.venue = opening.enter_context(Simulator(accounts=PEOPLE, balance=FIRST_BALANCE))
            self.first_price = self.venue.price()
            self.committed = opening.enter_context(Committed())
            self.witness = opening.enter_context(Witness(venue=self.venue, committed=self.committed))
            endpoints = Endpoints(api_url=self.witness.url, stream_url="ws://127.0.0.1:9")
            opening.enter_context(
                override_settings(
                    LN_MARKETS_ENDPOINTS={Network.PAPER: endpoints},
                    PRIVATE_CALLS_PER_S=10_000,
                    PUBLIC_CALLS_PER_S=10_000,
                    DATA_MAX_AGE_S=DATA_MAX_AGE_S,
                )
            )
            opening.enter_context(_heard(self.lines.append))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def join(self, **limits: Any) -> Person:
        """Let another person own an account, within `limits`."""
        number = len(self.people)
        credentials = self.venue.accounts[number].credentials
        account = Account(
            owner=User.objects.create_user(f"owner {number}"),
            name=f"account {number}",
            network=Network.PAPER,
            **limits,
        )
        account.set_credentials(credentials)
        account.verified_at = timezone.now()
        account.save()
        person = Person(
            number=number,
            account=account,
            key=credentials.key,
            rest=Rest(self.venue.rest, credentials),
            changed_at=datetime.now(UTC),
        )
        self.people.append(person)
        return person

    def person_with(self, account_id: int) -> Person:
        (person,) = (each for each in self.people if each.account.pk == account_id)
        return person

    def price_moves(self, price: int | str) -> None:
        self.venue.set_price(price)
        self.everything_changed()

    def everything_changed(self) -> None:
        now = datetime.now(UTC)
        for person in self.people:
            person.changed_at = now

    def later(self, by: timedelta) -> None:
        """Let time pass, by moving the past back; nothing that was seen before is fresh any more."""
        Execution.objects.update(
            decided_at=F("decided_at") - by,
            settled_at=F("settled_at") - by,
            price_at=F("price_at") - by,
            positions_at=F("positions_at") - by,
        )
        AutoEntry.objects.filter(expires_at__isnull=False).update(expires_at=F("expires_at") - by)
        redis_client().flushdb()

    @property
    def passages(self) -> list[Passage]:
        """Those of the present step, whoever was let through."""
        return self.witness.passages[self._passed :]

    def begin_step(self) -> None:
        self._passed = len(self.witness.passages)
        self.looks.clear()
        self.swept.clear()
        self.messages.clear()


def empty_the_record() -> None:
    """Take every account, and all that hangs on them; the journal lets nothing less than this go."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE accounts_account, auth_user CASCADE")
    Installation.objects.update_or_create(pk=1, defaults={"switch": "active"})
    redis_client().flushdb()


@contextmanager
def _heard(hear: Callable[[str], object]) -> Iterator[None]:
    """Hear what is logged, by whomever."""
    formatter = LineFormatter()

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            hear(formatter.format(record))

    handler = Listening()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
