"""An action that asks the gates: what it was decided on, what bounds it, and what a gate says."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from django.utils import timezone

from automations.condition import Condition
from automations.models import Automation
from automations.reading import Seen
from automations.rules.actions import Command, OpenPosition
from exchange.account import Balance
from exchange.money import Sats
from exchange.position import Position, PositionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A gate said no."""

    reason: str
    """One word for programs; the same word twice in a row is journalled once."""
    because: str
    """The same in words."""
    message: str
    """What the rule wanted, and why the gate said no."""
    missing: Sats | None = None
    """How many sats more the action would take; None: it is not about money."""
    until: datetime | None = None
    """When asking again is worth while; None: not known."""
    wish: Command | None = None
    """What was refused; None: the rule itself held back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An action on its way to the exchange, what it was decided on, and what bounds it."""

    automation: Automation
    action: Command
    seen: Seen
    now: datetime
    condition: Condition
    """Read under the account's lock: two actions of one account never weigh a budget at once."""
    balance: Balance | None = None
    """None where the action spends nothing, or where the balance could not be read."""
    not_seen: frozenset[int] = frozenset()
    """Unsettled executions of which the exchange, looked at since, shows no effect."""
    retries: bool = False
    """It is the second try of a top-up that the exchange refused for want of money."""

    @classmethod
    def read(
        cls,
        automation: Automation,
        action: Command,
        seen: Seen,
        balance: Balance | None,
        *,
        locking: bool = False,
        not_seen: frozenset[int] = frozenset(),
    ) -> Self:
        """Read what bounds the action, and every other one on the same position, now."""
        now = timezone.now()
        condition = Condition.read(
            automation,
            _position_id(action),
            now=now,
            asked_at=balance.at if balance else None,
            locking=locking,
        )
        return cls(
            automation=automation,
            action=action,
            seen=seen,
            now=now,
            condition=condition,
            balance=balance,
            not_seen=not_seen,
        )

    @property
    def position_id(self) -> str:
        return _position_id(self.action)

    @property
    def position(self) -> Position | None:
        return self.seen.position(PositionId(self.position_id))

    def refuse(
        self,
        reason: str,
        because: str,
        *,
        missing: Sats | None = None,
        until: datetime | None = None,
    ) -> Refusal:
        message = f"{self.action.why}, but {because}"
        if missing:
            message += f": {missing:,} sats are missing"
        return Refusal(
            reason=reason,
            because=because,
            message=message,
            missing=missing,
            until=until,
            wish=self.action,
        )


def _position_id(action: Command) -> str:
    return "" if isinstance(action, OpenPosition) else action.position_id


Verdict = Refusal | None
