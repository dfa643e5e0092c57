"""Execution: one intent to act, committed before the request leaves, settled after."""

from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar, Final, Self

from django.db import models
from django.db.models import Q, Sum

from accounts.models import Account
from automations.models.automation import REGIMES, Automation
from automations.models.margin_guard import GuardStep
from exchange.money import Sats
from exchange.position import Regime

_SIX_PLACES: Final = Decimal("0.000001")


def in_places(share: Fraction) -> Decimal:
    """Return a share as the table keeps it."""
    return (Decimal(share.numerator) / share.denominator).quantize(_SIX_PLACES)


class ExecutionQuerySet(models.QuerySet["Execution"]):
    def unsettled(self) -> Self:
        """Return those whose effect at the exchange is not known yet."""
        return self.filter(state__in=Execution.UNSETTLED)

    def left_open(self) -> Self:
        """Return those that somebody has to go on with, if nobody does: each with its account."""
        owed = Q(state=Execution.State.CONFIRMED, reopening_due=True)
        found = self.filter(Q(state__in=Execution.UNSETTLED) | owed)
        return found.select_related("account", "automation__account")

    def spending(self) -> Self:
        """Return those whose sats are spent or may be; a shadow's would be."""
        return self.filter(state__in=Execution.SPENDING)

    def sats(self) -> Sats:
        return Sats(self.aggregate(total=Sum("amount_sats"))["total"] or 0)


class Execution(models.Model):
    """One intent to act, what it was decided on, and what came of it."""

    class State(models.TextChoices):
        INTENDED = "intended"
        SENT = "sent"
        """The request is on its way. Written without waiting for the disk: who finds `intended` after a
        crash must take it for sent."""
        CONFIRMED = "confirmed"
        REJECTED = "rejected"
        NOT_SENT = "not_sent", "not sent"
        UNKNOWN = "unknown"
        NOT_APPLIED = "not_applied", "not applied"
        QUARANTINED = "quarantined"
        SHADOW = "shadow"

    class Does(models.TextChoices):
        NOTIFY = "notify"
        ADD_MARGIN = "add_margin", "add margin"
        REDUCE_POSITION = "reduce_position", "reduce position"
        CLOSE_POSITION = "close_position", "close position"
        SET_STOPLOSS = "set_stoploss", "set stop loss"
        SET_TRAILING = "set_trailing", "set trailing stop"
        SET_TAKEPROFIT = "set_takeprofit", "set take profit"
        OPEN_POSITION = "open_position", "open position"
        CANCEL_ORDER = "cancel_order", "cancel order"

    class Origin(models.TextChoices):
        TICK = "tick"
        SWEEP = "sweep"

    UNSETTLED: ClassVar = [State.INTENDED, State.SENT, State.UNKNOWN]
    SPENDING: ClassVar = [*UNSETTLED, State.CONFIRMED, State.QUARANTINED, State.SHADOW]
    """States in which the sats are spent, or may be."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="executions")
    automation = models.ForeignKey(Automation, on_delete=models.PROTECT, related_name="executions")
    step = models.ForeignKey(GuardStep, on_delete=models.SET_NULL, null=True, related_name="executions")
    follows = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        related_name="followed_by",
        help_text="The close after which this one opens the rest anew.",
    )
    regime = models.CharField(max_length=16, choices=REGIMES, default=Regime.ISOLATED.value)
    position_id = models.CharField(max_length=64, blank=True)
    continues_as = models.CharField(
        max_length=64,
        blank=True,
        help_text="Under which id the position runs on since it was made smaller; empty: its own.",
    )
    does = models.CharField("action", max_length=32, choices=Does.choices)
    amount_sats = models.PositiveBigIntegerField(
        null=True, help_text="Sats that leave the free balance: margin, and the fees put aside with it."
    )
    quantity = models.PositiveIntegerField(null=True, help_text="Contracts to close or open.")
    level = models.DecimalField(max_digits=12, decimal_places=1, null=True)
    distance = models.DecimalField(max_digits=9, decimal_places=6, null=True)
    client_id = models.CharField(max_length=64, blank=True)
    rests = models.BooleanField(
        default=False, help_text="An order that may rest at the exchange, as far as we know."
    )
    reopening_due = models.BooleanField(
        default=False, help_text="Once this close is confirmed, its rest is to be opened anew."
    )
    read_back_due = models.BooleanField(
        default=False, help_text="What the exchange shows after it has not been read yet."
    )
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
    positions_at = models.DateTimeField(null=True)
    positions_source = models.CharField(max_length=8, blank=True)
    before = models.JSONField(default=dict)
    """Margin, ratio, liquidation, funding fees, exits and balance, as far as known."""

    state = models.CharField(max_length=16, choices=State.choices, default=State.INTENDED)
    after = models.JSONField(default=dict)
    """The same, read back from the exchange."""
    error = models.CharField(max_length=500, blank=True)
    report = models.JSONField(null=True)
    """A failure in the shape that other programs read."""
    decided_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["Execution"]] = ExecutionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["account", "position_id", "-id"], name="execution_by_position"),
            models.Index(
                fields=["account", "continues_as"],
                condition=~Q(continues_as=""),
                name="execution_that_continues",
            ),
            models.Index(fields=["automation", "-decided_at"], name="execution_by_automation"),
            models.Index(fields=["account", "-decided_at"], name="execution_by_account"),
            models.Index(fields=["automation"], condition=Q(rests=True), name="execution_that_rests"),
            models.Index(
                fields=["account", "position_id", "-id"],
                condition=Q(
                    does__in=["set_stoploss", "set_trailing", "set_takeprofit"],
                    state__in=["confirmed", "quarantined"],
                ),
                name="execution_that_set_an_exit",
            ),
            models.Index(
                fields=["settled_at"], condition=Q(read_back_due=True), name="execution_to_read_back"
            ),
            models.Index(
                fields=["account"], condition=Q(reopening_due=True), name="execution_with_a_reopening"
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                # Of what got no answer there may be another: a gate says what cannot be done twice.
                fields=["automation", "position_id", "does"],
                condition=Q(state__in=["intended", "sent"]),
                name="one_request_on_its_way_per_automation_position_and_action",
            ),
            models.CheckConstraint(
                condition=(
                    Q(does="add_margin", amount_sats__isnull=False, amount_sats__gt=0)
                    | Q(does="reduce_position", amount_sats__isnull=True)
                    | Q(does="open_position")
                    | Q(does="set_trailing", distance__isnull=False, amount_sats__isnull=True)
                    | Q(does__in=["set_stoploss", "set_takeprofit"], level__isnull=False)
                    | Q(
                        does__in=["notify", "close_position", "cancel_order"], amount_sats__isnull=True
                    )
                ),
                name="execution_knows_what_its_action_needs",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["intended", "sent", "unknown"], settled_at__isnull=True)
                | Q(
                    state__in=[
                        "confirmed", "rejected", "not_sent", "not_applied", "quarantined", "shadow",
                    ],
                    settled_at__isnull=False,
                ),
                name="execution_is_settled_when_its_state_is_final",
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        where = self.position_id or "a new position"
        return f"execution {self.pk}: {self.get_does_display()} on {where}, {self.state}"

    def claim_reopening(self) -> bool:
        """Take upon oneself what follows this close; False where somebody else did.

        In the transaction that writes down what is done about it: so it is done once, or not yet.
        """
        owed = Execution.objects.filter(pk=self.pk, state=self.State.CONFIRMED, reopening_due=True)
        return owed.update(reopening_due=False) == 1

    def become(self, state: State, now: datetime) -> None:
        """Pass into another state; whoever calls saves it.

        Raises:
            ValueError: this one does not lead there.
        """
        if state not in NEXT_STATES.get(self.state, frozenset()):
            raise ValueError(f"an execution that is {self.state} cannot become {state}")
        self.state = state
        self.read_back_due = state == self.State.CONFIRMED and self.does != self.Does.NOTIFY
        self.settled_at = None if state in self.UNSETTLED else now


_STATE: Final = Execution.State
_LOOKED_AT: Final = frozenset({_STATE.CONFIRMED, _STATE.NOT_APPLIED, _STATE.QUARANTINED})
NEXT_STATES: Final[dict[str, frozenset[str]]] = {
    _STATE.INTENDED: frozenset({_STATE.SENT, _STATE.SHADOW, _STATE.CONFIRMED}) | _LOOKED_AT,
    _STATE.SENT: frozenset({_STATE.REJECTED, _STATE.NOT_SENT, _STATE.UNKNOWN}) | _LOOKED_AT,
    _STATE.UNKNOWN: _LOOKED_AT,
}
"""Where each state may lead; what is not named is final. `intended` is confirmed at once where nothing
is sent (a notification), and judged by proof after a crash, as are `sent` and `unknown`."""
