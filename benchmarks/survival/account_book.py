"""An account's executions in memory, and what `automations.condition` reads of them by SQL."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
    """The executions of one guard on one account, whose limits are those of a new account.

    Args:
        free: the balance as read at the beginning.
    """

    def __init__(self, free: Sats) -> None:
        self.entries: list[Entry] = []
        self.free = free
        self.free_ms = 0
        self._limits = Account()

    def intend(self, position_id: str, action: Command, price: UsdPerBtc, now_ms: int) -> int:
        """Write an intent down; return its number."""
        self.entries.append(
            Entry(
                position=position_id,
                does=action.does,
                step=getattr(action, "step", None),
                amount=action.amount if isinstance(action, AddMargin) else Sats(0),
                price=price,
                decided_ms=now_ms,
            )
        )
        return len(self.entries) - 1

    def settle(self, number: int, state: str, now_ms: int) -> None:
        entry = self.entries[number]
        entry.state, entry.settled_ms = state, now_ms

    def read_balance(self, free: Sats, now_ms: int) -> None:
        self.free, self.free_ms = free, now_ms

    def condition(self, position_id: str, now_ms: int) -> Condition:
        here = [each for each in self.entries if each.position == position_id]
        spent = Sats(sum(each.amount for each in self.entries if each.spends))
        spent_here = Sats(sum(each.amount for each in here if each.spends))
        return Condition(
            switches=["active", "active", "active"],
            enabled=True,
            shadow=False,
            may_act=True,
            reserve_sats=self._limits.reserve_sats,
            budget_per_day_sats=self._limits.budget_per_day_sats,
            entry_budget_per_day_sats=self._limits.entry_budget_per_day_sats,
            commands_per_minute=self._limits.commands_per_minute,
            guard_commands_per_minute=self._limits.guard_commands_per_minute,
            commands=0,
            guard_commands=sum(each.decided_ms > now_ms - _MINUTE_MS for each in self.entries),
            reductions=0,
            acts=tuple(_newest_acts(here)),
            unsettled=tuple(self._unsettled(position_id)),
            spent_on_position=spent_here,
            spent_on_position_today=spent_here,
            spent_by_automation=spent,
            spent_by_guards=spent,
            spent_since=Sats(sum(each.amount for each in self.entries if self._is_since(each))),
        )

    def _is_since(self, entry: Entry) -> bool:
        """Whether the balance as last read does not show it yet."""
        if not entry.spends:
            return False
        return entry.is_open or (entry.settled_ms is not None and entry.settled_ms >= self.free_ms)

    def _unsettled(self, position_id: str) -> Iterator[Unsettled]:
        for number, each in enumerate(self.entries):
            if each.is_open and each.position == position_id:
                yield Unsettled(id=number, does=each.does, amount=each.amount)


def _newest_acts(entries: list[Entry]) -> Iterator[Act]:
    newest = {(each.step, each.does): each for each in entries if each.settled_ms is not None}
    for each in newest.values():
        if each.state not in {_STATE.NOT_SENT, _STATE.NOT_APPLIED}:
            yield Act(
                step=each.step,
                does=each.does,
                state=each.state,
                price=each.price,
                settled_at=moment(each.settled_ms or 0),
            )
