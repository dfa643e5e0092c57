"""Did a write happen whose answer never came? What the exchange shows now is the proof. Pure."""

from collections.abc import Callable, Sequence
from enum import StrEnum

from exchange.errors import OperatorNeededError
from exchange.money import Sats


class Verdict(StrEnum):
    HAPPENED = "happened"
    DID_NOT = "did not happen"
    TOO_LATE = "came too late: the order was filled first"
    OPEN = "still open"
    """The request may yet arrive: its signature is still valid."""
    NOT_SEEN = "not seen"
    """Likewise, and the exchange shows everything as it was before."""
    CANNOT_BE_TOLD = "cannot be told"
    """Somebody else changed the position meanwhile."""


def twice(judge: Callable[[], Verdict], *, proven: bool) -> Verdict:
    """Judge once more by a later reading what lasts: one list that lacks a row proves nothing.

    `proven` says that what happened is shown by something that is there, and not by what is missing.
    Where the two differ it is still open.
    """
    first = judge()
    if first in {Verdict.OPEN, Verdict.NOT_SEEN} or (first is Verdict.HAPPENED and proven):
        return first
    return first if judge() is first else Verdict.OPEN


def of_presence(*, found: bool, may_arrive: bool, untouched: bool = True) -> Verdict:
    """Judge a write that leaves something to be found, and nothing where it did not happen.

    A position that no longer runs after a close, an order under our label, a transfer of the amount,
    an exit at the wanted level. `untouched` says whether what it would have changed is as it was
    before: where it is neither, somebody else may have changed it afterwards.
    """
    if found:
        return Verdict.HAPPENED
    if may_arrive:
        return Verdict.OPEN
    return Verdict.DID_NOT if untouched else Verdict.CANNOT_BE_TOLD


def funding_paid(before: int | None, now: int | None) -> int | None:
    """Return what was paid between two signed totals; None where the first was not known.

    Raises:
        OperatorNeededError: the second cannot be read. It may be in a moment.
    """
    if now is None:
        raise OperatorNeededError("the funding fees of the position cannot be read")
    return None if before is None else now - before


def of_added_margin(
    *,
    amount: Sats,
    before: Sats,
    now: Sats,
    funding_paid: int | None,
    may_arrive: bool,
    added_since: int = 0,
    others: Sequence[Sats] = (),
) -> Verdict:
    """Judge a top-up of `amount` by the margin before it and now (API notes, section 8).

    `funding_paid` are the signed funding fees between the two, of which what was paid left the margin
    (6.11); None: not known, and where something else than the amount came or went it cannot be told
    what. `added_since` are the sats of our other top-ups since that surely happened, `others` those
    that nobody knows of either: each sat that came proves one of them. `may_arrive` says whether the
    request could still reach the exchange.
    """
    came = now - (before - max(0, funding_paid or 0) + added_since)
    without = _sums(others)
    if came - amount in without:
        return Verdict.HAPPENED
    if funding_paid is None:
        return Verdict.OPEN if may_arrive else Verdict.CANNOT_BE_TOLD
    if may_arrive:
        return Verdict.NOT_SEEN if came in without else Verdict.OPEN
    return Verdict.DID_NOT if came in without else Verdict.CANNOT_BE_TOLD


def _sums(amounts: Sequence[Sats]) -> set[int]:
    """Return what any of the amounts come to, none of them and all of them too."""
    sums = {0}
    for amount in amounts:
        sums |= {each + amount for each in sums}
    return sums


def of_deposit(
    *,
    amount: Sats,
    before: Sats,
    now: Sats | None,
    funding_paid: int | None,
    transferred: bool,
    may_arrive: bool,
    added_since: int = 0,
    others: Sequence[Sats] = (),
) -> Verdict:
    """Judge a deposit to the cross margin by the margin before it and now, then by the transfers.

    `now` is None where somebody traded meanwhile, so that the two do not compare; funding moves this
    margin either way (6.12). `transferred` says whether the exchange lists any transfer of the amount
    since a while before: none proves that nothing happened, one may be an earlier deposit of as much.
    `added_since` and `others` as for `of_added_margin`.
    """
    came = None if now is None else now - (before - (funding_paid or 0) + added_since)
    without = _sums(others)
    if came is not None and came - amount in without:
        return Verdict.HAPPENED
    if funding_paid is None:
        came = None
    if may_arrive:
        return Verdict.NOT_SEEN if came in without else Verdict.OPEN
    if came in without or not transferred:
        return Verdict.DID_NOT
    return Verdict.CANNOT_BE_TOLD
