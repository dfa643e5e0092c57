"""What the stream process needs to know of each automation, as values that can be compared."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from accounts.models import Account
from automations.models import (
    AutoEntry,
    Automation,
    MarginGuard,
    PositionThreshold,
    TakeProfitStopLoss,
)
from automations.models.kinds import Kind, OnPosition
from automations.models.quarantine import free_on
from automations.remembering import Memories, memories_of_all
from automations.rules.auto_entry import EntryConfig
from automations.rules.margin_guard import GuardConfig
from automations.rules.memory import NOTHING, Memory
from automations.rules.take_profit_stop_loss import ExitConfig
from automations.triggers import Level
from exchange.position import Position, PositionId, Regime

logger = logging.getLogger(__name__)

PositionRule = GuardConfig | ExitConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionPlan:
    """An automation that looks at positions."""

    automation_id: int
    urgent: bool
    regime: Regime
    rule: PositionRule
    own_rules: dict[PositionId, PositionRule] = field(default_factory=dict)
    """Of positions with thresholds of their own."""
    memories: dict[PositionId, Memory] = field(default_factory=dict)
    quarantined: frozenset[PositionId] = frozenset()

    def levels(self, position: Position) -> tuple[Level, ...]:
        """Return the prices at which a look at the position is worth while."""
        rule = self.own_rules.get(position.id, self.rule)
        if position.regime is not self.regime or position.id in self.quarantined:
            return ()
        if not rule.covers(position):
            return ()
        return rule.levels(position, self.memories.get(position.id, NOTHING))


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPlan:
    """An automation that opens a position."""

    automation_id: int
    rule: EntryConfig


Plan = PositionPlan | EntryPlan


def acting(account_ids: Collection[int]) -> dict[Account, list[Kind]]:
    """Return, by account, what is switched on there, with all that the plans need.

    The number of queries is the same for one account and for a thousand.
    """
    found: dict[Account, list[Kind]] = {}
    accounts = Account.objects.in_bulk(account_ids)
    for automation in _acting(account_ids):
        # One object for each account, not one for each of its automations.
        automation.account = accounts[automation.account_id]
        found.setdefault(automation.account, []).append(automation)
    return found


def _acting(account_ids: Collection[int]) -> Iterator[Kind]:
    guards = MarginGuard.acting().prefetch_related("quarantines")
    exits = TakeProfitStopLoss.acting().prefetch_related("quarantines")
    for rows in (guards, exits, AutoEntry.acting().filter(free_on(None))):
        yield from rows.select_related(None).filter(account__in=account_ids)


def plans_of(automations: Collection[Kind]) -> tuple[Plan, ...]:
    """Return the plans; an automation whose numbers contradict each other is left out and logged."""
    return plans_of_all([automations])[0]


def plans_of_all(accounts: Sequence[Collection[Kind]]) -> list[tuple[Plan, ...]]:
    """Return the same for the automations of each of many accounts, in a fixed number of queries."""
    memories = memories_of_all(automation for account in accounts for automation in account)
    return [tuple(_usable(account, memories)) for account in accounts]


def _usable(automations: Iterable[Kind], memories: Mapping[int, Memories]) -> Iterator[Plan]:
    for automation in automations:
        try:
            yield _plan(automation, memories.get(automation.pk, {}))
        except ValueError as fault:
            _say(automation, fault)


def _plan(automation: Kind, memories: Memories) -> Plan:
    if isinstance(automation, AutoEntry):
        return EntryPlan(automation_id=automation.pk, rule=automation.rule())
    return PositionPlan(
        automation_id=automation.pk,
        urgent=isinstance(automation, MarginGuard),
        regime=Regime(automation.regime),
        rule=automation.rule(),
        own_rules=_own_rules(automation),
        memories=memories,
        quarantined=frozenset(PositionId(row.position_id) for row in automation.quarantines.all()),
    )


def _own_rules(automation: OnPosition) -> dict[PositionId, PositionRule]:
    if not isinstance(automation, MarginGuard):
        return {}
    thresholds: list[PositionThreshold] = [
        threshold for step in automation.steps.all() for threshold in step.position_thresholds.all()
    ]
    positions = {PositionId(threshold.position_id) for threshold in thresholds}
    return {position_id: automation.rule(position_id) for position_id in positions}


def _say(automation: Automation, fault: ValueError) -> None:
    extra = {
        "automation": automation.pk,
        "account": automation.account_id,
        "account_name": automation.account.name,
        "error": str(fault),
    }
    logger.error("automation cannot be used", extra=extra)
