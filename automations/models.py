"""The automations people configure, what was done for them, and the journal of why."""

from datetime import timedelta
from fractions import Fraction
from typing import Any, ClassVar, Final, Self

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q, Sum

from accounts.models import Account
from automations.rules.margin_guard import AddFixed, AddToReach, Close, GuardConfig, Metric, Response
from exchange.money import Sats

BUDGET_DAY: Final = timedelta(hours=24)
"""A daily budget counts what was spent in the last 24 hours, so that midnight is no reset button."""


class Automation(models.Model):
    """A configured rule on one account; each kind is a table of its own below this one."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="automations")
    name = models.CharField(max_length=100)
    enabled = models.BooleanField(default=True)
    cooldown_s = models.PositiveIntegerField(
        "cooldown (seconds)",
        default=10,
        validators=[MinValueValidator(1)],
        help_text="After acting on a position, wait at least this long before acting on it again.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["account_id", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "name"], name="automation_name_is_unique_per_account"
            ),
            models.CheckConstraint(
                condition=Q(cooldown_s__gte=1), name="automation_cooldown_is_positive"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} on {self.account}"


class MarginGuardQuerySet(models.QuerySet["MarginGuard"]):
    def acting(self) -> Self:
        """Return the enabled guards of active, verified accounts, with their account."""
        return self.filter(
            enabled=True, account__is_active=True, account__verified_at__isnull=False
        ).select_related("account")


class MarginGuard(Automation):
    """Keep the account's positions from liquidation."""

    KIND: ClassVar = "margin_guard"
    """What the journal calls it; its events begin with this word."""

    class Does(models.TextChoices):
        ADD_FIXED = "add_fixed", "Add a fixed amount of margin"
        ADD_TO_REACH = "add_to_reach", "Add just enough margin to reach a target"
        CLOSE = "close_position", "Close the position"

    metric = models.CharField(
        max_length=32,
        choices=[
            (Metric.MARGIN_USED.value, "Margin used: the loss as a share of the margin"),
            (
                Metric.LIQUIDATION_DISTANCE.value,
                "Liquidation distance: the way there as a share of the price",
            ),
            (Metric.MARGIN_RATIO.value, "Margin ratio: the exchange's own, moves very late"),
        ],
        default=Metric.MARGIN_USED.value,
    )
    threshold_percent = models.DecimalField(
        "threshold (%)",
        max_digits=7,
        decimal_places=4,
        help_text="Act when the metric reaches this: 70 of the margin used, or 2 of distance left.",
    )
    does = models.CharField("action", max_length=32, choices=Does.choices, default=Does.ADD_TO_REACH)
    amount_sats = models.PositiveBigIntegerField(
        "amount (sats)", null=True, blank=True, help_text="For a fixed amount: sats added each time."
    )
    target_percent = models.DecimalField(
        "target (%)",
        max_digits=7,
        decimal_places=4,
        null=True,
        blank=True,
        help_text="For a target: add just enough to bring the metric back to this.",
    )
    budget_per_position_sats = models.PositiveBigIntegerField(
        "budget per position (sats)",
        default=100_000,
        help_text="All top-ups of one position together never pass this.",
    )
    budget_per_day_sats = models.PositiveBigIntegerField(
        "budget per 24 hours (sats)",
        default=200_000,
        help_text="All top-ups by this guard within 24 hours together never pass this.",
    )

    objects: ClassVar[models.Manager["MarginGuard"]] = MarginGuardQuerySet.as_manager()

    class Meta:
        verbose_name = "margin guard"
        constraints = [
            models.CheckConstraint(
                condition=Q(metric__in=[metric.value for metric in Metric]),
                name="guard_metric_is_known",
            ),
            models.CheckConstraint(
                condition=Q(threshold_percent__gt=0, threshold_percent__lte=100),
                name="guard_threshold_is_a_share",
            ),
            models.CheckConstraint(
                # A comparison with NULL is not false, and a check lets it through: say "not null" too.
                condition=Q(does="add_fixed", amount_sats__isnull=False, amount_sats__gt=0)
                | Q(does="add_to_reach", target_percent__isnull=False, target_percent__range=(0, 100))
                | Q(does="close_position"),
                name="guard_action_has_what_it_needs",
                violation_error_message="The chosen action needs its amount or its target.",
            ),
        ]

    def clean(self) -> None:
        """Refuse, at the right field, what could never work."""
        super().clean()
        faults: dict[str, str] = {}
        if self.does == self.Does.ADD_FIXED and not self.amount_sats:
            faults["amount_sats"] = "Say how many sats to add; at least 1."
        if self.does == self.Does.ADD_TO_REACH and self.target_percent is None:
            faults["target_percent"] = "Say which value the top-up should reach."
        if self.does != self.Does.CLOSE:
            for field in ("budget_per_position_sats", "budget_per_day_sats"):
                if not getattr(self, field):
                    faults[field] = "With a budget of zero this guard could never add margin."
        if faults:
            raise ValidationError(faults)
        self._check_shares()

    def _check_shares(self) -> None:
        if getattr(self, "threshold_percent", None) is None:
            return  # the form already said what is wrong with it
        try:
            self.config()
        except ValueError as fault:
            field = "target_percent" if "target" in str(fault) else "threshold_percent"
            raise ValidationError({field: f"{str(fault).capitalize()}."}) from fault

    def config(self) -> GuardConfig:
        """Return what the rule needs, as shares.

        Raises:
            ValueError: the numbers contradict each other; `clean` says the same at the field.
        """
        return GuardConfig(
            metric=Metric(self.metric),
            threshold=Fraction(self.threshold_percent) / 100,
            response=self._response(),
        )

    def _response(self) -> Response:
        match self.Does(self.does):
            case self.Does.ADD_FIXED:
                return AddFixed(amount=Sats(self.amount_sats or 0))
            case self.Does.ADD_TO_REACH:
                return AddToReach(target=Fraction(self.target_percent or 0) / 100)
            case _:
                return Close()


class ExecutionQuerySet(models.QuerySet["Execution"]):
    def unsettled(self) -> Self:
        """Return those whose effect at the exchange is not known yet."""
        return self.filter(state__in=Execution.UNSETTLED)

    def spending(self) -> Self:
        """Return those whose sats are spent or may be."""
        return self.filter(state__in=Execution.SPENDING)

    def sats(self) -> Sats:
        return Sats(self.aggregate(total=Sum("amount_sats"))["total"] or 0)


class Execution(models.Model):
    """One intent to act: committed before the request leaves, settled by the answer."""

    class State(models.TextChoices):
        INTENDED = "intended"
        CONFIRMED = "confirmed"
        REJECTED = "rejected"
        NOT_SENT = "not_sent", "not sent"
        UNKNOWN = "unknown"
        NOT_APPLIED = "not_applied", "not applied"
        QUARANTINED = "quarantined"

    class Does(models.TextChoices):
        ADD_MARGIN = "add_margin", "add margin"
        CLOSE_POSITION = "close_position", "close position"

    class Origin(models.TextChoices):
        TICK = "tick"
        SWEEP = "sweep"

    UNSETTLED: ClassVar = [State.INTENDED, State.UNKNOWN]
    SPENDING: ClassVar = [*UNSETTLED, State.CONFIRMED, State.QUARANTINED]
    """States in which the sats are spent, or may be."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="executions")
    automation = models.ForeignKey(Automation, on_delete=models.PROTECT, related_name="executions")
    position_id = models.CharField(max_length=64)
    does = models.CharField("action", max_length=32, choices=Does.choices)
    amount_sats = models.PositiveBigIntegerField(null=True)
    why = models.CharField(max_length=300)
    origin = models.CharField(max_length=8, choices=Origin.choices)
    tick_time_ms = models.PositiveBigIntegerField(
        null=True, help_text="The exchange's stamp of the tick that crossed the trigger."
    )
    tick_price = models.DecimalField(max_digits=12, decimal_places=2, null=True)

    # What the decision saw, and how old it was.
    price = models.DecimalField(max_digits=12, decimal_places=2)
    price_at = models.DateTimeField()
    price_source = models.CharField(max_length=8)
    positions_at = models.DateTimeField()
    positions_source = models.CharField(max_length=8)
    margin_before = models.PositiveBigIntegerField()
    funding_before = models.BigIntegerField(help_text="Funding fees of the position until then.")
    liquidation_before = models.DecimalField(max_digits=12, decimal_places=2)
    ratio_before = models.DecimalField(max_digits=9, decimal_places=6)

    state = models.CharField(max_length=16, choices=State.choices, default=State.INTENDED)
    margin_after = models.PositiveBigIntegerField(null=True)
    liquidation_after = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    error = models.CharField(max_length=500, blank=True)
    decided_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["Execution"]] = ExecutionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["position_id", "-id"], name="execution_by_position"),
            models.Index(fields=["automation", "-decided_at"], name="execution_by_automation"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["automation", "position_id"],
                condition=Q(state__in=["intended", "unknown"]),
                name="one_unsettled_execution_per_automation_and_position",
            ),
            models.CheckConstraint(
                condition=Q(does="add_margin", amount_sats__isnull=False, amount_sats__gt=0)
                | Q(does="close_position", amount_sats__isnull=True),
                name="execution_adds_sats_or_closes",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["intended", "unknown"], settled_at__isnull=True)
                | Q(
                    state__in=["confirmed", "rejected", "not_sent", "not_applied", "quarantined"],
                    settled_at__isnull=False,
                ),
                name="execution_is_settled_when_its_state_is_final",
            ),
        ]

    def __str__(self) -> str:
        return f"execution {self.pk}: {self.does} on {self.position_id}, {self.state}"


class JournalEntry(models.Model):
    """What happened and why, in the order it happened. Entries are added, never changed."""

    event = models.CharField(max_length=64)
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="journal")
    automation = models.ForeignKey(
        Automation, on_delete=models.PROTECT, null=True, related_name="journal"
    )
    execution = models.ForeignKey(
        Execution, on_delete=models.PROTECT, null=True, related_name="journal"
    )
    position_id = models.CharField(max_length=64, blank=True)
    type = models.CharField(max_length=32)
    message = models.CharField(max_length=500)
    data = models.JSONField(default=dict)
    timestamp = models.DateTimeField()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "journal"
        indexes = [
            models.Index(fields=["automation", "position_id", "-id"], name="journal_by_position"),
        ]

    def __str__(self) -> str:
        return f"{self.timestamp:%Y-%m-%d %H:%M:%S} {self.event}: {self.message}"

    def as_json(self) -> dict[str, Any]:
        """Return the entry in the shape that other programs read."""
        return {
            "automationId": self.automation_id,
            "type": self.type,
            "message": self.message,
            "data": self.data,
            "timestamp": self.timestamp.isoformat(),
        }
