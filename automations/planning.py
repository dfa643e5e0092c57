"""What the stream process needs to know of each automation, as values that can be compared."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django.db.models import QuerySet

from accounts.models import Account
from automations.models import (
    AutoEntry,
    Automation,
    MarginGuard,
)
from automations.models.kinds import KINDS, Kind, OnPosition
from automations.models.quarantine import free_on
from automations.quarantine import quarantined_on
from automations.remembering import Memories, memories_of_all
from automations.rules.actions import asks_for_a_look
from automations.rules.auto_entry import EntryConfig
from automations.rules.margin_guard import GuardConfig
from automations.rules.memory import NOTHING, Memory
from automations.rules.take_profit_stop_loss import Does, ExitConfig
from automations.triggers import Level
from exchange.market import Quote
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

    @property
    def disarmed(self) -> frozenset[PositionId]:
        """Return the positions on which its owner's hand won, also those that are gone."""
        return frozenset(place for place, memory in self.memories.items() if memory.disarmed)

    def levels(self, position: Position) -> tuple[Level, ...]:
        """Return the prices at which a look at the position is worth while."""
        rule = self._rule_on(position)
        return () if rule is None else rule.levels(position, self._memory_of(position))

    def due(self, quote: Quote, positions: Iterable[Position]) -> Iterator[PositionId]:
        """Yield the positions that must be looked at, at this price; guards look at the worse one."""
        for position in positions:
            rule, memory = self._rule_on(position), self._memory_of(position)
            guards = isinstance(rule, GuardConfig)
            price = quote.worst_for(position.side) if guards else quote.price
            # A spent step whose danger drew back is looked at too, so that it may act again.
            if rule and (memory.spent or asks_for_a_look(rule.decide(position, price, memory))):
                yield position.id

    def _rule_on(self, position: Position) -> PositionRule | None:
        """Return the rule for a position; None where nobody may look."""
        if position.regime is not self.regime or position.id in self.quarantined:
            return None
        rule = self.own_rules.get(position.id, self.rule)
        return rule if rule.covers(position) else None

    def _memory_of(self, position: Position) -> Memory:
        return self.memories.get(position.id, NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPlan:
    """An automation that opens a position."""

    automation_id: int
    rule: EntryConfig
    regime: ClassVar[None] = None
    """It looks at no position."""
    urgent: ClassVar[bool] = False

    def due(self, quote: Quote, _: Iterable[Position]) -> Iterator[None]:
        """Yield once if it would open at this price."""
        if asks_for_a_look(self.rule.decide(quote.price)):
            yield None


Plan = PositionPlan | EntryPlan


def acting(
    account_ids: Collection[int], kinds: Iterable[type[Kind]] = KINDS
) -> dict[Account, list[Kind]]:
    """Return, by account, what is switched on there, with all that the plans need.

    The number of queries is the same for one account and for a thousand.
    """
    found: dict[Account, list[Kind]] = {}
    accounts = Account.objects.in_bulk(account_ids)
    for kind in kinds:
        for automation in _acting(kind, account_ids):
            # One object for each account, not one for each of its automations.
            automation.account = accounts[automation.account_id]
            found.setdefault(automation.account, []).append(automation)
    return found


def _acting(kind: type[Kind], account_ids: Collection[int]) -> QuerySet[Any, Kind]:
    rows: QuerySet[Any, Any] = kind.acting().filter(account__in=account_ids).select_related(None)
    return (rows.filter(free_on(None)) if kind is AutoEntry else rows).order_by("account_id", "pk")


def plans_of(automations: Collection[Kind]) -> tuple[Plan, ...]:
    """Return the plans; an automation whose numbers contradict each other is left out and logged."""
    return plans_of_all([automations])[0]


def plans_of_all(accounts: Sequence[Collection[Kind]]) -> list[tuple[Plan, ...]]:
    """Return the same for the automations of each of many accounts, in a fixed number of queries."""
    every = [automation for account in accounts for automation in account]
    of_accounts = {automation.account_id for automation in every}
    past = _Past(memories=memories_of_all(every), quarantined=quarantined_on(of_accounts))
    return [tuple(_usable(account, past)) for account in accounts]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Past:
    """What is remembered of automations, by their ids."""

    memories: Mapping[int, Memories]
    quarantined: Mapping[int, frozenset[PositionId]]


def _usable(automations: Iterable[Kind], past: _Past) -> Iterator[Plan]:
    for automation in automations:
        try:
            yield _plan(automation, past)
        except ValueError as fault:
            _say(automation, fault)


def _plan(automation: Kind, past: _Past) -> Plan:
    if isinstance(automation, AutoEntry):
        return EntryPlan(automation_id=automation.pk, rule=automation.rule())
    return PositionPlan(
        automation_id=automation.pk,
        urgent=_is_urgent(automation),
        regime=Regime(automation.regime),
        rule=automation.rule(),
        own_rules=_own_rules(automation),
        memories=past.memories.get(automation.pk, {}),
        quarantined=past.quarantined.get(automation.pk, frozenset()),
    )


def _is_urgent(automation: OnPosition) -> bool:
    """Whether it must not wait behind anything else: it saves, or stops, a position that loses."""
    return isinstance(automation, MarginGuard) or automation.does == Does.CLOSE_SL


def _own_rules(automation: OnPosition) -> dict[PositionId, PositionRule]:
    if not isinstance(automation, MarginGuard):
        return {}
    positions = {
        PositionId(threshold.position_id)
        for step in automation.ladder
        for threshold in step.own_thresholds
    }
    return {position_id: automation.rule(position_id) for position_id in positions}


def _say(automation: Automation, fault: ValueError) -> None:
    extra = {
        "automation": automation.pk,
        "account": automation.account_id,
        "account_name": automation.account.name,
        "error": str(fault),
    }
    logger.error("automation cannot be used", extra=extra)
