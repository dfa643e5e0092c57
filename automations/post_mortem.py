"""The post-mortem of a position: which guards watched it, what they did, and what they missed."""

from collections.abc import Iterator
from datetime import tzinfo
from typing import Final

from django.db.models import Q, QuerySet

from accounts.models import Installation
from accounts.switch import Switch, strictest
from accounts.times import written, zone_of
from automations import journal
from automations.models import Execution, JournalEntry, KnownPosition, MarginGuard
from automations.reading import plain
from exchange.money import Sats

_DID_LESS: Final = [
    f"{MarginGuard.KIND}_{outcome}"
    for outcome in (
        journal.HELD, journal.LIMITED, "rejected", journal.UNSETTLED, journal.QUARANTINED,
    )
]  # fmt: skip
"""Events after which a guard did less than it wanted to."""
_LONGEST: Final = 400
_STATE: Final = Execution.State


def guards_of(row: KnownPosition) -> list[MarginGuard]:
    """Return the guards that are about the position, disabled ones too."""
    about = Q(regime=row.regime, side__in=["", row.side]) & (
        Q(only_positions=[]) | Q(only_positions__contains=[row.position_id])
    )
    return list(MarginGuard.objects.filter(about, account=row.account_id).select_related("account"))


def watch(guard: MarginGuard) -> bool:
    return guard.enabled and not guard.shadow


def added(row: KnownPosition) -> Sats:
    """Return the sats that were added to the position, or may have been."""
    return Sats(sum(each.amount_sats or 0 for each in _executions(row) if _topped_up(each)))


def of(row: KnownPosition, guards: list[MarginGuard]) -> tuple[str, tuple[str, ...]]:
    """Return a summary, and all of it in sentences: what guards did, wanted, and missed."""
    sentences = [sentence for guard in guards for sentence in _about(guard, row)]
    if not any(map(watch, guards)):
        sentences.insert(0, "No guard watched it.")
    text = " ".join(sentences).rstrip(".")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …", tuple(sentences)


def _about(guard: MarginGuard, row: KnownPosition) -> Iterator[str]:
    if not guard.enabled:
        yield f"“{guard.name}” was disabled."
    if guard.shadow:
        yield f"“{guard.name}” was a shadow, which does nothing."
    if (switch := _switch(guard)) is not Switch.ACTIVE:
        yield f"A switch said {switch.label.split(':')[0].lower()}."
    yield from _what_it_did(guard, row)
    missed = list(_what_it_missed(guard, row))
    yield from missed
    if watch(guard) and not missed:
        yield "Nothing stood in its way: its steps asked for no more, or the price went too fast."


def _switch(guard: MarginGuard) -> Switch:
    return strictest(guard.switch, guard.account.switch, Installation.current().switch)


def _what_it_did(guard: MarginGuard, row: KnownPosition) -> Iterator[str]:
    executions = [each for each in _executions(row) if each.automation_id == guard.pk]
    topped_up = [each for each in executions if _topped_up(each)]
    if topped_up:
        sats = sum(each.amount_sats or 0 for each in topped_up)
        last = topped_up[0]
        yield (
            f"“{guard.name}” added {sats:,} sats in {len(topped_up)} top-up{'s'[: len(topped_up) - 1]},"
            f" the last at a price of {plain(last.price)}, at {written(last.decided_at, _zone(guard))}."
        )
    elif watch(guard):
        yield f"“{guard.name}” added nothing."
    for each in executions:
        if each.state in Execution.UNSETTLED:
            yield f"Of one action nobody knows what came of it: {each.get_does_display()}, {each.why}."


def _what_it_missed(guard: MarginGuard, row: KnownPosition) -> Iterator[str]:
    """Yield what the guard wanted and why it was not done, each reason with its last words."""
    entries = JournalEntry.objects.filter(
        automation=guard, position_id=row.position_id, event__in=_DID_LESS,
        timestamp__gte=row.first_seen_at,
    )  # fmt: skip
    last: dict[str, JournalEntry] = {}
    counts: dict[str, int] = {}
    for entry in entries.order_by("id"):
        why = f"{entry.event} {entry.data.get('reason', '')}"
        last[why], counts[why] = entry, counts.get(why, 0) + 1
    for why, entry in last.items():
        times = f" ({counts[why]} times)" if counts[why] > 1 else ""
        at = written(entry.timestamp, _zone(guard))
        yield f"At {at}{times}: {entry.message.rstrip('.')}."


def _zone(guard: MarginGuard) -> tzinfo:
    return zone_of(guard.account.owner_id)


def _executions(row: KnownPosition) -> QuerySet[Execution]:
    """Return the executions on the position since it was first seen, the newest first."""
    return Execution.objects.filter(
        account=row.account_id, position_id=row.position_id, decided_at__gte=row.first_seen_at
    )


def _topped_up(execution: Execution) -> bool:
    happened = execution.state in {_STATE.CONFIRMED, _STATE.QUARANTINED, *Execution.UNSETTLED}
    return happened and execution.does == Execution.Does.ADD_MARGIN
