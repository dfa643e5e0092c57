"""Every field of every form: what is wrong is said there, nothing is saved, nothing typed is lost."""

from typing import Any

import pytest
from django.test import Client as Browser

from automations.models import Automation, GuardStep
from tests.automations.typing_in import ENTRY, EXITS, GUARD, KINDS, TYPED, add, errors, said_at, text

DOES, AMOUNT, SHARE = "steps-0-does", "steps-0-amount_sats", "steps-0-share_percent"
THRESHOLD, TARGET, PART = (
    "steps-0-threshold_percent", "steps-0-target_percent", "steps-0-reduce_percentage",
)  # fmt: skip
BACK, REST = "steps-0-hysteresis_percent", "steps-0-cooldown_s"

COMMON: list[Any] = [
    pytest.param(kind, changes, field, says, id=f"{kind}: {why}")
    for kind in KINDS
    for changes, field, says, why in [
        ({"account": ""}, "account", "required", "no account"),
        ({"account": "0"}, "account", "valid choice", "unknown account"),
        ({"name": ""}, "name", "required", "no name"),
        ({"name": "n" * 101}, "name", "at most 100", "a long name"),
        ({"switch": "on"}, "switch", "valid choice", "unknown switch"),
        ({"cooldown_s": ""}, "cooldown_s", "required", "no rest given"),
        ({"cooldown_s": "0"}, "cooldown_s", "greater than or equal to 1", "no rest"),
        ({"cooldown_s": "-1"}, "cooldown_s", "greater than or equal to", "a rest below zero"),
        ({"cooldown_s": "1.5"}, "cooldown_s", "whole number", "half a second"),
        ({"cooldown_s": "soon"}, "cooldown_s", "whole number", "a word"),
        ({"cooldown_s": "9" * 10}, "cooldown_s", "less than or equal", "for ages"),
        ({"regime": "both"}, "regime", "valid choice", "unknown regime"),
        ({"side": "up"}, "side", "valid choice", "unknown side"),
    ]
]


def rows(kind: str, *given: tuple[dict[str, str], str, str]) -> list[Any]:
    """Return a kind's rows, each named after what is typed and where it is refused."""
    return [
        pytest.param(
            kind, changes, field, says, id=f"{kind}: {field}={' '.join(changes.values())[:30]}"
        )
        for changes, field, says in given
    ]


WRONG = [
    *COMMON,
    *rows(
        GUARD,
        ({"metric": "mood"}, "metric", "valid choice"),
        ({"only_positions": "a,,b"}, "only_positions", "required"),
        ({"only_positions": "p" * 65}, "only_positions", "at most 64"),
        ({"budget_per_day_sats": "0"}, "budget_per_day_sats", "greater than or equal to 1"),
        ({"budget_per_day_sats": "x"}, "budget_per_day_sats", "whole number"),
        ({"budget_per_position_sats": "x"}, "budget_per_position_sats", "whole number"),
        ({"budget_per_position_sats": ""}, "budget_per_position_percent", "Say what it may spend"),
        ({"budget_per_position_percent": "0"}, "budget_per_position_percent", "more than 0 %"),
        ({"budget_per_position_percent": "-3"}, "budget_per_position_percent", "more than 0 %"),
        ({"budget_per_position_percent": "x"}, "budget_per_position_percent", "number"),
        ({"budget_per_position_percent": "NaN"}, "budget_per_position_percent", "number"),
        ({"budget_per_position_percent": "9" * 12}, "budget_per_position_percent", "digits"),
        ({"budget_per_day_percent": "0"}, "budget_per_day_percent", "more than 0 %"),
        ({"budget_per_day_percent": "x"}, "budget_per_day_percent", "number"),
        ({"budget_per_position_sats": "0"}, "budget_per_position_sats", "greater than or equal to 1"),
        ({"budget_per_position_sats": "-1"}, "budget_per_position_sats", "greater than or equal"),
        ({"budget_per_position_sats": "9" * 30}, "budget_per_position_sats", "less than or equal"),
        ({DOES: "pray"}, DOES, "valid choice"),
        ({THRESHOLD: ""}, THRESHOLD, "required"),
        ({THRESHOLD: "x"}, THRESHOLD, "number"),
        ({THRESHOLD: "NaN"}, THRESHOLD, "number"),
        ({THRESHOLD: "Infinity"}, THRESHOLD, "number"),
        ({THRESHOLD: "0"}, THRESHOLD, "more than 0 %"),
        ({THRESHOLD: "-5"}, THRESHOLD, "more than 0 %"),
        ({THRESHOLD: "101"}, THRESHOLD, "100 %"),
        ({THRESHOLD: "1e9"}, THRESHOLD, "digits"),
        ({THRESHOLD: "1.23456"}, THRESHOLD, "4 decimal"),
        ({"metric": "liquidation_distance", THRESHOLD: "100", TARGET: "101"}, THRESHOLD, "less"),
        ({TARGET: ""}, TARGET, "needs this number"),
        ({TARGET: "x"}, TARGET, "number"),
        ({TARGET: "0"}, TARGET, "more than 0 %"),
        ({TARGET: "80"}, TARGET, "safe side"),
        ({"metric": "liquidation_distance", THRESHOLD: "2", TARGET: "1"}, TARGET, "safe side"),
        ({DOES: "add_fixed"}, AMOUNT, "needs this number"),
        ({DOES: "add_fixed", AMOUNT: "0"}, AMOUNT, "greater than or equal to 1"),
        ({DOES: "add_fixed", AMOUNT: "-3"}, AMOUNT, "greater than or equal to"),
        ({DOES: "add_fixed", AMOUNT: "0.5"}, AMOUNT, "whole number"),
        ({DOES: "add_fixed", AMOUNT: "9" * 30}, AMOUNT, "less than or equal"),
        ({DOES: "add_share"}, SHARE, "needs this number"),
        ({DOES: "add_share", SHARE: "-5"}, SHARE, "more than 0 %"),
        ({DOES: "notify", SHARE: "-5"}, SHARE, "more than 0 %"),
        ({DOES: "reduce_position", "accepts_reopening": "on"}, PART, "needs this number"),
        ({DOES: "reduce_position", "accepts_reopening": "on", PART: "100"}, PART, "less than 100 %"),
        ({DOES: "reduce_position", "accepts_reopening": "on", PART: "-1"}, PART, "more than 0 %"),
        ({DOES: "reduce_position", PART: "40"}, DOES, "accept the cost"),
        ({"regime": "cross", DOES: "reduce_position", PART: "40"}, DOES, "margin used where it is"),
        ({"metric": "margin_ratio", THRESHOLD: "40", TARGET: "50"}, TARGET, "safe side"),
        ({"metric": "liquidation_distance", THRESHOLD: "2", TARGET: "100"}, TARGET, "safe side"),
        ({TARGET: "70"}, TARGET, "safe side"),
        ({TARGET: "-5"}, TARGET, "more than 0 %"),
        ({TARGET: "NaN"}, TARGET, "number"),
        ({TARGET: "Infinity"}, TARGET, "number"),
        ({TARGET: "1234"}, TARGET, "digits"),
        ({TARGET: "1.23456"}, TARGET, "4 decimal"),
        ({DOES: ""}, DOES, "required"),
        ({DOES: "add_fixed", AMOUNT: "x"}, AMOUNT, "whole number"),
        ({DOES: "add_fixed", AMOUNT: "NaN"}, AMOUNT, "whole number"),
        ({DOES: "add_share", SHARE: "x"}, SHARE, "number"),
        ({DOES: "add_share", SHARE: "0"}, SHARE, "more than 0 %"),
        ({DOES: "add_share", SHARE: "Infinity"}, SHARE, "number"),
        ({DOES: "add_share", SHARE: "9" * 9}, SHARE, "digits"),
        ({DOES: "reduce_position", "accepts_reopening": "on", PART: "x"}, PART, "number"),
        ({DOES: "reduce_position", "accepts_reopening": "on", PART: "0"}, PART, "more than 0 %"),
        ({DOES: "reduce_position", "accepts_reopening": "on", PART: "101"}, PART, "less than 100 %"),
        ({DOES: "reduce_position", "accepts_reopening": "on", PART: "NaN"}, PART, "number"),
        ({BACK: "NaN"}, BACK, "number"),
        ({BACK: "x"}, BACK, "number"),
        ({BACK: "1234"}, BACK, "digits"),
        ({REST: "-1"}, REST, "greater than or equal to"),
        ({REST: "1.5"}, REST, "whole number"),
        ({REST: "9" * 10}, REST, "less than or equal"),
        ({"budget_per_position_percent": "Infinity"}, "budget_per_position_percent", "number"),
        ({"budget_per_position_percent": "0.001"}, "budget_per_position_percent", "2 decimal"),
        ({"budget_per_position_sats": "1.5"}, "budget_per_position_sats", "whole number"),
        ({"budget_per_position_sats": "Infinity"}, "budget_per_position_sats", "whole number"),
        ({"budget_per_day_percent": "-1"}, "budget_per_day_percent", "more than 0 %"),
        ({"budget_per_day_percent": "NaN"}, "budget_per_day_percent", "number"),
        ({"budget_per_day_percent": "Infinity"}, "budget_per_day_percent", "number"),
        ({"budget_per_day_percent": "9" * 12}, "budget_per_day_percent", "digits"),
        ({"budget_per_day_percent": "0.001"}, "budget_per_day_percent", "2 decimal"),
        ({"budget_per_day_sats": "-1"}, "budget_per_day_sats", "greater than or equal"),
        ({"budget_per_day_sats": "1.5"}, "budget_per_day_sats", "whole number"),
        ({"budget_per_day_sats": "9" * 30}, "budget_per_day_sats", "less than or equal"),
        (
            {"budget_per_position_sats": "", "budget_per_position_percent": "x"},
            "budget_per_position_percent",
            "number",
        ),
        ({BACK: "0"}, BACK, "more than 0 %"),
        ({BACK: "-1"}, BACK, "more than 0 %"),
        ({BACK: "70"}, BACK, "room to return"),
        ({REST: "0"}, REST, "greater than or equal to 1"),
        ({REST: "soon"}, REST, "whole number"),
        ({"steps-TOTAL_FORMS": "0"}, "steps", "at least"),
        (
            {
                "steps-TOTAL_FORMS": "2",
                "steps-1-threshold_percent": "70",
                "steps-1-does": "close_position",
            },
            "steps",
            "duplicate",
        ),
    ),
    *rows(
        EXITS,
        ({"does": "pray"}, "does", "valid choice"),
        ({"does": ""}, "does", "required"),
        ({"base": "luck"}, "base", "valid choice"),
        ({"when": "rain"}, "when", "valid choice"),
        ({"level": "moon"}, "level", "valid choice"),
        ({"level": ""}, "level", "where the exit goes"),
        ({"only_positions": "a,,b"}, "only_positions", "required"),
        ({"trigger_pnl_percentage": ""}, "trigger_pnl_percentage", "required"),
        ({"trigger_pnl_percentage": "x"}, "trigger_pnl_percentage", "number"),
        ({"trigger_pnl_percentage": "0"}, "trigger_pnl_percentage", "more than 0 %"),
        ({"trigger_pnl_percentage": "-1"}, "trigger_pnl_percentage", "more than 0 %"),
        ({"trigger_pnl_percentage": "1000"}, "trigger_pnl_percentage", "digits"),
        ({"when": "loss", "trigger_pnl_percentage": "100"}, "trigger_pnl_percentage", "Liquidation"),
        ({"does": "close_tp", "when": "loss"}, "when", "profit only"),
        ({"does": "close_sl", "when": "profit"}, "when", "loss only"),
        ({"does": "close_sl", "when": "either"}, "when", "loss only"),
        ({"regime": "cross"}, "regime", "neither stop nor take profit"),
        ({"does": "update_tp", "level": "trailing"}, "level", "Only a stop"),
        ({"level": "price"}, "new_stoploss", "steps of 0.5"),
        ({"level": "price", "new_stoploss": "x"}, "new_stoploss", "number"),
        ({"level": "price", "new_stoploss": "0"}, "new_stoploss", "steps of 0.5"),
        ({"level": "price", "new_stoploss": "-1"}, "new_stoploss", "steps of 0.5"),
        ({"level": "price", "new_stoploss": "95000.3"}, "new_stoploss", "steps of 0.5"),
        ({"level": "price", "new_stoploss": "95000.25"}, "new_stoploss", "1 decimal"),
        ({"level": "price", "new_stoploss": "100000001"}, "new_stoploss", "steps of 0.5"),
        ({"does": "update_tp", "level": "price"}, "new_takeprofit", "steps of 0.5"),
        ({"does": "update_tp", "level": "price", "new_takeprofit": "-1"}, "new_takeprofit", "0.5"),
        ({"distance_percent": ""}, "distance_percent", "how far"),
        ({"distance_percent": "x"}, "distance_percent", "number"),
        ({"distance_percent": "100"}, "distance_percent", "less than 100 %"),
        ({"distance_percent": "-100"}, "distance_percent", "at least -99.9999 %"),
        ({"level": "from_market", "distance_percent": "0"}, "distance_percent", "at least 0.0001 %"),
        ({"level": "from_market", "distance_percent": "-1"}, "distance_percent", "at least 0.0001 %"),
        ({"level": "trailing", "distance_percent": "0.05"}, "distance_percent", "at least 0.1"),
    ),
    *rows(
        ENTRY,
        ({"market": "ethusd"}, "market", "valid choice"),
        ({"side": ""}, "side", "required"),
        ({"leverage": ""}, "leverage", "required"),
        ({"leverage": "x"}, "leverage", "number"),
        ({"leverage": "0.5"}, "leverage", "greater than or equal to 1"),
        ({"leverage": "-10"}, "leverage", "greater than or equal to 1"),
        ({"leverage": "101"}, "leverage", "less than or equal to 100"),
        ({"leverage": "1.234"}, "leverage", "2 decimal"),
        ({"quantity": ""}, "quantity", "one of the two"),
        ({"margin_sats": "1000"}, "quantity", "one of the two"),
        ({"quantity": "0"}, "quantity", "greater than or equal to 1"),
        ({"quantity": "-1"}, "quantity", "greater than or equal to"),
        ({"quantity": "1.5"}, "quantity", "whole number"),
        ({"quantity": "500001"}, "quantity", "less than or equal to 500000"),
        ({"quantity": "1", "leverage": "100", "trigger_price": "100000000"}, "quantity", "too little"),
        ({"quantity": "", "margin_sats": "0"}, "margin_sats", "greater than or equal to 1"),
        ({"margin_sats": "x"}, "margin_sats", "whole number"),
        ({"quantity": "", "margin_sats": "1"}, "margin_sats", "buys 0 contracts"),
        ({"quantity": "", "margin_sats": "1", "stoploss": "90000"}, "margin_sats", "buys 0 contracts"),
        ({"quantity": "", "margin_sats": "999999999"}, "margin_sats", "not 1 to 500000"),
        ({"quantity": "", "margin_sats": "5000", "regime": "cross"}, "quantity", "is needed"),
        ({"stoploss": "x"}, "stoploss", "number"),
        ({"stoploss": "-1"}, "stoploss", "multiple of 0.5"),
        ({"stoploss": "90000.3"}, "stoploss", "multiple of 0.5"),
        ({"stoploss": "96000"}, "stoploss", "losing side"),
        ({"stoploss": "80000"}, "stoploss", "beyond the liquidation"),
        ({"side": "sell", "stoploss": "94000"}, "stoploss", "losing side"),
        ({"stoploss": "90000", "regime": "cross"}, "stoploss", "neither stop nor take profit"),
        ({"takeprofit": "x"}, "takeprofit", "number"),
        ({"takeprofit": "0"}, "takeprofit", "multiple of 0.5"),
        ({"takeprofit": "94000"}, "takeprofit", "winning side"),
        ({"takeprofit": "99000", "regime": "cross"}, "takeprofit", "neither stop nor take profit"),
        ({"trigger_price": "x"}, "trigger_price", "number"),
        ({"trigger_price": "0"}, "trigger_price", "multiple of 0.5"),
        ({"trigger_price": "-95000"}, "trigger_price", "multiple of 0.5"),
        ({"trigger_price": "95000.2"}, "trigger_price", "multiple of 0.5"),
        ({"trigger_price": "", "trigger_type": "limit"}, "trigger_price", "needs a trigger price"),
        ({"trigger_type": "stop"}, "trigger_type", "valid choice"),
        ({"slippage_percent": ""}, "slippage_percent", "required"),
        ({"slippage_percent": "x"}, "slippage_percent", "number"),
        ({"slippage_percent": "NaN"}, "slippage_percent", "number"),
        ({"slippage_percent": "0"}, "slippage_percent", "more than 0 %"),
        ({"slippage_percent": "-1"}, "slippage_percent", "more than 0 %"),
        ({"slippage_percent": "100"}, "slippage_percent", "less than 100 %"),
        ({"slippage_percent": "1000"}, "slippage_percent", "digits"),
        ({"slippage_percent": "0.12345"}, "slippage_percent", "4 decimal"),
        ({"expires_at_0": "soon", "expires_at_1": "12:00"}, "expires_at", "valid date"),
        ({"expires_at_0": "2020-01-01", "expires_at_1": "12:00"}, "expires_at", "past"),
        (
            {"expires_at_0": "2020-01-01", "expires_at_1": "12:00", "trigger_type": "limit"},
            "expires_at",
            "past",
        ),
        ({"most_times": "0"}, "most_times", "greater than or equal to 1"),
        ({"most_times": "x"}, "most_times", "whole number"),
        ({"pause_s": "-1"}, "pause_s", "greater than or equal to"),
        ({"pause_s": ""}, "pause_s", "required"),
        ({"pause_s": "a while"}, "pause_s", "whole number"),
        ({"most_times": ""}, "most_times", "required"),
        ({"quantity": "x"}, "quantity", "whole number"),
    ),
]


@pytest.mark.parametrize(("kind", "changes", "field", "says"), WRONG)
def test_a_wrong_field_gets_its_message_and_what_was_typed_stays(
    browser: Browser,
    common: dict[str, str],
    *,
    kind: str,
    changes: dict[str, str],
    field: str,
    says: str,
) -> None:
    page = browser.post(add(kind), common | TYPED[kind] | changes)

    assert {name: len(said) for name, said in said_at(page).items()} == {field: 1}
    assert says in errors(page)[field]
    shown = text(page)
    assert "name" in changes or 'value="typed name"' in shown
    for name, value in (TYPED[kind] | changes).items():
        if value and f'name="{name}" value="' in shown:
            assert f'name="{name}" value="{value}"' in shown, "also what is wrong"
    assert not Automation.objects.exists()
    assert not GuardStep.objects.exists()
