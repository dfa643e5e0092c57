"""An account's executions in memory, and what `automations.condition` reads of them by SQL."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final

from accounts.models import Account
from automations.condition import Act, Condition, Unsettled
from automations.models import Execution
from automations.rules.actions import AddMargin, Command
from exchange.money import Sats, UsdPerBtc

_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
_MINUTE_MS: Final = 60_000
_STATE: Final = Execution.State


def moment(at_ms: int) -> datetime:
    """Return a moment of simulated time as the live code has it."""
    return _BEGINNING + timedelta(milliseconds=at_ms)


@dataclass(slots=True, kw_only=True)
class Entry:
    """One execution; a run lasts less than a day, so that all of them are of today."""

    position: str
    does: str
    step: int | None
    amount: Sats
    price: UsdPerBtc
    decided_ms: int
    state: str = _STATE.SENT
    settled_ms: int | None = None

    @property
    def spends(self) -> bool:
        return self.state in Execution.SPENDING

    @property
    def is_open(self) -> bool:
        return self.state in Execution.UNSETTLED


class AccountBook:
    """The executions of one guard on one account.

    Args:
        free: the balance as read at the beginning.
        standing: how account and guard stand at the beginning; by default as a new account does.
            What is spent on a position by then is said of the only one that is looked at.
    """

    def __init__(self, free: Sats, standing: Condition | None = None) -> None:
        self.entries: list[Entry] = []
        self.free = free
        self._standing = standing or _of_a_new_account()
        self._spent: Counter[str] = Counter()
        """By position, like the newest acts."""
        self._spent_in_all = 0
        self._acts: defaultdict[str, dict[tuple[int | None, str], Act]] = defaultdict(dict)
        self._open: dict[int, Entry] = {}

    def intend(self, position_id: str, action: Command, price: UsdPerBtc, now_ms: int) -> int:
        """Write an intent down; return its number."""
        entry = Entry(
            position=position_id,
            does=action.does,
            step=getattr(action, "step", None),
            amount=action.amount if isinstance(action, AddMargin) else Sats(0),
            price=price,
            decided_ms=now_ms,
        )
        number = len(self.entries)
        self.entries.append(entry)
        self._open[number] = entry
        self._count(entry, 1)
        return number

    def settle(self, number: int, state: str, now_ms: int) -> None:
        entry = self.entries[number]
        self._count(entry, -1)
        entry.state, entry.settled_ms = state, now_ms
        self._count(entry, 1)
        if not entry.is_open:
            del self._open[number]
        if state not in {_STATE.NOT_SENT, _STATE.NOT_APPLIED}:
            self._acts[entry.position][entry.step, entry.does] = _act(entry)

    def _count(self, entry: Entry, sign: int) -> None:
        amount = sign * entry.amount if entry.spends else 0
        self._spent[entry.position] += amount
        self._spent_in_all += amount

    def condition(self, position_id: str, now_ms: int) -> Condition:
        standing, here = self._standing, self._spent[position_id]
        return replace(
            standing,
            guard_commands=standing.guard_commands + self._within_a_minute(now_ms),
            acts=tuple(self._acts[position_id].values()),
            # The position is as it stands after all that was done; the clock is not that of the record.
            acted_at=None,
            unsettled=tuple(self._unsettled(position_id)),
            spent_on_position=Sats(standing.spent_on_position + here),
            spent_on_position_today=Sats(standing.spent_on_position_today + here),
            spent_by_automation=Sats(standing.spent_by_automation + self._spent_in_all),
            spent_by_guards=Sats(standing.spent_by_guards + self._spent_in_all),
            spent_since=Sats(standing.spent_since + self._spent_in_all),
        )

    def _within_a_minute(self, now_ms: int) -> int:
        recent = takewhile(lambda each: each.decided_ms > now_ms - _MINUTE_MS, reversed(self.entries))
        return sum(1 for _ in recent)

    def _unsettled(self, position_id: str) -> Iterator[Unsettled]:
        for number, each in self._open.items():
            if each.position == position_id:
                yield Unsettled(id=number, does=each.does, amount=each.amount)


def _act(entry: Entry) -> Act:
    return Act(
        step=entry.step,
        does=entry.does,
        state=entry.state,
        price=entry.price,
        settled_at=moment(entry.settled_ms or 0),
    )


def _of_a_new_account() -> Condition:
    limits = Account()
    return Condition(
        switches=["active", "active", "active"],
        enabled=True,
        shadow=False,
        may_act=True,
        reserve_sats=limits.reserve_sats,
        budget_per_day_sats=limits.budget_per_day_sats,
        entry_budget_per_day_sats=limits.entry_budget_per_day_sats,
        commands_per_minute=limits.commands_per_minute,
        guard_commands_per_minute=limits.guard_commands_per_minute,
        commands=0,
        guard_commands=0,
        reductions=0,
    )
