"""Notification: what an owner is to be told, and how far that got."""

from datetime import datetime
from typing import ClassVar, Self

from django.db import models
from django.db.models import Q

from accounts.models import Account
from automations.models.journal import JournalEntry


class NotificationQuerySet(models.QuerySet["Notification"]):
    def due(self, now: datetime) -> Self:
        """Return what is to be delivered by now, the longest due first."""
        waiting = self.filter(state=Notification.State.WAITING, next_attempt_at__lte=now)
        return waiting.order_by("next_attempt_at", "id")


class Notification(models.Model):
    """One message to an account's owner about one entry of the journal, written together with it."""

    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        LOGGED = "logged", "logged, for there is no mail server"
        FAILED = "failed"

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="notifications")
    # As an execution's, the number stays when the entry is pruned.
    entry = models.OneToOneField(
        JournalEntry, on_delete=models.DO_NOTHING, db_constraint=False, related_name="notification"
    )
    topic = models.CharField(
        max_length=200,
        blank=True,
        help_text="Who, on which position, and what: repetitions are joined.",
    )
    count = models.PositiveIntegerField(
        default=0, help_text="Repetitions that it collects; 0: the first, which is told by itself."
    )
    ends = models.BooleanField(
        default=False, help_text="Protection ended or weakened with this, and is not back yet."
    )
    is_back = models.BooleanField(default=False, help_text="It also says that protection is back.")
    subject = models.CharField(max_length=200)
    text = models.TextField()
    made_at = models.DateTimeField()
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(help_text="While it waits, it is not tried before.")
    recipient = models.EmailField(blank=True, help_text="The owner's address at the last attempt.")
    error = models.CharField(max_length=500, blank=True, help_text="Why the last attempt failed.")
    settled_at = models.DateTimeField(null=True)

    objects: ClassVar[NotificationQuerySet] = NotificationQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["account", "topic", "-id"], name="notification_by_topic"),
            models.Index(fields=["account"], condition=Q(ends=True), name="notification_of_an_end"),
            models.Index(
                fields=["next_attempt_at"], condition=Q(state="waiting"), name="notification_that_waits"
            ),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state="waiting", settled_at__isnull=True)
                | Q(state__in=["sent", "logged", "failed"], settled_at__isnull=False),
                name="notification_is_settled_unless_it_waits",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subject}: {self.state}"

    def settle(self, state: State, now: datetime, *, error: str = "") -> None:
        self.state, self.settled_at, self.error = state, now, error[:500]
        self.save(update_fields=["state", "settled_at", "error", "recipient"])
