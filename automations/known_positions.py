"""Known positions: what the stream process sees running, written down, so that no end goes unseen."""

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for
from accounts.models import Account
from automations import answering, journal, unreadable
from automations.models import KnownPosition
from automations.models.known_position import TAKEN, values_of
from automations.reading import plain, read_all
from exchange.errors import ExchangeError
from exchange.position import Position, PositionsSnapshot, Regime

logger = logging.getLogger(__name__)

_UNWATCHED_AT_ONCE: Final = 10
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All positions that an account had in the regimes that were read."""

    account_id: int
    snapshot: PositionsSnapshot
    regimes: frozenset[Regime]
    after_unreadable: bool = False
    """Before it something could not be read, or nothing was read: what was told may be over."""


@dataclass(slots=True)
class _Changes:
    """What readings say beside the rows there are."""

    new: list[KnownPosition] = field(default_factory=list)
    moved: list[KnownPosition] = field(default_factory=list)
    gone: list[KnownPosition] = field(default_factory=list)
    back: list[tuple[KnownPosition, Position, datetime]] = field(default_factory=list)
    """What an earlier reading lacked, as it was known, as it is and since when."""
    funded: list[tuple[KnownPosition, int]] = field(default_factory=list)
    """With what was paid since; negative was received."""


def write_down(readings: Collection[Reading]) -> set[int]:
    """Take over the newest reading of each account; return the accounts of which a position is gone.

    A few statements for all of them. An account with a funding payment has a transaction of its own,
    for its journal is locked meanwhile.
    """
    accounts = Account.objects.in_bulk([each.account_id for each in readings])
    known = _known(accounts)
    calm, gone = _Changes(), set()
    for reading in readings:
        if reading.account_id not in accounts:
            continue  # deleted meanwhile
        changes = _Changes()
        _compare(reading, known.get(reading.account_id, {}), changes)
        if changes.gone:
            gone.add(reading.account_id)
        if changes.funded:
            _write(changes, accounts)
        else:
            calm.new += changes.new
            calm.moved += changes.moved
            calm.gone += changes.gone
            calm.back += changes.back
    _write(calm, accounts)
    for reading in readings:
        if reading.account_id in accounts and (reading.snapshot.unreadable or reading.after_unreadable):
            account = accounts[reading.account_id]
            unreadable.write_down(account, reading.snapshot, reading.regimes, timezone.now())
    return gone


def read_unwatched(now: datetime) -> None:
    """Read the accounts with known positions that no stream process watches, each once a minute.

    Their owners disabled what watched over them, or no stream process lives; an end is told all the
    same. An account that cannot be read is left to the next time.
    """
    unwatched = KnownPosition.objects.running().filter(
        Q(look_at__isnull=True) | Q(look_at__lte=now),
        Q(account__lease__holder__isnull=True) | Q(account__lease__holder__alive_until__lt=now),
        account__is_active=True,
        account__verified_at__isnull=False,
    )
    found = Account.objects.filter(known_positions__in=unwatched).distinct()[:_UNWATCHED_AT_ONCE]
    accounts = list(found)
    answers = answering.balances(accounts)
    for account in accounts:
        unwatched.filter(account=account).update(look_at=now + _MINUTE)
        if account.pk not in answers:
            continue
        try:
            snapshot = read_all(client_for(account))
        except (ExchangeError, SealBrokenError) as error:
            extra = {"account": account.pk, "account_name": account.name, "error": str(error)}
            logger.warning("unwatched account not read", extra=extra)
            continue
        write_down(
            [
                Reading(
                    account_id=account.pk,
                    snapshot=snapshot,
                    regimes=frozenset(Regime),
                    after_unreadable=True,
                )
            ]
        )


def _known(accounts: Iterable[int]) -> dict[int, dict[str, KnownPosition]]:
    """Return what runs, and what is gone while nobody knows yet how it ended."""
    found: dict[int, dict[str, KnownPosition]] = {}
    rows = KnownPosition.objects.filter(account__in=accounts)
    for row in rows.order_by(F("gone_at").asc(nulls_last=True)):  # what runs stands in for what is gone
        found.setdefault(row.account_id, {})[row.position_id] = row
    return found


def _compare(reading: Reading, known: dict[str, KnownPosition], changes: _Changes) -> None:
    at = reading.snapshot.at
    running = {position.id: position for position in reading.snapshot.positions}
    for row in known.values():
        position = running.get(row.position_id)  # type: ignore[call-overload]  # ids are texts there
        if row.gone_at is not None:
            if position is not None and _is_same(row, position):
                del running[position.id]
                changes.back.append((row, position, at))
            continue
        if position is None or position.side != row.side:
            if _is_gone(row, reading):
                changes.gone.append(row)
            continue
        del running[position.id]
        paid = _paid_since(row, position)
        if row.take(position, at):
            changes.moved.append(row)
            if paid:
                changes.funded.append((row, paid))
    changes.new += [_row(reading.account_id, position, at) for position in running.values()]


def _is_gone(row: KnownPosition, reading: Reading) -> bool:
    """Whether the reading surely lacks it; what cannot be read may be it."""
    was_read = Regime(row.regime) in reading.regimes and row.seen_at <= reading.snapshot.at
    return was_read and reading.snapshot.hidden(row.position_id) is None


def _paid_since(row: KnownPosition, position: Position) -> int:
    """Return what funding cost since, signed; nothing where either total is not known."""
    if position.funding_fees is None or row.funding_fees is None:
        return 0
    return position.funding_fees - row.funding_fees


def _is_same(row: KnownPosition, position: Position) -> bool:
    """Whether it is the position that a reading lacked; the cross one bears its name for life."""
    return (position.side, position.entry) == (row.side, row.entry)


def _row(account_id: int, position: Position, at: datetime) -> KnownPosition:
    return KnownPosition(
        account_id=account_id,
        position_id=position.id,
        regime=position.regime.value,
        side=position.side.value,
        first_margin=position.margin,
        first_seen_at=at,
        seen_at=at,
        **values_of(position),
    )


def _write(changes: _Changes, accounts: Mapping[int, Account]) -> None:
    if not (changes.new or changes.moved or changes.gone or changes.back):
        return
    now = timezone.now()
    with transaction.atomic():
        if changes.gone:
            KnownPosition.objects.running().filter(pk__in=[row.pk for row in changes.gone]).update(
                gone_at=now, look_at=now
            )
        for row, position, at in changes.back:
            if KnownPosition.objects.gone().filter(pk=row.pk).update(gone_at=None, look_at=None):
                changes.moved += [row] if row.take(position, at) else []
            else:  # its end was found meanwhile
                changes.new.append(_row(row.account_id, position, at))
        if changes.moved:
            KnownPosition.objects.bulk_update(changes.moved, [*TAKEN, "seen_at"])
        if changes.new:
            KnownPosition.objects.bulk_create(changes.new, ignore_conflicts=True)
        for row, paid in changes.funded:
            _record_funding(row, paid, accounts[row.account_id], now)


def _record_funding(row: KnownPosition, paid: int, account: Account, now: datetime) -> None:
    journal.record_about(
        account,
        journal.FUNDING_PAID,
        message=f"funding: {abs(paid):,} sats {'paid' if paid > 0 else 'received'}",
        data={
            "positionId": row.position_id,
            "amount": paid,
            "fundingFees": row.funding_fees,
            "margin": row.margin,
            "liquidation": plain(row.liquidation),
        },
        now=now,
        position_id=row.position_id,
    )
