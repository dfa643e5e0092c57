"""A position as the stream process last saw it running."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Self

from django.db import models
from django.db.models import Q

from accounts.models import Account
from automations.models.automation import REGIMES
from exchange.position import Position


class KnownPositionQuerySet(models.QuerySet["KnownPosition"]):
    def running(self) -> Self:
        """Return those that run, as far as we know."""
        return self.filter(gone_at__isnull=True)

    def gone(self) -> Self:
        """Return those whose end is still to be explained."""
        return self.filter(gone_at__isnull=False)

    def due(self, now: datetime) -> Self:
        """Return those of them that are to be looked for now, of accounts that may be read."""
        return self.gone().filter(
            look_at__lte=now, account__is_active=True, account__verified_at__isnull=False
        )


class KnownPosition(models.Model):
    """One running position, kept so that its end is found also where it came while nobody looked.

    Written by the stream process when something of it changed. One that is gone stays until its end is
    in the journal.
    """

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="known_positions")
    position_id = models.CharField(max_length=64)
    regime = models.CharField(max_length=16, choices=REGIMES)
    side = models.CharField(max_length=8)
    quantity = models.PositiveIntegerField()
    entry = models.DecimalField(max_digits=12, decimal_places=2)
    first_margin = models.BigIntegerField(help_text="Sats when it was first seen.")
    margin = models.BigIntegerField()
    liquidation = models.DecimalField(max_digits=12, decimal_places=2)
    stoploss = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    takeprofit = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    funding_fees = models.BigIntegerField(
        default=0, null=True, help_text="Signed: positive was paid; empty: not known."
    )
    first_seen_at = models.DateTimeField()
    seen_at = models.DateTimeField(help_text="When it last changed.")
    gone_at = models.DateTimeField(null=True, help_text="It is in no reading since.")
    look_at = models.DateTimeField(null=True, help_text="By beat, it is not looked for before.")
    unprotected_since = models.DateTimeField(null=True, help_text="Nobody can act on it.")

    objects: ClassVar[KnownPositionQuerySet] = KnownPositionQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(
                fields=["account"], condition=Q(gone_at__isnull=False), name="position_to_explain"
            ),
            models.Index(
                fields=["account"],
                condition=Q(unprotected_since__isnull=False),
                name="position_unprotected",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "position_id"],
                condition=Q(gone_at__isnull=True),
                name="a_running_position_is_known_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.position_id} of {self.account}"

    def take(self, position: Position, at: datetime) -> bool:
        """Take over how the position stands; return whether anything changed."""
        shown = values_of(position)
        if position.funding_fees is None:  # what was known last is nearer to it than nothing
            del shown["funding_fees"]
        if all(getattr(self, name) == value for name, value in shown.items()):
            return False
        for name, value in shown.items():
            setattr(self, name, value)
        self.seen_at = at
        return True


TAKEN = (
    "quantity", "entry", "margin", "liquidation", "stoploss", "takeprofit", "funding_fees",
)  # fmt: skip
"""What may change while it runs."""


def values_of(position: Position) -> dict[str, int | Decimal | None]:
    return {name: getattr(position, name) for name in TAKEN}
