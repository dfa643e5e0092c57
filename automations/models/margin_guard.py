"""Margin Guard's tables: the guard, its ladder of steps, and what is remembered of each position."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from decimal import Decimal
from typing import ClassVar, Final, Self

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils.functional import cached_property

from automations.models.automation import (
    PositionAutomation,
    regime_is_known,
    side_is_known,
)
from automations.models.percent import (
    absent_or_positive,
    budget_field,
    percent_field,
    percent_text,
    share_of,
)
from automations.rules.cross_guards import IN_VAIN, may_reduce
from automations.rules.margin_guard import (
    AddFixed,
    AddShare,
    AddToReach,
    Close,
    GuardConfig,
    Reduce,
    Response,
    Step,
    Tell,
)
from automations.rules.metric import Metric
from exchange.money import Sats
from exchange.position import Regime

_METRICS: Final = [
    (Metric.MARGIN_USED.value, "Margin used: the loss as a share of the margin"),
    (Metric.LIQUIDATION_DISTANCE.value, "Liquidation distance: the way there as a share of the price"),
    (Metric.MARGIN_RATIO.value, "Margin ratio: the exchange's own, moves very late"),
]


NO_BUDGET: Final = "Say what it may spend on one position: a share of the margin, or sats."


class MarginGuard(PositionAutomation):
    """Keep the account's positions from liquidation."""

    KIND: ClassVar[str] = "margin_guard"

    metric = models.CharField(max_length=32, choices=_METRICS, default=Metric.MARGIN_USED.value)
    budget_per_position_percent = budget_field(
        "budget per position (%)",
        default=Decimal(300),
        help_text="Of the position's first margin: all its top-ups together never pass this.",
    )
    budget_per_position_sats = models.PositiveBigIntegerField(
        "budget per position (sats)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="The same in sats; where both are given, the smaller one counts.",
    )
    budget_per_day_percent = budget_field(
        "budget per position in 24 hours (%)",
        help_text="Of the position's first margin; empty: no such bound.",
    )
    budget_per_day_sats = models.PositiveBigIntegerField(
        "budget per 24 hours (sats)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="All top-ups by this guard within 24 hours together; empty: no such bound.",
    )
    backstop = models.BooleanField(
        "leave a stop with the exchange",
        default=True,
        help_text=(
            "Where the closing step acts, the exchange holds a stop loss, which works while nothing of"
            " this installation does. Isolated trades only: the cross position knows no stop."
        ),
    )
    accepts_reopening = models.BooleanField(
        "I accept the cost of reducing",
        default=False,
        help_text=(
            "The exchange cannot close a part of an isolated trade: it is closed whole, at both fees"
            " and with its loss realised, and the rest is opened anew. If that fails, nothing is open."
        ),
    )

    class Meta:
        verbose_name = "margin guard"
        constraints = [
            models.CheckConstraint(
                condition=Q(metric__in=[metric.value for metric in Metric]),
                name="guard_metric_is_known",
            ),
            regime_is_known("guard_regime_is_known"),
            side_is_known("guard_side_is_known"),
            models.CheckConstraint(
                condition=Q(budget_per_position_percent__isnull=False)
                | Q(budget_per_position_sats__isnull=False),
                name="guard_has_a_budget_per_position",
                violation_error_message=NO_BUDGET,
            ),
            models.CheckConstraint(
                condition=(
                    absent_or_positive("budget_per_position_percent", below=10**7)
                    & absent_or_positive("budget_per_day_percent", below=10**7)
                    & absent_or_positive("budget_per_position_sats")
                    & absent_or_positive("budget_per_day_sats")
                ),
                name="guard_budgets_are_positive",
            ),
        ]

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """Say at its field that a guard has no budget, unless one was typed wrong."""
        budgets = {"budget_per_position_percent", "budget_per_position_sats"}
        if not budgets & set(exclude or ()) and all(getattr(self, name) is None for name in budgets):
            raise ValidationError({"budget_per_position_percent": NO_BUDGET})
        super().validate_constraints(exclude)

    @classmethod
    def acting(cls) -> models.QuerySet[Self]:
        """Return them with their steps, which the rule and the gates ask for again and again."""
        thresholds = models.Prefetch("position_thresholds", to_attr="own_thresholds")
        steps = GuardStep.objects.prefetch_related(thresholds)  # type: ignore[no-redef]
        return super().acting().prefetch_related(models.Prefetch("steps", steps, to_attr="ladder"))

    @cached_property
    def ladder(self) -> list["GuardStep"]:
        """The steps, as they were when asked for first.

        As lists they cost a sweep of many guards half of what a queryset for each of them does.
        """
        return list(self.steps.all())

    def take_steps(self, steps: list["GuardStep"], thresholds: Collection["PositionThreshold"]) -> None:
        """Have the steps, with all thresholds of positions, as `acting` finds them."""
        self.ladder = steps
        for step in steps:
            step.own_thresholds = [each for each in thresholds if each.step_id == step.pk]

    def rule(self, position_id: str | None = None) -> GuardConfig:
        """Return the rule, with a position's own thresholds where it has some.

        Raises:
            ValueError: the numbers contradict each other, or there is no step.
        """
        config = self.rule_of([step.as_rule() for step in self.ladder])
        own = {
            threshold.step_id: share_of(threshold.threshold_percent)
            for step in self.ladder
            for threshold in step.own_thresholds
            if threshold.position_id == position_id
        }
        return config.with_thresholds(own) if own else config

    def rule_of(self, steps: Iterable[Step]) -> GuardConfig:
        return GuardConfig(
            metric=Metric(self.metric),
            steps=tuple(steps),
            backstop=self.backstop,
            side=self.rule_side,
            positions=self.rule_positions,
        )


class GuardStep(models.Model):
    """One rung of a guard's ladder; most guards have one."""

    class Does(models.TextChoices):
        NOTIFY = "notify", "Only tell me"
        ADD_FIXED = "add_fixed", "Add a fixed amount of margin"
        ADD_SHARE = "add_share", "Add a share of the margin"
        ADD_TO_REACH = "add_to_reach", "Add just enough margin to reach a target"
        REDUCE = "reduce_position", "Close a part of the position"
        CLOSE = "close_position", "Close the position"

    NEEDS: ClassVar = {
        Does.ADD_FIXED: "amount_sats",
        Does.ADD_SHARE: "share_percent",
        Does.ADD_TO_REACH: "target_percent",
        Does.REDUCE: "reduce_percentage",
    }
    """Which field each action cannot do without."""

    guard = models.ForeignKey(MarginGuard, on_delete=models.CASCADE, related_name="steps")
    threshold_percent = percent_field(
        "threshold (%)",
        required=True,
        help_text="Act when the metric reaches this: 70 of the margin used, or 2 of distance left.",
    )
    does = models.CharField("action", max_length=32, choices=Does.choices, default=Does.ADD_TO_REACH)
    amount_sats = models.PositiveBigIntegerField(
        "amount (sats)", null=True, blank=True, validators=[MinValueValidator(1)]
    )
    share_percent = percent_field("share of the margin (%)")
    target_percent = percent_field("target (%)", help_text="Bring the metric back to this.")
    reduce_percentage = percent_field(
        "part to close (%)",
        help_text="More is closed where that alone would not bring the metric back.",
    )
    hysteresis_percent = percent_field(
        "hysteresis (%)",
        help_text="Act again only after the metric drew back from the threshold by this.",
    )
    cooldown_s = models.PositiveIntegerField(
        "cooldown (seconds)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Instead of the guard's own.",
    )

    class Meta:
        ordering = ["guard_id", "threshold_percent"]
        verbose_name = "step"
        constraints = [
            models.UniqueConstraint(
                fields=["guard", "threshold_percent"],
                name="two_steps_have_two_thresholds",
                violation_error_message="Another step has this threshold.",
            ),
            models.CheckConstraint(
                condition=Q(threshold_percent__gt=0, threshold_percent__lte=100),
                name="step_threshold_is_a_share",
            ),
            models.CheckConstraint(
                # A comparison with NULL is not false, and a check lets it through: say "not null" too.
                condition=Q(does="add_fixed", amount_sats__isnull=False, amount_sats__gt=0)
                | Q(does="add_share", share_percent__isnull=False, share_percent__gt=0)
                | Q(does="add_to_reach", target_percent__isnull=False, target_percent__gt=0)
                | Q(does="reduce_position", reduce_percentage__isnull=False, reduce_percentage__gt=0)
                | Q(does__in=["notify", "close_position"]),
                name="step_action_has_what_it_needs",
                violation_error_message="The chosen action needs its number.",
            ),
            models.CheckConstraint(
                condition=(
                    absent_or_positive("amount_sats")
                    & absent_or_positive("share_percent", below=1000)
                    & absent_or_positive("target_percent", below=1000)
                    & absent_or_positive("reduce_percentage", below=1000)
                    & absent_or_positive("hysteresis_percent", below=1000)
                    & absent_or_positive("cooldown_s")
                ),
                name="step_numbers_are_positive",
            ),
        ]

    def __str__(self) -> str:
        return f"at {percent_text(self.threshold_percent)}: {self.get_does_display()}"

    def clean(self) -> None:
        """Refuse, at the right field, what could never work."""
        super().clean()
        try:
            self.clean_fields(exclude={"guard"})
        except ValidationError:
            return  # each field says itself what is wrong with it
        if not hasattr(self, "guard"):
            return
        needed = self.NEEDS.get(self.Does(self.does)) if self.does in self.Does else None
        if needed is not None and getattr(self, needed) is None:
            raise ValidationError({needed: "The chosen action needs this number."})
        if self.does == self.Does.REDUCE and not self._may_reduce():
            raise ValidationError(
                {"does": "Tick “I accept the cost of reducing” first: it closes and reopens the trade."}
            )
        if self.does == self.Does.REDUCE and not may_reduce(self.guard.regime, self.guard.metric):
            said = f"{IN_VAIN[0].upper()}{IN_VAIN[1:]}: choose liquidation distance or margin ratio."
            raise ValidationError({"does": said})
        self._check_against_the_rule()

    def _may_reduce(self) -> bool:
        return self.guard.accepts_reopening or self.guard.regime != Regime.ISOLATED

    def _check_against_the_rule(self) -> None:
        try:
            self.guard.rule_of([self.as_rule()])
        except ValueError as fault:
            said = str(fault)
            field = next(
                (name for word, name in _FIELD_OF.items() if word in said), "threshold_percent"
            )
            raise ValidationError({field: f"{said[0].upper()}{said[1:]}."}) from fault

    @cached_property
    def own_thresholds(self) -> list["PositionThreshold"]:
        """Those of single positions, as they were when asked for first."""
        return list(self.position_thresholds.all())

    @property
    def acts_once(self) -> bool:
        """Whether it waits, after it acted, until the danger drew back."""
        return self.as_rule().waits

    def as_rule(self) -> Step:
        return Step(
            number=self.pk or 0,
            threshold=share_of(self.threshold_percent),
            response=self._response(),
            hysteresis=None if self.hysteresis_percent is None else share_of(self.hysteresis_percent),
        )

    def _response(self) -> Response:
        match self.Does(self.does):
            case self.Does.NOTIFY:
                return Tell()
            case self.Does.ADD_FIXED:
                return AddFixed(amount=Sats(self.amount_sats or 0))
            case self.Does.ADD_SHARE:
                return AddShare(share=share_of(self.share_percent))
            case self.Does.ADD_TO_REACH:
                return AddToReach(target=share_of(self.target_percent))
            case self.Does.REDUCE:
                return Reduce(share=share_of(self.reduce_percentage))
            case _:
                return Close()


_FIELD_OF: Final = {
    "target": "target_percent",
    "hysteresis": "hysteresis_percent",
    "part to close": "reduce_percentage",
    "share": "share_percent",
    "amount": "amount_sats",
}
"""In which field's words the rule speaks."""


class PositionThreshold(models.Model):
    """Another threshold of a step for one position."""

    step = models.ForeignKey(GuardStep, on_delete=models.CASCADE, related_name="position_thresholds")
    position_id = models.CharField(max_length=64)
    threshold_percent = percent_field("threshold (%)", required=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["step", "position_id"], name="a_position_has_one_threshold_per_step"
            ),
            models.CheckConstraint(
                condition=Q(threshold_percent__gt=0, threshold_percent__lte=100),
                name="position_threshold_is_a_share",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.position_id}: {percent_text(self.threshold_percent)}"

    def clean(self) -> None:
        """Refuse a threshold at which the step could not work."""
        super().clean()
        if getattr(self, "threshold_percent", None) is None:
            return  # the form already said what is wrong with it
        step = replace(self.step.as_rule(), threshold=share_of(self.threshold_percent))
        try:
            self.step.guard.rule_of([step])
        except ValueError as fault:
            raise ValidationError({"threshold_percent": f"With this threshold {fault}."}) from fault


class SpentStep(models.Model):
    """A step with hysteresis that acted on a position and waits for the danger to draw back."""

    step = models.ForeignKey(GuardStep, on_delete=models.CASCADE, related_name="spent")
    position_id = models.CharField(max_length=64)
    shadow = models.BooleanField(default=False)
    """Whether it only would have acted: a live guard is not bound by that."""
    acted_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["step", "position_id", "shadow"], name="a_step_is_spent_once_per_position"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.step} acted on {self.position_id}"
