"""One look at one position: decide, act, and decide again until nothing is to be done."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from accounts.gateway import redis_client
from automations import (
    changes,
    cross_epoch,
    disarming,
    executing,
    gates,
    reconciling,
    turns,
    unreadable,
)
from automations.executing import Cause, Facts, Outcome
from automations.locking import closing_lock_name, lock_name, position_lock
from automations.models import Execution, MarginGuard
from automations.models.kinds import OnPosition
from automations.planning import PositionRule
from automations.proof import Verdict
from automations.reading import Seen, read, read_again
from automations.remembering import forget_returned, memory_of, told_already
from automations.rules.actions import (
    AddMargin,
    ClosePosition,
    Decision,
    Disarm,
    Hold,
    PositionAction,
)
from automations.rules.margin_guard import GuardConfig
from automations.rules.memory import Memory
from exchange.client import Client
from exchange.errors import ExchangeError, TransientError
from exchange.market import Source
from exchange.money import UsdPerBtc
from exchange.position import CROSS, Position, PositionId, PositionsSnapshot, Regime
from exchange.ratelimit import NOT_URGENT

logger = logging.getLogger(__name__)

BUSY: Final = "another worker has it"
_MOST_ACTS: Final = 5
"""In one look; whatever is left to do, the next look does."""
_MOST_WAITS: Final = 3
"""For a turn that another one took each time; then the request itself waits for it."""
SHOWS_WITHIN: Final = timedelta(seconds=1)
"""So long after a request got no answer, what it did shows at the exchange in nearly all cases."""


class PositionLook:
    """Decides and acts on one position; to be used once, under the position's lock.

    The exchange's answer to a top-up shows the position as it is now: where the price has moved on
    meanwhile, the next action waits for no message. A step that the exchange refuses gives way to the
    next one.
    """

    def __init__(
        self,
        automation: OnPosition,
        position_id: PositionId,
        cause: Cause,
        client: Client,
        latest: Execution | None,
    ) -> None:
        self._automation = automation
        self._position_id = position_id
        self._cause = cause
        self._client = client
        self._settled_at = latest.settled_at if latest else None
        """When the last action on the position was settled, as far as this look knows."""
        self._proved = False
        self._not_seen: frozenset[int] = frozenset()
        self._refused: set[int | None] = set()
        """Steps that the exchange refused in this look."""
        self._retries = False
        """The next top-up is the second try of one that the exchange refused for want of money."""
        self._rereads = False
        """The positions were read again for this decision."""
        self._confirmed = False
        """The positions were read by REST for what lasts."""
        self._waited = 0
        """How often for the turn at the exchange, before this decision."""

    def carry_out(self) -> list[Outcome]:
        """Return what came of it, in order; never empty.

        Raises:
            ExchangeError: the exchange could not be read, or the first write was surely not sent.
        """
        seen: Seen | None = self._read(settings.TOP_UP_POSITIONS_MAX_AGE_S)
        outcomes: list[Outcome] = []
        while seen is not None and len(outcomes) < _MOST_ACTS:
            outcome = self._decide(seen, follows=bool(outcomes))
            if self._waits_for_proof(outcome):
                seen = self._prove()
                continue
            if outcome.execution is None and outcomes:
                break
            outcomes.append(outcome)
            seen = self._seen_after(outcome, seen)
        return outcomes

    def close_if_due(self) -> list[Outcome]:
        """Close if the rule wants that now; whatever else it wants is left to who has the position."""
        return [self._decide(self._read(settings.CLOSE_MAX_AGE_S), only=ClosePosition)]

    def _read(self, positions_max_age_s: float, *, not_before: datetime | None = None) -> Seen:
        # Nothing is decided on positions from before our own last action on them.
        return read(
            self._client,
            Regime(self._automation.regime),
            not_before=not_before or self._settled_at,
            positions_max_age_s=positions_max_age_s,
            position_id=self._position_id,
        )

    def _waits_for_proof(self, outcome: Outcome) -> bool:
        """Whether a wish was refused for something unsettled that nobody has looked for yet."""
        unsettled = any(refused.reason == gates.UNSETTLED for refused in outcome.refusals)
        return unsettled and outcome.execution is None and not self._proved

    def _prove(self) -> Seen:
        """Settle what is open on the position, as far as that can be told, and look anew."""
        self._proved = True
        open_ones = Execution.objects.unsettled().filter(
            account_id=self._automation.account_id, position_id=self._position_id
        )
        account_id, automation_id = self._automation.account_id, self._automation.pk
        name = closing_lock_name(lock_name(account_id, automation_id, self._position_id))
        with position_lock(name) as nobody_closes:  # else a close may be on its way
            for execution in open_ones.order_by("id") if nobody_closes else ():
                self._settle(execution)
        return self._read(settings.TOP_UP_POSITIONS_MAX_AGE_S)

    def _settle(self, execution: Execution) -> Verdict:
        """Settle it by what the exchange shows; remember if that is no effect so far."""
        now = timezone.now()
        verdict = reconciling.settle(execution, self._client, now)
        self._learn_when_settled(execution)
        ended = execution.state == Execution.State.UNKNOWN
        if verdict is Verdict.NOT_SEEN and ended and now >= execution.decided_at + SHOWS_WITHIN:
            self._not_seen |= {execution.pk}
        return verdict

    def _learn_when_settled(self, execution: Execution) -> None:
        times = (self._settled_at, execution.settled_at)
        self._settled_at = max((at for at in times if at is not None), default=None)

    def _decide(
        self, seen: Seen, *, only: type[PositionAction] | None = None, follows: bool = False
    ) -> Outcome:
        position = seen.position(self._position_id)
        if position is None:
            return self._not_there(seen, only=only, follows=follows)
        rule = self._automation.rule(position.id)
        if not rule.covers(position):
            return Outcome(word="the position is none of its")
        found = self._found(rule, position, seen)
        fresher = self._fresher(seen, found)
        if fresher is None and not self._confirmed and any(isinstance(wish, Disarm) for wish in found):
            fresher = self._confirm(seen)
        if fresher is not None:
            return self._decide(fresher, only=only, follows=follows)
        facts = Facts(seen=seen, cause=self._cause, position=position)
        self._disarm_where_asked(found, facts)
        wishes = [wish for wish in found if self._is_open(wish, only)]
        if only is not None and not wishes:
            return Outcome(word=BUSY)
        if all(isinstance(wish, Hold) and wish.word is None for wish in wishes):
            return Outcome(word=_nothing_to_do(found))
        return self._act(wishes, facts, only=only, follows=follows)

    def _act(
        self,
        wishes: Sequence[Decision],
        facts: Facts,
        *,
        only: type[PositionAction] | None,
        follows: bool,
    ) -> Outcome:
        outcome = executing.carry_out(
            self._automation,
            wishes,
            facts,
            self._client,
            not_seen=self._not_seen,
            retries=self._retries,
            follows=follows,
            turn_first=isinstance(self._automation, MarginGuard) and self._waited < _MOST_WAITS,
        )
        if outcome.word != executing.TURN_TO_COME:
            self._waited = 0
            return outcome
        self._waited += 1
        try:
            return self._decide(self._when_it_is_our_turn(facts, only), only=only, follows=follows)
        finally:
            self._client.rest.leave_turn()

    def _when_it_is_our_turn(self, facts: Facts, only: type[PositionAction] | None) -> Seen:
        """Wait for the turn at the exchange, then look anew: while many wait, prices move on."""
        try:
            turns.await_free(facts, self._client)
        except TransientError as error:
            # It is decided anew all the same: what cannot be sent then stands in the record.
            logger.warning("its turn did not come", extra=self._fields() | {"error": str(error)})
        closes = only is ClosePosition
        return self._read(settings.CLOSE_MAX_AGE_S if closes else settings.TOP_UP_POSITIONS_MAX_AGE_S)

    def _not_there(self, seen: Seen, *, only: type[PositionAction] | None, follows: bool) -> Outcome:
        """Look once more where the position cannot be read, for a moment perhaps; else it is gone."""
        row = seen.hidden(self._position_id)
        if row is None:
            return self._gone(seen)
        if not self._rereads:
            self._rereads = True
            fresh = self._read(settings.CLOSE_MAX_AGE_S, not_before=timezone.now())
            return self._decide(fresh, only=only, follows=follows)
        unreadable.hold(self._automation, self._position_id, row, timezone.now())
        return Outcome(word=unreadable.said(row))

    def _gone(self, seen: Seen) -> Outcome:
        if self._position_id == CROSS and seen.positions is not None:
            again = self._confirm(seen)
            if (flat := again.positions) and again.position(CROSS) is None and not again.hidden(CROSS):
                cross_epoch.begin_anew(self._automation.account_id, flat.at)
        return Outcome(word="the position is gone")

    def _confirm(self, seen: Seen) -> Seen:
        """Read the positions once more, by REST: nothing that lasts follows of one reading alone.

        Raises:
            ExchangeError: they cannot be read.
        """
        self._confirmed = True
        regime = Regime(self._automation.regime)
        return replace(seen, positions=read_again(self._client, regime))

    def _found(self, rule: PositionRule, position: Position, seen: Seen) -> tuple[Decision, ...]:
        """Return all that the rule wishes for."""
        memory = memory_of(self._automation, position.id)
        if not isinstance(rule, GuardConfig):
            return (rule.decide(position, seen.quote.price, memory),)
        price = seen.quote.worst_for(position.side)
        if isinstance(self._automation, MarginGuard) and memory.spent:
            self._let_return(self._automation, rule, position, price, memory)
        return rule.wishes(position, price, memory)

    def _let_return(
        self,
        guard: MarginGuard,
        rule: GuardConfig,
        position: Position,
        price: UsdPerBtc,
        memory: Memory,
    ) -> None:
        """Let steps act again whose danger drew back, by two readings of price and position."""
        still = rule.still_spent(position, price, memory)
        if still == memory.spent:
            return
        try:
            again = read_again(self._client, Regime(guard.regime))
            later = next((each for each in again.positions if each.id == position.id), None)
            if later is None:
                return
            worst = self._client.rest.quote(urgency=NOT_URGENT).worst_for(position.side)
        except ExchangeError as error:
            logger.warning("steps stay spent", extra=self._fields() | {"error": str(error)})
            return
        forget_returned(guard, position, still | rule.still_spent(later, worst, memory))

    def _disarm_where_asked(self, wishes: Sequence[Decision], facts: Facts) -> None:
        for wish in wishes:
            if isinstance(wish, Disarm):
                disarming.disarm(self._automation, self._position_id, wish.reason, facts.as_data())

    def _is_open(self, wish: Decision, only: type[PositionAction] | None) -> bool:
        """Whether it is still to be tried in this look."""
        if wish.step in self._refused or (only is not None and not isinstance(wish, only)):
            return False
        return isinstance(wish, Hold) or not told_already(self._automation, wish)

    def _fresher(self, seen: Seen, wishes: Sequence[Decision]) -> Seen | None:
        """Read the positions anew where a wish asks for younger ones; None where none does.

        Where they cannot be had, what needs them is refused for its age, and the other wishes go on.
        """
        assert seen.positions is not None
        wanted_s = [gates.positions_max_age_s(wish) for wish in wishes if not isinstance(wish, Hold)]
        if not wanted_s or self._rereads:
            return None
        if seen.positions.fresh_at >= timezone.now() - timedelta(seconds=min(wanted_s)):
            return None
        self._rereads = True
        try:
            return self._read(min(wanted_s))
        except TransientError as error:
            logger.warning("positions not read again", extra=self._fields() | {"error": str(error)})
            return None

    # What follows

    def _seen_after(self, outcome: Outcome, seen: Seen) -> Seen | None:
        """Return what is to be decided on next; None: nothing more in this look."""
        if outcome.execution is None:
            return None
        self._rereads = False
        self._learn_when_settled(outcome.execution)
        try:
            return self._following(outcome, outcome.execution, seen)
        except ExchangeError as error:
            # What was done is recorded; whatever is left to do, the next look does.
            logger.warning("not looked at again", extra=self._fields() | {"error": str(error)})
            return None

    def _following(self, outcome: Outcome, execution: Execution, seen: Seen) -> Seen | None:
        is_guard = isinstance(self._automation, MarginGuard)
        match outcome.word:
            case Execution.State.UNKNOWN:
                return self._after_silence(execution)
            case Execution.State.CONFIRMED if is_guard and outcome.position is not None:
                return self._with_answer(seen, outcome.position, execution)
            case Execution.State.REJECTED if is_guard:
                return self._after_refusal(outcome)
            case _:
                return None

    def _with_answer(self, seen: Seen, position: Position, execution: Execution) -> Seen:
        """Return the position as the exchange answered, beside the newest price."""
        glance = self._client.glance(settings.DATA_MAX_AGE_S)
        answered_at = execution.settled_at or execution.decided_at
        positions = PositionsSnapshot(positions=(position,), at=answered_at, source=Source.REST)
        return Seen(quote=glance.quote, positions=positions, balance=seen.balance)

    def _after_refusal(self, outcome: Outcome) -> Seen | None:
        """Try a refused top-up once more with the balance that is there; else the step gives way."""
        action = outcome.action
        balance = None
        if isinstance(action, AddMargin) and not self._retries:
            balance = self._client.balance(urgency=NOT_URGENT)
        self._retries = (
            balance is not None
            and isinstance(action, AddMargin)
            and balance.free - self._automation.account.reserve_sats < action.amount
        )
        if not self._retries:
            self._refused.add(action.step if isinstance(action, PositionAction) else None)
        seen = self._read(settings.DATA_MAX_AGE_S)
        return replace(seen, balance=balance or seen.balance)

    def _after_silence(self, execution: Execution) -> Seen | None:
        """Look at once whether it happened; where that does not show yet, have it looked at soon."""
        if self._settle(execution) is Verdict.HAPPENED:
            return self._read(settings.DATA_MAX_AGE_S)
        changes.announce_cooldown(
            redis_client(),
            self._automation.account,
            execution.automation_id,
            execution.position_id,
            timezone.now() + SHOWS_WITHIN,
        )
        return None

    def _fields(self) -> dict[str, object]:
        account = self._automation.account
        return {
            "account": account.pk,
            "account_name": account.name,
            "automation": self._automation.pk,
            "position": self._position_id,
        }


def _nothing_to_do(wishes: Sequence[Decision]) -> str:
    """Return the reason of the first that holds; where none does, a shadow stands in the way."""
    holds = (wish.reason for wish in wishes if isinstance(wish, Hold))
    return next(holds, "its shadow wrote that down already")
