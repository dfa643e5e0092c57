"""Take Profit / Stop Loss's table."""

from decimal import Decimal
from fractions import Fraction
from typing import ClassVar, Final

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q

from automations.models.automation import (
    PositionAutomation,
    regime_is_known,
    side_is_known,
)
from automations.models.percent import percent_field, share_of
from automations.rules.take_profit_stop_loss import (
    AtPrice,
    Base,
    BreakEven,
    Does,
    ExitConfig,
    FromEntry,
    FromMarket,
    Target,
    Trailing,
    When,
)
from exchange.formulas import FIRST_TIER_FEE_RATE
from exchange.money import MAX_PRICE, MIN_PRICE, UsdPerBtc, is_on_grid
from exchange.position import Regime
from exchange.trade import TRAILING_RANGE

_LEAST_DISTANCE: Final = {
    "trailing": TRAILING_RANGE[0] * 100,
    "from_entry": Decimal("-99.9999"),
}
_ACTIONS: Final = [
    (Does.UPDATE_TP.value, "Move the take profit"),
    (Does.UPDATE_SL.value, "Move the stop loss"),
    (Does.CLOSE_TP.value, "Close in profit"),
    (Does.CLOSE_SL.value, "Close at a loss"),
]


class TakeProfitStopLoss(PositionAutomation):
    """Move the exits of positions, or close them, at a profit or a loss."""

    KIND: ClassVar[str] = "tp_sl"

    class Level(models.TextChoices):
        """Where an exit is moved to."""

        PRICE = "price", "To a price"
        FROM_ENTRY = "from_entry", "A distance from the entry"
        FROM_MARKET = "from_market", "A distance from the market"
        BREAK_EVEN = "break_even", "To break-even, fees paid"
        TRAILING = "trailing", "A stop that trails by a distance"

    does = models.CharField("action", max_length=16, choices=_ACTIONS)
    trigger_pnl_percentage = percent_field(
        "trigger (%)", required=True, help_text="Profit or loss as a percentage of the base."
    )
    base = models.CharField(
        max_length=16,
        choices=[(Base.MARGIN.value, "Of the margin"), (Base.NOTIONAL.value, "Of the notional")],
        default=Base.MARGIN.value,
    )
    when = models.CharField(
        max_length=8,
        choices=[
            (When.PROFIT.value, "In profit"),
            (When.LOSS.value, "In loss"),
            (When.EITHER.value, "Either"),
        ],
        default=When.PROFIT.value,
        help_text="Closing in profit and closing at a loss know only their own side.",
    )
    level = models.CharField(
        "new level", max_length=16, choices=Level.choices, blank=True, help_text="For moving an exit."
    )
    new_takeprofit = models.DecimalField(
        "new take profit (USD)", max_digits=12, decimal_places=1, null=True, blank=True
    )
    new_stoploss = models.DecimalField(
        "new stop loss (USD)", max_digits=12, decimal_places=1, null=True, blank=True
    )
    distance_percent = percent_field(
        "distance (%)",
        signed=True,
        help_text="From entry or market, or of trailing; below 0: on the other side of the entry.",
    )
    may_loosen = models.BooleanField(
        "may loosen a stop", default=False, help_text="Otherwise a stop only moves towards the market."
    )
    on_exchange = models.BooleanField(
        "leave it with the exchange",
        default=True,
        help_text="Closing levels become a stop or take profit there, which act while this is down.",
    )

    class Meta:
        verbose_name = "take profit / stop loss"
        verbose_name_plural = "take profit / stop loss"
        constraints = [
            models.CheckConstraint(
                condition=Q(does__in=[does.value for does in Does]), name="exit_action_is_known"
            ),
            models.CheckConstraint(
                condition=Q(base__in=[base.value for base in Base]), name="exit_base_is_known"
            ),
            models.CheckConstraint(
                condition=Q(when__in=[when.value for when in When]), name="exit_side_of_entry_is_known"
            ),
            models.CheckConstraint(
                condition=Q(
                    level__in=["", "price", "from_entry", "from_market", "break_even", "trailing"]
                ),
                name="exit_level_is_known",
            ),
            models.CheckConstraint(
                condition=Q(trigger_pnl_percentage__gt=0), name="exit_trigger_is_positive"
            ),
            models.CheckConstraint(
                condition=Q(does="close_tp", when="profit")
                | Q(does="close_sl", when="loss")
                | (Q(does__in=["update_tp", "update_sl"]) & ~Q(level="")),
                name="exit_acts_on_its_side_and_knows_its_level",
                violation_error_message="The action, the side and the new level do not fit together.",
            ),
            regime_is_known("exit_regime_is_known"),
            side_is_known("exit_side_is_known"),
        ]

    def clean(self) -> None:
        """Refuse, at the right field, what could never work."""
        super().clean()
        updates = self.does in {Does.UPDATE_TP, Does.UPDATE_SL}
        if updates and self.regime == Regime.CROSS:
            raise ValidationError(
                {"regime": "The cross position has neither stop nor take profit to move."}
            )
        if updates:
            self._check_level()
        closing_side = {Does.CLOSE_TP.value: When.PROFIT, Does.CLOSE_SL.value: When.LOSS}.get(self.does)
        if closing_side is not None and self.when != closing_side:
            raise ValidationError({"when": f"This action acts in {closing_side} only."})
        of_margin = self.base == Base.MARGIN and self.when == When.LOSS
        if of_margin and (self.trigger_pnl_percentage or 0) >= 100:
            raise ValidationError(
                {"trigger_pnl_percentage": "Liquidation comes before a loss of the whole margin."}
            )

    def _check_level(self) -> None:
        if not self.level:
            raise ValidationError({"level": "Say where the exit goes."})
        if self.level == self.Level.TRAILING and self.does == Does.UPDATE_TP:
            raise ValidationError({"level": "Only a stop can be trailing."})
        if self.level == self.Level.PRICE:
            field = "new_takeprofit" if self.does == Does.UPDATE_TP else "new_stoploss"
            price = getattr(self, field)
            if price is None or not MIN_PRICE <= price <= MAX_PRICE or not is_on_grid(price):
                raise ValidationError({field: f"A price up to {MAX_PRICE} in steps of 0.5 is needed."})
        elif self.level != self.Level.BREAK_EVEN:
            self._check_distance()

    def _check_distance(self) -> None:
        """Refuse a distance that no position could take; what one side cannot is the rule's to say."""
        if self.distance_percent is None:
            raise ValidationError({"distance_percent": "Say how far."})
        least = _LEAST_DISTANCE.get(self.level, Decimal("0.0001"))
        if not least <= self.distance_percent < 100:
            raise ValidationError(
                {"distance_percent": f"It must be at least {least:f} % and less than 100 %."}
            )

    def rule(self, position_id: str | None = None) -> ExitConfig:  # noqa: ARG002 - as all rules are asked
        """Return the rule.

        Raises:
            ValueError: the fields contradict each other.
        """
        does = Does(self.does)
        return ExitConfig(
            does=does,
            threshold=share_of(self.trigger_pnl_percentage),
            when=When(self.when),
            base=Base(self.base),
            target=self._target() if does in {Does.UPDATE_TP, Does.UPDATE_SL} else None,
            may_loosen=self.may_loosen,
            on_exchange=self.on_exchange,
            side=self.rule_side,
            positions=self.rule_positions,
        )

    def _target(self) -> Target:
        share = share_of(self.distance_percent)
        match self.Level(self.level):
            case self.Level.PRICE:
                price = self.new_takeprofit if self.does == Does.UPDATE_TP else self.new_stoploss
                if price is None:
                    raise ValueError("the new level must be given")
                return AtPrice(price=UsdPerBtc(price))
            case self.Level.FROM_ENTRY:
                return FromEntry(share=share)
            case self.Level.FROM_MARKET:
                return FromMarket(share=share)
            case self.Level.TRAILING:
                return Trailing(share=share)
            case _:
                return BreakEven(fee_rate=Fraction(FIRST_TIER_FEE_RATE))
