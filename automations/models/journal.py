"""The journal: what happened and why, each entry sealed to the one before."""

import hashlib
import json
from datetime import UTC
from decimal import Decimal
from typing import Any, Final

from django.db import models

from accounts.models import Account
from accounts.times import written
from automations.models.automation import Automation
from automations.models.execution import Execution

_NUMBERS: Final = frozenset({
    "entry", "exitPrice", "leverage", "level", "liquidation", "marginRatio", "pnlPercentage", "price",
    "stoploss", "takeprofit", "trailing",
})  # fmt: skip
"""What is kept as a text, so that it stays exact, and is a number to other programs."""


def _with_numbers(data: Any) -> Any:
    """Return the same with JSON numbers for such texts, at any depth.

    They have 15 digits at the most, which a number of JavaScript's repeats without loss.
    """
    if not isinstance(data, dict):
        return data
    return {
        name: _number(value) if name in _NUMBERS and isinstance(value, str) else _with_numbers(value)
        for name, value in data.items()
    }


def _number(text: str) -> float:
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() else float(number)


class JournalChain(models.Model):
    """How an account's chain stands: where it ends, how much was exported, and what was pruned.

    The end is kept beside the entries, so that none can vanish or appear there unseen.
    """

    account = models.OneToOneField(
        Account, on_delete=models.PROTECT, primary_key=True, related_name="journal_chain"
    )
    newest_hash = models.CharField(max_length=64, blank=True, help_text="Empty: no entry yet.")
    length = models.PositiveBigIntegerField(default=0, help_text="Entries ever written.")
    exported_id = models.PositiveBigIntegerField(
        default=0, help_text="Up to this entry everything is in a file."
    )
    pruned_hash = models.CharField(max_length=64, blank=True)
    """What the oldest entry that is left follows; the newest pruning entry says the same, sealed."""
    pruned_length = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"the journal of {self.account}, {self.length} entries long"


class JournalEntry(models.Model):
    """One thing that happened. Entries are added, never changed; each account has its own chain.

    The database itself refuses to change an entry, and to delete one except by pruning.
    """

    event = models.CharField(max_length=64)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="journal")
    automation = models.ForeignKey(
        Automation, on_delete=models.PROTECT, null=True, related_name="journal"
    )
    # The number stays when the execution is pruned, with no row behind it: an entry is never written
    # to again, not even to forget. The sealed `data` names the execution too.
    execution = models.ForeignKey(
        Execution, on_delete=models.DO_NOTHING, db_constraint=False, null=True, related_name="journal"
    )
    position_id = models.CharField(max_length=64, blank=True)
    type = models.CharField(max_length=32)
    message = models.CharField(max_length=500)
    data = models.JSONField(default=dict)
    timestamp = models.DateTimeField()
    previous_hash = models.CharField(max_length=64, blank=True, editable=False)
    hash = models.CharField(max_length=64, unique=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "journal"
        indexes = [
            models.Index(fields=["automation", "position_id", "-id"], name="journal_by_position"),
            models.Index(fields=["account", "-id"], name="journal_by_account"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "previous_hash"], name="an_entry_has_one_successor"
            ),
        ]

    def __str__(self) -> str:
        return f"{written(self.timestamp, milliseconds=True)} {self.event}: {self.message}"

    def as_json(self) -> dict[str, Any]:
        """Return the entry in the shape that other programs read: its event, and numbers as such."""
        return self._sealed() | {"type": self.event, "data": _with_numbers(self.data)}

    def _sealed(self) -> dict[str, Any]:
        """Return what the hash is made of, beside the chain: exact decimals stay the texts they are."""
        return {
            "automationId": self.automation_id,
            "type": self.type,
            "message": self.message,
            "data": self.data,
            "timestamp": self.timestamp.astimezone(UTC).isoformat(),
        }

    def computed_hash(self) -> str:
        """Return the SHA-256, in hex, over everything the entry says and the hash of the one before.

        The execution's column is left out, for `data` names it.
        """
        said = [self.previous_hash, self.event, self.account_id, self.position_id, self._sealed()]
        text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()
