"""Percentages as columns, and as the shares that rules count with."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q


def percent_field(
    label: str, *, help_text: str = "", required: bool = False, signed: bool = False
) -> Any:
    return models.DecimalField(
        label,
        max_digits=7,
        decimal_places=4,
        null=not required,
        blank=not required,
        help_text=help_text,
        validators=[]
        if signed
        else [MinValueValidator(Decimal("0.0001"), "This must be more than 0 %%.")],
    )


def budget_field(label: str, *, help_text: str, default: Decimal | None = None) -> Any:
    return models.DecimalField(
        label,
        max_digits=9,
        decimal_places=2,
        null=True,
        blank=True,
        default=default,
        help_text=help_text,
        validators=[MinValueValidator(Decimal("0.01"), "This must be more than 0 %%.")],
    )


def absent_or_positive(field: str, *, below: int | None = None) -> Q:
    """`below` also refuses NaN, which PostgreSQL takes for more than every number."""
    more = Q(**{f"{field}__gt": 0})
    if below is not None:
        more &= Q(**{f"{field}__lt": below})
    return Q(**{f"{field}__isnull": True}) | more


def percent_text(percent: Decimal) -> str:
    return f"{Decimal(percent).normalize():f} %"


def share_of(percent: Decimal | int | None) -> Fraction:
    """Return a percentage, as it is kept or was just entered, as a share; none of it is 0."""
    over, under = (percent or 0).as_integer_ratio()
    return Fraction(over, under * 100)
