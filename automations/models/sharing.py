"""How several stream processes share the accounts, and hear of what changes their plans."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from accounts.models import Account


class PlanChange(models.Model):
    """One change that may matter to what is armed for an account.

    Rows are written by triggers of the database alone, so that nobody can forget it, and only added:
    whoever changes something waits for nobody (docs/decisions/0004-leases.md).
    """

    account_id = models.BigIntegerField()  # no foreign key: it would look at the account's row
    transaction = models.BigIntegerField(db_index=True)
    """PostgreSQL's number of the transaction that made the change."""
    changed_at = models.DateTimeField(db_default=Now(), db_index=True)

    def __str__(self) -> str:
        return f"something about account {self.account_id} changed"


class StreamProcess(models.Model):
    """One stream process, as long as it lives: all its leases hang on this one row."""

    name = models.CharField(max_length=100)
    """Where it runs, for people."""
    alive_until = models.DateTimeField()
    """By the database's clock. After that anybody may delete the row, and does."""
    holds = models.PositiveIntegerField(default=0)
    """How many leases it counts."""

    def __str__(self) -> str:
        return f"{self.name}, {self.holds} accounts"


class Lease(models.Model):
    """An account that has something to watch, and the one stream process that may watch it."""

    account = models.OneToOneField(Account, on_delete=models.CASCADE, primary_key=True)
    holder = models.ForeignKey(
        StreamProcess,
        on_delete=models.SET_NULL,
        null=True,
        related_name="leases",
        db_index=False,  # the one below serves it
    )

    class Meta:
        indexes: ClassVar = [models.Index(fields=["holder", "account"], name="lease_by_holder")]

    def __str__(self) -> str:
        return f"account {self.account_id}: {self.holder or 'nobody'}"
