"""What all automations have in common, whatever their kind."""

from collections.abc import Collection
from typing import ClassVar, Final, Self, cast

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from accounts.models import Account
from accounts.switch import Switch, switch_field
from exchange.formulas import Side
from exchange.position import CROSS, PositionId, Regime
from exchange.unreadable import Unreadable

REGIMES = [
    (Regime.ISOLATED.value, "Isolated trades"),
    (Regime.CROSS.value, "The cross position"),
]


NO_STOP_ON_CROSS: Final = (
    "The exchange takes no stop on the cross position: while this installation does not run, nothing"
    " protects it."
)


class Automation(models.Model):
    """A configured rule on one account; each kind is a table of its own below this one."""

    KIND: ClassVar[str] = ""
    """What the journal calls it; its events begin with this word."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="automations")
    name = models.CharField(max_length=100)
    enabled = models.BooleanField(default=False, help_text="Look at its preview before you tick this.")
    switch = switch_field()
    shadow = models.BooleanField(
        default=False,
        help_text="Decide on live data and write down what would be done, but do nothing.",
    )
    cooldown_s = models.PositiveIntegerField(
        "cooldown (seconds)",
        default=1,
        validators=[MinValueValidator(1)],
        help_text=(
            "After acting, wait this long before acting on the same position again while the danger is"
            " the same. At a worse price it acts at once, and closing never waits."
        ),
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
            models.CheckConstraint(
                condition=Q(switch__in=Switch.values), name="automation_switch_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} on {self.account}"

    @classmethod
    def acting(cls) -> models.QuerySet[Self]:
        """Return those switched on, of active, verified accounts; each with its account.

        What only the switches forbid is among them: it is refused where it would act, and journalled.
        """
        found = cls._default_manager.filter(
            enabled=True, account__is_active=True, account__verified_at__isnull=False
        ).select_related("account")
        return cast("models.QuerySet[Self]", found)


class PositionAutomation(Automation):
    """What automations that look at positions have in common: which ones they look at."""

    regime = models.CharField(
        "positions",
        max_length=16,
        choices=REGIMES,
        default=Regime.ISOLATED.value,
        help_text=NO_STOP_ON_CROSS,
    )
    side = models.CharField(
        max_length=8,
        choices=[("", "Both"), (Side.BUY.value, "Long"), (Side.SELL.value, "Short")],
        blank=True,
        default="",
    )
    only_positions = ArrayField(
        models.CharField(max_length=64),
        default=list,
        blank=True,
        verbose_name="only these positions",
        help_text="Ids with commas between; empty: all.",
    )

    class Meta:
        abstract = True

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """Refuse what is no list at its field: the field's own check would fail on it."""
        if not isinstance(self.only_positions, list):
            raise ValidationError({"only_positions": "Give the ids of the positions as a list."})
        super().clean_fields(exclude)

    @property
    def rule_side(self) -> Side | None:
        return Side(self.side) if self.side else None

    @property
    def rule_positions(self) -> frozenset[PositionId]:
        return frozenset(PositionId(each) for each in self.only_positions)

    def may_cover(self, row: Unreadable) -> bool:
        """Whether it would look at a position of which at most the id is known."""
        of_regime = (row.id == CROSS) is (self.regime == Regime.CROSS)
        named = not self.only_positions or row.id is None or row.id in self.only_positions
        return of_regime and named


def regime_is_known(name: str) -> models.CheckConstraint:
    return models.CheckConstraint(condition=Q(regime__in=[each.value for each in Regime]), name=name)


def side_is_known(name: str, *, required: bool = False) -> models.CheckConstraint:
    sides = [side.value for side in Side]
    return models.CheckConstraint(condition=Q(side__in=sides if required else [*sides, ""]), name=name)
