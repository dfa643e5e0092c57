"""Automations as people may configure them: strategies that draw the fields of each kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from hypothesis import strategies as st

from accounts.models import Account
from automations.models import AutoEntry, MarginGuard, TakeProfitStopLoss
from automations.models.kinds import Kind
from exchange.money import UsdPerBtc, tick_below

REST_S: Final = 60
"""How long automations rest: longer than a story lasts, and shorter than what passes in a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """What was drawn of an automation."""

    kind: type[Kind]
    fields: Mapping[str, Any]
    steps: tuple[Mapping[str, Any], ...] = ()

    def made(self, account: Account, name: str, market: UsdPerBtc) -> Kind:
        """Save it; prices that were drawn as shares of the market lie at `market` now."""
        fields = {
            field: _near(market, value) if isinstance(value, float) else value
            for field, value in self.fields.items()
        }
        automation = self.kind(enabled=True, account=account, name=name, cooldown_s=REST_S, **fields)
        automation.full_clean()
        automation.save()
        if isinstance(automation, MarginGuard):
            for step in self.steps:
                automation.steps.create(**step)
        return automation


def _near(market: UsdPerBtc, share: float) -> UsdPerBtc:
    return tick_below(Fraction(market) * Fraction(str(share)))


_RUNGS: Final = {
    # Of each metric: thresholds, then a target, then a hysteresis that any of them can bear.
    "margin_used": ((20, 40, 60, 80), 10, 5),
    "liquidation_distance": ((6, 5, 3, 1), 8, 1),
    "margin_ratio": ((2, 3, 5), None, None),
}


@st.composite
def _steps(draw: st.DrawFn, metric: str) -> tuple[Mapping[str, Any], ...]:
    thresholds, target, hysteresis = _RUNGS[metric]
    chosen = draw(st.lists(st.sampled_from(thresholds), min_size=1, max_size=3, unique=True))
    does: list[dict[str, Any]] = [
        {"does": "notify"},
        {"does": "add_fixed", "amount_sats": 5_000},
        {"does": "add_fixed", "amount_sats": 30_000},
        {"does": "add_share", "share_percent": 25},
        {"does": "reduce_position", "reduce_percentage": 40},
        {"does": "close_position"},
    ]
    if target is not None:
        does.append({"does": "add_to_reach", "target_percent": target})
    return tuple(
        {
            "threshold_percent": threshold,
            "hysteresis_percent": draw(st.sampled_from([None, hysteresis])),
            **draw(st.sampled_from(does)),
        }
        for threshold in chosen
    )


@st.composite
def guards(draw: st.DrawFn) -> Configured:
    metric = draw(st.sampled_from(list(_RUNGS)))
    fields = {
        "metric": metric,
        "regime": draw(st.sampled_from(["isolated", "isolated", "cross"])),
        "budget_per_position_sats": draw(st.sampled_from([40_000, 70_000])),
        "budget_per_day_sats": draw(st.sampled_from([50_000, 200_000])),
        "accepts_reopening": draw(st.sampled_from([True, True, False])),
        "shadow": draw(st.sampled_from([False, False, False, True])),
    }
    return Configured(kind=MarginGuard, fields=fields, steps=draw(_steps(metric)))


_EXITS: Final[tuple[dict[str, Any], ...]] = (
    {"does": "close_tp", "when": "profit"},
    {"does": "close_sl", "when": "loss"},
    {"does": "close_tp", "when": "profit", "on_exchange": False},
    {"does": "close_sl", "when": "loss", "on_exchange": False},
    {"does": "close_tp", "when": "profit", "regime": "cross"},
    {"does": "close_sl", "when": "loss", "regime": "cross"},
    {"does": "update_sl", "level": "break_even"},
    {"does": "update_sl", "level": "from_market", "distance_percent": 1, "when": "either"},
    {"does": "update_sl", "level": "from_entry", "distance_percent": 2, "when": "either"},
    {"does": "update_sl", "level": "trailing", "distance_percent": 3, "when": "either"},
    {"does": "update_sl", "level": "trailing", "distance_percent": 6, "when": "profit"},
    {"does": "update_sl", "level": "from_market", "distance_percent": 4, "may_loosen": True},
    {"does": "update_tp", "level": "from_market", "distance_percent": 2, "when": "either"},
    {"does": "update_tp", "level": "break_even", "when": "loss"},
)


@st.composite
def exits(draw: st.DrawFn) -> Configured:
    fields = {
        **draw(st.sampled_from(_EXITS)),
        "trigger_pnl_percentage": draw(st.sampled_from([10, 20])),
        "shadow": draw(st.sampled_from([False, False, False, True])),
    }
    return Configured(kind=TakeProfitStopLoss, fields=fields)


@st.composite
def _entries(draw: st.DrawFn) -> Configured:
    side = draw(st.sampled_from(["buy", "sell"]))
    fields: dict[str, Any] = {
        "side": side,
        "trigger_price": draw(st.sampled_from([None, 0.98, 1.02])),
        "breakout": draw(st.booleans()),
        "most_times": draw(st.sampled_from([1, 3])),
        "pause_s": REST_S,
        "regime": draw(st.sampled_from(["isolated", "isolated", "cross"])),
        "shadow": draw(st.sampled_from([False, False, False, True])),
    }
    if fields["trigger_price"] is not None:
        fields["trigger_type"] = draw(st.sampled_from(["market", "limit"]))
    if fields["regime"] == "cross":
        fields["quantity"] = 200
    else:
        fields |= draw(st.sampled_from([{"quantity": 500}, {"margin_sats": 20_000}]))
        fields |= draw(st.sampled_from([{}, {"stoploss": 0.94 if side == "buy" else 1.06}]))
    return Configured(kind=AutoEntry, fields=fields)


configurations: Final = st.one_of(guards(), guards(), exits(), exits(), _entries())
