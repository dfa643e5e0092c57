"""What owners are told: a row for each thing that the journal knows; `docs/notifications.md` has them.

A row is found by its `what`: the event without its kind, and where one word is not enough the reason of
a refusal, the action that was executed, or the state that was proven.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Final


class Effect(Enum):
    """What it says about the protection of a position, or of all positions of an account."""

    NONE = ""
    ENDS = "ends"
    WEAKENS = "weakens"
    RETURNS = "returns"

    @property
    def is_bad(self) -> bool:
        return self in {Effect.ENDS, Effect.WEAKENS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """How one thing is told.

    In `subject` and `lead` stand names of what `wording` knows, in braces.
    """

    what: str
    subject: str = ""
    """Empty: it is not told; then `lead` says why not."""
    lead: str = ""
    """The first sentences: what happened, and whether the position is protected."""
    of: str = "all"
    """Which kinds of automation: `all`, `margin_guard`, `tp_sl`, `auto_entry`."""
    effect: Effect = Effect.NONE
    only_after: tuple[str, ...] = ()
    """It is told only where one of these was told before, and was not over yet."""
    joined: timedelta | None = None
    """Repetitions within an hour are collected for so long and told with their count; None: each is
    told by itself."""
    waits: timedelta = timedelta(0)
    """It may be over before it is worth telling, or numbers are still to come."""

    @property
    def told(self) -> bool:
        return bool(self.subject)


REPEATED: Final = timedelta(hours=1)
"""What comes again after this is the first of its kind."""
_10_MIN: Final = timedelta(minutes=10)
_WITH_NUMBERS: Final = timedelta(seconds=30)
_LASTS: Final = timedelta(seconds=10)
_PASSES: Final = timedelta(seconds=3)
"""It is mostly over with the next look, and its owner knows within 5 s where it is not."""
_OFF: Final = "{position} on {account} is not protected now: {message}."
_IDLE: Final = "{name} did not act on {position} on {account}: {message}."
_GUARD: Final = "margin_guard"
_AGAIN: Final = ("fallback_activated",)


def _refused(
    reason: str, says: str, effect: Effect = Effect.ENDS, *, waits: timedelta = timedelta(0)
) -> Notice:
    """Return the row for a guard that wanted to act and was refused by a gate."""
    return Notice(
        what=f"held {reason}", of=_GUARD, effect=effect, joined=_10_MIN, waits=waits,
        subject=f"{{name}}: not protected, {says}" if effect is Effect.ENDS else f"{{name}}: {says}",
        lead=_OFF if effect is Effect.ENDS else _IDLE,
    )  # fmt: skip


_ACTIONS: Final = (
    Notice(
        what="executed add_margin", subject="{name}: add margin", effect=Effect.RETURNS,
        lead="{name} added {amount} sats to {position} on {account}, which stays protected.",
        joined=timedelta(minutes=1),
    ),
    Notice(
        what="executed reduce_position", subject="{name}: reduce position", effect=Effect.RETURNS,
        lead="{name} reduced {position} on {account} by {quantity} USD.{reopening}",
        waits=_WITH_NUMBERS,
    ),
    Notice(
        what="executed close_position", subject="{name}: close position", effect=Effect.RETURNS,
        lead="{name} closed {position} on {account}: nothing of it is at risk any more.",
        waits=_WITH_NUMBERS,
    ),
    Notice(
        what="executed set_stoploss", subject="{name}: set stop loss", joined=REPEATED,
        lead="{name} set the stop loss of {position} on {account} to {level}.",
    ),
    Notice(
        what="executed set_trailing", subject="{name}: set trailing stop", joined=REPEATED,
        lead="{name} set a trailing stop for {position} on {account}.",
    ),
    Notice(
        what="executed set_takeprofit", subject="{name}: set take profit", joined=REPEATED,
        lead="{name} set the take profit of {position} on {account} to {level}.",
    ),
    Notice(
        what="executed open_position", subject="{name}: open position",
        lead="{name} opened {position} on {account}.",
    ),
    Notice(
        what="executed cancel_order", subject="{name}: cancel order",
        lead="{name} took back the order {position} on {account}.",
    ),
    Notice(
        what="executed notify", subject="{name}: warning", joined=_10_MIN,
        lead="{name} warns about {position} on {account}; nothing was done.",
    ),
    Notice(
        what="limited", of=_GUARD, effect=Effect.WEAKENS, joined=_10_MIN,
        subject="{name}: protection is weaker, {missing} sats are missing",
        lead="{name} could add only {added} of {wanted} sats to {position} on {account}:"
        " it is liquidated at {liquidation} now.",
    ),
    Notice(
        what="rejected", subject="{name}: refused by the exchange: {action}", effect=Effect.WEAKENS,
        lead="The exchange refused what {name} wanted to do with {position} on {account}: {action}.",
        joined=_10_MIN,
    ),
    Notice(
        what="unsettled", subject="{name}: no answer from the exchange: {action}",
        effect=Effect.WEAKENS,
        lead="For 30 s nobody knows what became of what {name} did with {position} on {account}:"
        " {action}.",
    ),
    Notice(
        what="reconciled confirmed", subject="{name}: {action}, as the exchange shows",
        effect=Effect.RETURNS,
        lead="The exchange shows that {name} did this with {position} on {account}: {action}.",
    ),
    Notice(
        what="reconciled closed", subject="{name}: {action}, as the exchange shows",
        effect=Effect.RETURNS, waits=_WITH_NUMBERS,
        lead="The exchange shows that {name} did this with {position} on {account}: {action}.",
    ),
    Notice(
        what="reconciled not_applied", subject="{name}: it did not happen: {action}",
        effect=Effect.RETURNS, only_after=("unsettled",),
        lead="The exchange shows that this did not happen to {position} on {account}: {action}.",
    ),
    Notice(
        what="reconciled quarantined",
        subject="{name}: nobody can tell whether this happened: {action}",
        effect=Effect.WEAKENS,
        lead="Nobody can tell whether {name} did this with {position} on {account}: {action}."
        " Its sats count as spent.",
    ),
    Notice(
        what="flat", subject="{name}: closed, and not opened again",
        lead="{position} on {account} was closed to be opened smaller, and was not opened again.",
    ),
)  # fmt: skip

_REFUSALS: Final = (
    _refused("budget_used_up", "the budget is used up"),
    _refused("balance", "the free balance is used up"),
    _refused("balance_unknown", "the free balance is not known", waits=_PASSES),
    _refused("reserve", "the reserve would be touched"),
    _refused("command_rate", "too many commands within a minute", waits=_PASSES),
    _refused("rate", "too many requests within a second", waits=_PASSES),
    _refused("leverage_1", "the leverage is 1 already"),
    _refused("halted", "a switch says halted"),
    _refused("reduce_only", "a switch says reduce only"),
    _refused("account_inactive", "the account is not active and verified"),
    _refused("stale", "the data is too old", waits=_PASSES),
    _refused("not_accepted", "its cost was not accepted", Effect.WEAKENS),
    _refused("reductions", "reduced twice within a minute", Effect.WEAKENS),
    Notice(what="held too_little_left", lead="told as: closed, and not opened again"),
    Notice(what="held cooldown", lead="it goes on by itself within seconds"),
    Notice(what="held unsettled", lead="told where it lasts: no answer for 30 s"),
    Notice(what="held too_small", lead="less than an order is worth"),
    Notice(what="held disabled", lead="its owner disabled it"),
    Notice(what="held unreadable", lead="told of the position as a whole"),
    _refused("*", "{reason}"),
    Notice(what="held *", lead="an exit or entry that waits endangers nothing"),
)  # fmt: skip

_AUTOMATIONS: Final = (
    Notice(
        what="missed", subject="{name}: missed", of="auto_entry",
        lead="{name} on {account} opened nothing: {message}.",
    ),
    Notice(
        what="disarmed", subject="{name}: disarmed on a position", of="tp_sl", effect=Effect.ENDS,
        lead="{name} does nothing more on {position} on {account}: {message}.",
    ),
    Notice(
        what="rearmed", subject="{name}: armed again on a position", of="tp_sl", effect=Effect.RETURNS,
        lead="{name} acts on {position} on {account} again: {message}.",
    ),
    Notice(
        what="disarmed", subject="{name}: disarmed, for the exchange keeps refusing it",
        of="auto_entry", lead="{name} on {account} opens nothing: {message}.",
    ),
    Notice(what="stop_ahead", lead="its owner set the stop; preview and journal say so", of=_GUARD),
    Notice(
        what="quarantined", subject="{name}: stopped on a position until you release it",
        effect=Effect.ENDS, lead=_OFF,
    ),
    Notice(
        what="released", subject="{name}: released, looks at the position again",
        effect=Effect.RETURNS, lead="{name} looks at {position} on {account} again: {message}.",
    ),
    Notice(
        what="protected_again", subject="{name}: protection is back", effect=Effect.RETURNS,
        lead="{position} on {account} is protected again: {message}.", of=_GUARD,
    ),
)  # fmt: skip

_ACCOUNTS: Final = (
    Notice(
        what="key_refused", subject="suspended, for the exchange refused the key", effect=Effect.ENDS,
        lead="Nothing on {account} is protected now: the exchange refused its key: {message}.",
    ),
    Notice(
        what="key_accepted", subject="the exchange accepts the key again", effect=Effect.RETURNS,
        lead="{account} is protected again: the exchange accepts its key.",
        only_after=("key_refused", "key_revoked"),
    ),
    Notice(
        what="key_revoked", subject="NOT protected, switched off for keys may have leaked",
        effect=Effect.ENDS,
        lead="Nothing on {account} is protected now: {message}. Delete its API key at LN Markets now,"
        " make a new one, enter it here and switch the account on. Until then look after its"
        " positions.",
    ),
    Notice(
        what="key_too_wide", subject="its key may do more than it needs",
        lead="{account} stays protected, but whoever got hold of its key could do more with it than"
        " automations need: {message}.",
    ),
    Notice(
        what="key_unopened", subject="NOT protected, the stored key cannot be opened",
        effect=Effect.ENDS, joined=_10_MIN,
        lead="Nothing on {account} is protected now, for its stored key cannot be opened: {message}."
        " Enter key, secret and passphrase again, unless whoever runs this installation puts it right.",
    ),
    Notice(
        what="key_opened", subject="the stored key can be opened, protection is back",
        effect=Effect.RETURNS, lead="{account} is protected again: {message}.",
        only_after=("key_unopened",),
    ),
    Notice(
        what="fallback_activated", subject="the exchange's stream is away, asking by REST",
        effect=Effect.WEAKENS, waits=_LASTS,
        lead="The stream of {account} is silent: {message}. Positions are read every few seconds"
        " instead, and stay protected.",
    ),
    Notice(
        what="stream_recovered", subject="the exchange's stream is back", effect=Effect.RETURNS,
        lead="The stream of {account} is back: everything is as before.", only_after=_AGAIN,
    ),
    Notice(
        what="unprotected", subject="NOT protected since {since}", effect=Effect.ENDS,
        lead="Nothing on {account} is protected since {since}: {message}.",
    ),
    Notice(
        what="protected_again", subject="protection is back", effect=Effect.RETURNS,
        lead="{account} is protected again: {message}.",
        only_after=("unprotected",),
    ),
    Notice(
        what="position_unreadable", subject="a position cannot be read, and is NOT protected",
        effect=Effect.ENDS, joined=_10_MIN, waits=_PASSES,
        lead="No automation can act on {position} on {account}: {message}.",
    ),
    Notice(
        what="position_readable", subject="what could not be read is over", effect=Effect.RETURNS,
        lead="{position} on {account}: {message}.", only_after=("position_unreadable",),
    ),
    Notice(
        what="liquidated", subject="LIQUIDATED: a {side} of {quantity} USD at {exitPrice}",
        lead="{position} on {account} was liquidated at {exitPrice}. It is lost and cost {cost} sats of"
        " margin and fees.",
    ),
    Notice(
        what="stoploss_executed", subject="stop loss executed by the exchange at {exitPrice}",
        lead="The exchange closed {position} on {account} by its stop loss, {message}.",
    ),
    Notice(
        what="takeprofit_executed", subject="take profit executed by the exchange at {exitPrice}",
        lead="The exchange closed {position} on {account} by its take profit, {message}.",
    ),
    Notice(
        what="closed_elsewhere", subject="closed, and not by an automation",
        lead="{position} on {account}, which a guard watched, was closed: {message}.",
    ),
    Notice(what="closed_elsewhere unguarded", lead="by its owner, and no guard watched it"),
    Notice(what="funding_paid", lead="it comes three times a day and stands in the journal"),
)  # fmt: skip

_SILENT: Final = tuple(
    Notice(what=what, lead=why)
    for what, why in {
        "intended": "what comes of it is told",
        "not_sent": "surely nothing happened, and the same is tried again",
        "unknown": "told where it lasts: no answer for 30 s",
        "shadow": "a shadow does nothing",
        "read_back": "its numbers stand in the message about the action",
        "filled_first": "the order's own trade was told",
        "canceled_first": "nothing rests any more",
        "journal_pruned": "a person did it",
    }.items()
)

NOTICES: Final = (*_ACTIONS, *_REFUSALS, *_AUTOMATIONS, *_ACCOUNTS, *_SILENT)
_BY_WHAT: Final = {(each.of, each.what): each for each in NOTICES}


def notice_of(kind: str, what: str) -> Notice | None:
    """Return the row for what happened to an automation of that kind, or to an account as a whole."""
    general = f"{what.partition(' ')[0]} *"
    wanted = [(kind, what), ("all", what), (kind, general), ("all", general)]
    return next((_BY_WHAT[each] for each in wanted if each in _BY_WHAT), None)
