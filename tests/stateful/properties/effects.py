"""Writes and their intents: each has one, and does one thing."""

from collections import Counter

from automations.models import Execution
from tests.stateful.stage import Stage

_STATE = Execution.State
_NEVER_HAPPENED = frozenset({_STATE.REJECTED, _STATE.NOT_SENT, _STATE.NOT_APPLIED, _STATE.SHADOW})
_ENDS = frozenset({"close_position", "reduce_position"})


def no_orphan_write(stage: Stage) -> None:
    """Each change at the exchange has an execution committed before the request left."""
    for passage in stage.passages:
        found = [intent.id for intent in passage.intents]
        assert len(found) == 1, f"{passage.method} {passage.path} stands for executions {found}"


def one_effect_per_execution(stage: Stage) -> None:
    """One effect per execution, whatever is delivered twice, retried, or killed."""
    sent = Counter(passage.intent.id for passage in stage.witness.passages)
    assert all(times == 1 for times in sent.values()), f"sent more than once: {sent.most_common(3)}"
    applied = {passage.intent.id for passage in stage.witness.passages if passage.applied}
    for execution in Execution.objects.all():
        if execution.state in _NEVER_HAPPENED or execution.does == "notify":
            assert execution.pk not in applied, f"{execution} had an effect"
        elif execution.state == _STATE.CONFIRMED and execution.pk not in applied:
            assert _ended_otherwise(stage, execution), f"{execution} had no effect"


def _ended_otherwise(stage: Stage, execution: Execution) -> bool:
    """Whether what was to be closed is over all the same, so that nobody could tell by whom."""
    by_proof = not execution.after and execution.journal.filter(event__endswith="reconciled").exists()
    person = stage.person_with(execution.account_id)
    over = execution.regime == "cross" or execution.position_id not in person.standing().trades
    return execution.does in _ENDS and by_proof and over
