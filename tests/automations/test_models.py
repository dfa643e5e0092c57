"""What the tables themselves refuse, whatever form or program writes to them."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Model
from django.utils import timezone

from accounts.models import Account, Installation
from automations.models import (
    AutoEntry,
    Automation,
    Execution,
    GuardStep,
    MarginGuard,
    PositionThreshold,
    TakeProfitStopLoss,
)
from automations.models.kinds import Kind, find, typed
from exchange.auth import Credentials

param = pytest.param
pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> Account:
    owner = User.objects.create_user("owner")
    account = Account(owner=owner, name="first", network="paper")
    account.set_credentials(Credentials(key="key-1234", secret="s", passphrase="p"))
    account.save()
    return account


@pytest.fixture
def guard(account: Account) -> MarginGuard:
    return MarginGuard.objects.create(enabled=True, account=account, name="guard")


def step(of: MarginGuard, **changes: Any) -> GuardStep:
    fields: dict[str, Any] = {
        "guard": of, "threshold_percent": Decimal(70), "does": "add_fixed", "amount_sats": 1000,
    }  # fmt: skip
    return GuardStep(**(fields | changes))


def exits(account: Account, **changes: Any) -> TakeProfitStopLoss:
    fields: dict[str, Any] = {
        "enabled": True, "account": account, "name": "exits", "does": "close_tp",
        "trigger_pnl_percentage": 20,
    }  # fmt: skip
    return TakeProfitStopLoss(**(fields | changes))


def entry(account: Account, **changes: Any) -> AutoEntry:
    fields: dict[str, Any] = {
        "enabled": True, "account": account, "name": "entry", "side": "buy", "quantity": 100,
    }  # fmt: skip
    return AutoEntry(**(fields | changes))


def execution(of: Automation, **changes: Any) -> Execution:
    now = timezone.now()
    fields: dict[str, Any] = {
        "account": of.account,
        "automation": of,
        "position_id": "p1",
        "does": "add_margin",
        "amount_sats": 1000,
        "why": "test",
        "origin": "tick",
        "price": Decimal(95_000),
        "price_at": now,
        "price_source": "stream",
        "positions_at": now,
        "positions_source": "rest",
        "before": {"margin": 100_000, "fundingFees": 0},
        "decided_at": now,
    }
    return Execution.objects.create(**(fields | changes))


def refused(row: Model, promise: str) -> None:
    """See that the database will not have the row, for the reason named."""
    with transaction.atomic(), pytest.raises(IntegrityError, match=promise):
        row.save()


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        param({"threshold_percent": 0}, "step_threshold_is_a_share", id="threshold zero"),
        param({"threshold_percent": 101}, "step_threshold_is_a_share", id="threshold above 100"),
        param({"amount_sats": None}, "step_action_has_what_it_needs", id="adds nothing"),
        param({"does": "add_share"}, "step_action_has_what_it_needs", id="no share"),
        param({"does": "add_to_reach"}, "step_action_has_what_it_needs", id="no target"),
        param({"does": "reduce_position"}, "step_action_has_what_it_needs", id="no part"),
        param({"does": "pray"}, "step_action_has_what_it_needs", id="unknown action"),
        param({"share_percent": -5}, "step_numbers_are_positive", id="a share that is not used"),
        param({"target_percent": 0}, "step_numbers_are_positive", id="target zero"),
        param({"reduce_percentage": -1}, "step_numbers_are_positive", id="part below zero"),
        param({"hysteresis_percent": 0}, "step_numbers_are_positive", id="hysteresis zero"),
        param({"cooldown_s": 0}, "step_numbers_are_positive", id="cooldown zero"),
    ],
)
def test_a_step_that_cannot_act_is_not_stored(
    guard: MarginGuard, changes: dict[str, Any], promise: str
) -> None:
    refused(step(guard, **changes), promise)


NAN = Decimal("NaN")


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        param({"threshold_percent": NAN}, "threshold_percent", "decimal number", id="NaN"),
        param({"threshold_percent": "x"}, "threshold_percent", "decimal number", id="a word"),
        param({"threshold_percent": None}, "threshold_percent", "null", id="no threshold"),
        param({"threshold_percent": Decimal("Infinity")}, "threshold_percent", "number", id="inf"),
        param({"threshold_percent": 0}, "threshold_percent", "more than 0 %", id="zero"),
        param({"threshold_percent": 101}, "threshold_percent", "at most 100 %", id="above 100"),
        param({"does": "pray"}, "does", "not a valid choice", id="unknown action"),
        param({"does": None}, "does", "null", id="no action"),
        param({"amount_sats": "x"}, "amount_sats", "integer", id="amount: a word"),
        param({"amount_sats": 0}, "amount_sats", "greater than or equal to 1", id="amount: zero"),
        param({"amount_sats": None}, "amount_sats", "needs this number", id="no amount"),
        param({"does": "add_share", "share_percent": NAN}, "share_percent", "number", id="share: NaN"),
        param(
            {"does": "add_to_reach", "target_percent": "x"}, "target_percent", "number", id="target: x"
        ),
        param(
            {"does": "add_to_reach", "target_percent": -1}, "target_percent", "0 %", id="target: sign"
        ),
        param(
            {"does": "add_to_reach", "target_percent": 80}, "target_percent", "safe side", id="no way"
        ),
        param({"hysteresis_percent": "x"}, "hysteresis_percent", "number", id="hysteresis: a word"),
        param({"hysteresis_percent": 70}, "hysteresis_percent", "room to return", id="hysteresis: 70"),
        param({"cooldown_s": 0}, "cooldown_s", "greater than or equal to 1", id="cooldown: zero"),
        param({"does": "reduce_position"}, "reduce_percentage", "needs this", id="no part"),
    ],
)
def test_imports_are_told_once_at_the_field_what_is_wrong_with_a_step(
    guard: MarginGuard, changes: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(ValidationError) as wrong:
        step(guard, **changes).full_clean()

    assert {name: len(said) for name, said in wrong.value.message_dict.items()} == {field: 1}
    assert says in wrong.value.message_dict[field][0]


def test_a_step_without_a_guard_says_so() -> None:
    with pytest.raises(ValidationError) as wrong:
        GuardStep(threshold_percent=Decimal(70), does="notify").full_clean()

    assert list(wrong.value.message_dict) == ["guard"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        param({"budget_per_position_percent": NAN}, "decimal number", id="NaN"),
        param({"budget_per_position_percent": Decimal("Infinity")}, "decimal number", id="infinite"),
        param({"budget_per_position_percent": None}, "Say what it may spend", id="no budget"),
        param({"budget_per_position_percent": Decimal(10**9)}, "9 digits", id="too many digits"),
        param({"budget_per_position_sats": -1}, "greater than or equal to 1", id="below zero"),
        param({"budget_per_day_percent": "x"}, "decimal number", id="a word"),
        param({"budget_per_day_sats": 10**30}, "less than or equal", id="more than there are"),
        param({"backstop": "perhaps"}, "True or False", id="neither yes nor no"),
        param({"cooldown_s": "soon"}, "integer", id="a time of no length"),
        param({"only_positions": "p1"}, "as a list", id="one id, no list"),
    ],
)
def test_imports_are_told_once_at_the_field_what_is_wrong_with_a_guard(
    guard: MarginGuard, changes: dict[str, Any], says: str
) -> None:
    ((field, value),) = changes.items()
    setattr(guard, field, value)

    with pytest.raises(ValidationError) as wrong:
        guard.full_clean()

    assert {name: len(said) for name, said in wrong.value.message_dict.items()} == {field: 1}
    assert says in wrong.value.message_dict[field][0]


def test_two_steps_of_one_guard_have_two_thresholds(guard: MarginGuard) -> None:
    step(guard).save()

    refused(step(guard), "two_steps_have_two_thresholds")
    with pytest.raises(ValidationError, match="Another step has this threshold"):
        step(guard).full_clean()


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        param({"metric": "mood"}, "guard_metric_is_known", id="unknown metric"),
        param({"regime": "both"}, "guard_regime_is_known", id="unknown regime"),
        param({"side": "up"}, "guard_side_is_known", id="unknown side"),
        param({"cooldown_s": 0}, "automation_cooldown_is_positive", id="no cooldown"),
        param({"switch": "on"}, "automation_switch_is_known", id="unknown switch"),
        param({"name": "guard"}, "automation_name_is_unique", id="a name used already"),
        param({"budget_per_position_percent": 0}, "guard_budgets_are_positive", id="no budget (%)"),
        param({"budget_per_position_percent": -1}, "guard_budgets_are_positive", id="below zero (%)"),
        param({"budget_per_position_sats": 0}, "guard_budgets_are_positive", id="no budget (sats)"),
        param({"budget_per_day_percent": 0}, "guard_budgets_are_positive", id="no day's budget (%)"),
        param({"budget_per_day_sats": 0}, "guard_budgets_are_positive", id="no day's budget (sats)"),
        param({"budget_per_position_percent": None}, "guard_has_a_budget_per_position", id="no bound"),
    ],
)
def test_a_guard_that_cannot_be_is_not_stored(
    account: Account, guard: MarginGuard, changes: dict[str, Any], promise: str
) -> None:
    assert guard.account == account
    refused(MarginGuard(**({"account": account, "name": "new"} | changes)), promise)


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        param({"does": "pray"}, "exit_action_is_known", id="unknown action"),
        param({"trigger_pnl_percentage": 0}, "exit_trigger_is_positive", id="trigger zero"),
        param({"base": "luck"}, "exit_base_is_known", id="unknown base"),
        param({"does": "update_sl", "when": "rain", "level": "price"}, "exit_side_of_entry", id="when"),
        param({"does": "update_sl", "level": "moon"}, "exit_level_is_known", id="unknown level"),
        param({"when": "loss"}, "exit_acts_on_its_side", id="takes profit in loss"),
        param({"does": "close_sl", "when": "profit"}, "exit_acts_on_its_side", id="stops in profit"),
        param({"does": "update_sl"}, "exit_acts_on_its_side", id="no level"),
        param({"regime": "both"}, "exit_regime_is_known", id="unknown regime"),
        param({"side": "up"}, "exit_side_is_known", id="unknown side"),
    ],
)
def test_exits_that_cannot_be_are_not_stored(
    account: Account, changes: dict[str, Any], promise: str
) -> None:
    refused(exits(account, **changes), promise)


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        param({"side": ""}, "entry_has_a_side", id="no side"),
        param({"quantity": None}, "entry_has_one_size", id="no size"),
        param({"margin_sats": 1}, "entry_has_one_size", id="two sizes"),
        param({"quantity": 0}, "entry_has_one_size", id="nothing"),
        param({"leverage": 0}, "entry_leverage_is_in_range", id="no leverage"),
        param({"leverage": 101}, "entry_leverage_is_in_range", id="too much leverage"),
        param({"most_times": 0}, "entry_acts_at_least_once", id="never"),
        param({"slippage_percent": 0}, "entry_slippage_is_a_share", id="no slippage"),
        param({"slippage_percent": 100}, "entry_slippage_is_a_share", id="any slippage"),
        param({"regime": "both"}, "entry_regime_is_known", id="unknown regime"),
    ],
)
def test_an_entry_that_cannot_be_is_not_stored(
    account: Account, changes: dict[str, Any], promise: str
) -> None:
    refused(entry(account, **changes), promise)


@pytest.mark.parametrize(
    ("slippage", "says"),
    [
        param("wide", "must be a decimal number", id="a word"),
        param(None, "cannot be null", id="none"),
        param(Decimal(0), "more than 0 %", id="nothing"),
        param(Decimal(-1), "more than 0 %", id="below nothing"),
        param(Decimal(100), "less than 100 %", id="everything"),
    ],
)
def test_a_wrong_slippage_is_said_in_one_sentence_at_its_field(
    account: Account, slippage: Any, says: str
) -> None:
    with pytest.raises(ValidationError) as refusal:
        entry(account, trigger_price=Decimal(95_000), slippage_percent=slippage).full_clean()

    assert list(refusal.value.message_dict) == ["slippage_percent"]
    (said,) = refusal.value.message_dict["slippage_percent"]
    assert says in said


@pytest.mark.parametrize("kind", [MarginGuard, TakeProfitStopLoss, AutoEntry])
def test_a_new_automation_is_disabled_unless_it_is_said(kind: type[Kind]) -> None:
    assert not kind().enabled


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        param({"amount_sats": None}, "execution_knows_what_its_action_needs", id="adds nothing"),
        param({"does": "close_position"}, "execution_knows", id="closes with sats"),
        param({"does": "set_stoploss", "amount_sats": None}, "execution_knows", id="stop nowhere"),
        param({"does": "set_trailing", "amount_sats": None}, "execution_knows", id="trails by nothing"),
        param({"state": "confirmed"}, "execution_is_settled_when", id="final, never settled"),
        param({"settled_at": timezone.now()}, "execution_is_settled_when", id="open, yet settled"),
    ],
)
def test_the_database_refuses_an_execution_that_cannot_be(
    guard: MarginGuard, changes: dict[str, Any], promise: str
) -> None:
    with pytest.raises(IntegrityError, match=promise):
        execution(guard, **changes)


def test_a_position_has_at_most_one_request_of_a_kind_on_its_way(guard: MarginGuard) -> None:
    execution(guard)

    with transaction.atomic(), pytest.raises(IntegrityError, match="one_request_on_its_way"):
        execution(guard, state="sent")
    execution(guard, state="unknown")
    execution(guard, does="close_position", amount_sats=None)
    execution(guard, position_id="p2")
    execution(guard, state="confirmed", settled_at=timezone.now())


def test_there_is_one_switch_for_everything(account: Account) -> None:
    assert account.switch == Installation.current().switch == "active"
    refused(Installation(pk=2), "there_is_one_installation")
    refused(Installation(pk=1, switch="on"), "installation_switch_is_known")
    assert str(Installation.current()) == "Everything: Active: everything"


@pytest.mark.parametrize(
    ("threshold", "says"),
    [
        param("40", "target must lie on the safe side", id="below the step's target"),
        param("0", "more than 0 %", id="zero"),
        param("101", "at most 100 %", id="above 100"),
        param(None, "cannot be null", id="none"),
    ],
)
def test_a_positions_own_threshold_must_work_with_its_step(
    guard: MarginGuard, threshold: str | None, says: str
) -> None:
    mine = step(guard, does="add_to_reach", amount_sats=None, target_percent=Decimal(50))
    mine.save()
    own = PositionThreshold(step=mine, position_id="p1")
    if threshold is not None:
        own.threshold_percent = Decimal(threshold)

    with pytest.raises(ValidationError) as found:
        own.full_clean()

    assert says in " ".join(found.value.message_dict["threshold_percent"])


def test_an_automation_is_found_as_its_own_kind(account: Account, guard: MarginGuard) -> None:
    closing, opening = exits(account), entry(account)
    closing.save()
    opening.save()

    for made in (guard, closing, opening):
        assert find(made.pk) == made
        assert typed(Automation.objects.get(pk=made.pk)) == made
    assert find(0) is None
    with pytest.raises(Automation.DoesNotExist):
        typed(Automation.objects.create(account=account, name="of no kind"))


def test_rows_say_in_a_line_what_they_are(guard: MarginGuard) -> None:
    mine = step(guard)
    mine.save()
    own = PositionThreshold.objects.create(step=mine, position_id="p1", threshold_percent=60)
    spent = mine.spent.create(position_id="p1", acted_at=timezone.now())

    assert str(mine) == "at 70 %: Add a fixed amount of margin"
    assert str(own) == "p1: 60 %"
    assert str(spent) == "at 70 %: Add a fixed amount of margin acted on p1"
    did = execution(guard)
    assert str(did) == f"execution {did.pk}: add margin on p1, intended"
