"""Forms as a person types them, and what their pages then say."""

from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS
from django.urls import reverse

from automations.models import AutoEntry, Automation, MarginGuard, TakeProfitStopLoss

GUARD, EXITS, ENTRY = "marginguard", "takeprofitstoploss", "autoentry"
KINDS = {GUARD: MarginGuard, EXITS: TakeProfitStopLoss, ENTRY: AutoEntry}
TYPED: dict[str, dict[str, str]] = {
    GUARD: {
        "regime": "isolated",
        "side": "",
        "only_positions": "",
        "metric": "margin_used",
        "budget_per_position_sats": "100000",
        "budget_per_position_percent": "",
        "budget_per_day_sats": "200000",
        "budget_per_day_percent": "",
        "backstop": "on",
        "steps-TOTAL_FORMS": "1",
        "steps-INITIAL_FORMS": "0",
        "steps-0-threshold_percent": "70",
        "steps-0-does": "add_to_reach",
        "steps-0-amount_sats": "",
        "steps-0-share_percent": "",
        "steps-0-target_percent": "50",
        "steps-0-reduce_percentage": "",
        "steps-0-hysteresis_percent": "",
        "steps-0-cooldown_s": "",
    },
    EXITS: {
        "regime": "isolated",
        "side": "",
        "only_positions": "",
        "trigger_pnl_percentage": "20",
        "base": "margin",
        "when": "profit",
        "does": "update_sl",
        "on_exchange": "on",
        "level": "from_entry",
        "new_takeprofit": "",
        "new_stoploss": "",
        "distance_percent": "1",
    },
    ENTRY: {
        "market": "btcusd",
        "regime": "isolated",
        "side": "buy",
        "leverage": "10",
        "quantity": "100",
        "margin_sats": "",
        "stoploss": "",
        "takeprofit": "",
        "trigger_price": "95000",
        "trigger_type": "market",
        "slippage_percent": "0.5",
        "expires_at_0": "",
        "expires_at_1": "",
        "most_times": "1",
        "pause_s": "60",
    },
}
"""Each kind as it is typed into its form, beside what all have."""


def add(kind: str) -> str:
    return reverse(f"admin:automations_{kind}_add")


def text(page: Any) -> str:
    """Return a page that came without fault."""
    assert page.status_code == 200
    return str(page.content.decode())


def errors(page: Any) -> dict[str, str]:
    """Return what is said at each field, those of the steps by their names in the page."""
    return {name: " ".join(said) for name, said in said_at(page).items()}


def said_at(page: Any) -> dict[str, list[str]]:
    """Return the messages at each field, one by one."""
    found = {name: list(said) for name, said in page.context["adminform"].form.errors.items()}
    for inline in page.context["inline_admin_formsets"]:
        for form in inline.formset.forms:
            found |= {
                form.add_prefix(name): list(said)
                for name, said in form.errors.items()
                if name != NON_FIELD_ERRORS
            }
        if inline.formset.non_form_errors():
            found["steps"] = list(inline.formset.non_form_errors())
    return found


def change(automation: Automation, kind: str = GUARD) -> str:
    return reverse(f"admin:automations_{kind}_change", args=[automation.pk])
