"""A shadow beside the automation it is of."""

from automations.models import JournalEntry
from tests.stateful.looking import decision_in
from tests.stateful.stage import Look, Stage


def shadow_equals_live(stage: Stage) -> None:
    """Same inputs, same decision."""
    for look in stage.looks:
        if look.foreseen is None or look.ambushed:
            continue
        decided, foreseen = decision_in(_intended(look)), look.foreseen.intent
        if decided and foreseen and foreseen["priceSource"] == "rest":
            # Its reading confirmed a price in doubt, which counts as the stream's from then on.
            foreseen = foreseen | {"priceSource": decided["priceSource"]}
        assert decided == foreseen, f"{decided} is not {look.foreseen}"
        if decided is None and look.error is None:
            assert look.word == look.foreseen.word, f"{look.word} is not {look.foreseen.word}"


def _intended(look: Look) -> JournalEntry | None:
    """Return the entry with which its first execution began."""
    for execution in look.executions[:1]:
        return JournalEntry.objects.get(execution_id=execution.pk, event__endswith="_intended")
    return None
