"""Did a write happen whose answer never came? What the exchange shows now is the proof. Pure."""

from enum import StrEnum

from exchange.money import Sats


class Verdict(StrEnum):
    HAPPENED = "happened"
    DID_NOT = "did not happen"
    OPEN = "still open"
    """The request may yet arrive: its signature is still valid."""
    CANNOT_BE_TOLD = "cannot be told"
    """Somebody else changed the position meanwhile."""


def of_added_margin(
    *, amount: Sats, before: Sats, now: Sats, funding_paid: int, may_arrive: bool
) -> Verdict:
    """Judge a top-up of `amount` by the margin before it and now (API notes, section 8).

    `funding_paid` are the signed funding fees between the two, of which what was paid left the margin
    (6.11). `may_arrive` says whether the request could still reach the exchange.
    """
    unchanged = before - max(0, funding_paid)
    if now == unchanged + amount:
        return Verdict.HAPPENED
    if may_arrive:
        return Verdict.OPEN
    return Verdict.DID_NOT if now == unchanged else Verdict.CANNOT_BE_TOLD


def of_close(*, runs: bool, may_arrive: bool) -> Verdict:
    """Judge a close by whether the position still runs."""
    if not runs:
        return Verdict.HAPPENED
    return Verdict.OPEN if may_arrive else Verdict.DID_NOT
