"""Auto Entry's table."""

from collections.abc import Collection
from decimal import Decimal
from typing import Any, ClassVar, Final

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from automations.models.automation import (
    REGIMES,
    Automation,
    regime_is_known,
    side_is_known,
)
from automations.models.percent import share_of
from automations.rules.auto_entry import EntryConfig, Order
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc
from exchange.position import Regime
from exchange.trade import LARGEST_LEVERAGE, LARGEST_ORDER

_ONE_SIZE: Final = "Give a quantity or a margin, one of the two."
_FIELD_OF: Final = {
    "leverage": "leverage",
    "quantity": "quantity",
    "margin": "margin_sats",
    "trigger": "trigger_price",
    "stop": "stoploss",
    "take profit": "takeprofit",
    "takeprofit": "takeprofit",
}
"""In which field's words the rule speaks: what it mentions first is what it is about."""


def _price(label: str) -> Any:
    return models.DecimalField(label, max_digits=12, decimal_places=1, null=True, blank=True)


class AutoEntry(Automation):
    """Open a trade when the price comes."""

    KIND: ClassVar[str] = "auto_entry"

    class Market(models.TextChoices):
        BTCUSD = "btcusd", "BTC/USD"

    market = models.CharField(max_length=16, choices=Market.choices, default=Market.BTCUSD)
    regime = models.CharField("margin", max_length=16, choices=REGIMES, default=Regime.ISOLATED.value)
    side = models.CharField(
        max_length=8, choices=[(Side.BUY.value, "Buy: long"), (Side.SELL.value, "Sell: short")]
    )
    leverage = models.DecimalField(
        max_digits=5,
        decimal_places=2,
        default=Decimal(10),
        validators=[MinValueValidator(1), MaxValueValidator(LARGEST_LEVERAGE)],
        help_text="Of an isolated trade; the cross position keeps its own.",
    )
    quantity = models.PositiveIntegerField(
        "quantity (USD)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(LARGEST_ORDER)],
        help_text="Or a margin.",
    )
    margin_sats = models.PositiveBigIntegerField(
        "margin (sats)",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Or a quantity.",
    )
    stoploss = _price("stop loss (USD)")
    takeprofit = _price("take profit (USD)")
    trigger_price = _price("trigger price (USD)")
    breakout = models.BooleanField(
        default=False,
        help_text="Buy at or above the trigger, sell at or below, not the other way round.",
    )
    trigger_type = models.CharField(
        max_length=8,
        choices=[
            (Order.MARKET.value, "Market: opened by us when the price comes"),
            (Order.LIMIT.value, "Limit: rests at the exchange"),
        ],
        default=Order.MARKET.value,
    )
    slippage_percent = models.DecimalField(
        "slippage (%)",
        max_digits=7,
        decimal_places=4,
        default=Decimal("0.5"),
        validators=[
            MinValueValidator(Decimal("0.0001"), "This must be more than 0 %%."),
            MaxValueValidator(Decimal("99.9999"), "This must be less than 100 %%."),
        ],
        help_text="A market beyond the trigger by more than this is missed, and nothing is opened.",
    )
    expires_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Then nothing is opened any more, and an order that still rests is canceled.",
    )
    most_times = models.PositiveIntegerField(
        "how often", default=1, validators=[MinValueValidator(1)], help_text="Then it disarms."
    )
    pause_s = models.PositiveIntegerField(
        "pause (seconds)", default=60, help_text="Between one time and the next."
    )

    class Meta:
        verbose_name = "auto entry"
        verbose_name_plural = "auto entries"
        constraints = [
            side_is_known("entry_has_a_side", required=True),
            models.CheckConstraint(
                condition=Q(quantity__isnull=False, quantity__gt=0, margin_sats__isnull=True)
                | Q(quantity__isnull=True, margin_sats__isnull=False, margin_sats__gt=0),
                name="entry_has_one_size",
                violation_error_message=_ONE_SIZE,
            ),
            models.CheckConstraint(
                condition=Q(leverage__gte=1, leverage__lte=LARGEST_LEVERAGE),
                name="entry_leverage_is_in_range",
            ),
            models.CheckConstraint(condition=Q(most_times__gte=1), name="entry_acts_at_least_once"),
            models.CheckConstraint(
                condition=Q(slippage_percent__gt=0, slippage_percent__lt=100),
                name="entry_slippage_is_a_share",
            ),
            regime_is_known("entry_regime_is_known"),
        ]

    def clean(self) -> None:
        """Refuse, at the right field, what could never be opened."""
        super().clean()
        self._check_expiry()
        if self.side not in {side.value for side in Side} or self.leverage is None:
            return  # the field itself says so
        slippage: Any = self.slippage_percent
        if not isinstance(slippage, Decimal | int):
            return  # likewise
        if not self._has_one_size():
            return  # said below, where it is known whether a size was typed wrong
        try:
            self.rule()
        except ValueError as fault:
            said = str(fault)
            named = [(said.find(word), field) for word, field in _FIELD_OF.items() if word in said]
            field = min(named, default=(0, "side"))[1]
            raise ValidationError({field: f"{said[0].upper()}{said[1:]}."}) from fault

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """Say at the field that a size is missing or too much, unless one was typed wrong."""
        if not self._has_one_size() and not {"quantity", "margin_sats"} & set(exclude or ()):
            raise ValidationError({"quantity": _ONE_SIZE})
        super().validate_constraints(exclude)

    def _has_one_size(self) -> bool:
        return (self.quantity is None) != (self.margin_sats is None)

    def _check_expiry(self) -> None:
        if self.enabled and self.expires_at is not None and self.expires_at <= timezone.now():
            raise ValidationError({"expires_at": "This is past: nothing would ever be opened."})

    def rule(self) -> EntryConfig:
        """Return the rule.

        Raises:
            ValueError: the fields contradict each other.
        """
        return EntryConfig(
            side=Side(self.side),
            leverage=Decimal(self.leverage),  # a default is no Decimal before it is read back
            quantity=None if self.quantity is None else Usd(self.quantity),
            margin=None if self.margin_sats is None else Sats(self.margin_sats),
            stoploss=_or_none(self.stoploss),
            takeprofit=_or_none(self.takeprofit),
            trigger=_or_none(self.trigger_price),
            breakout=self.breakout,
            order=Order(self.trigger_type),
            slippage=share_of(self.slippage_percent),
            regime=Regime(self.regime),
        )


def _or_none(price: Decimal | None) -> UsdPerBtc | None:
    return None if price is None else UsdPerBtc(price)
