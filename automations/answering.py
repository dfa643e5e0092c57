"""Which accounts does the exchange answer now? Asked side by side: a silent one holds back no other."""

import logging
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, NamedTuple

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for
from accounts.models import Account
from automations import suspending
from exchange.account import Balance
from exchange.errors import ExchangeError, KeyRefusedError

logger = logging.getLogger(__name__)

PATIENCE_S: Final = 0.8
"""So long is waited for answers: with the 4 s between two rounds, others' owners know within 5 s. A
later answer counts when the account is asked about next."""
_AT_ONCE: Final = 20
_KEPT_S: Final = 15.0
"""So long after the question an answer counts: a request takes 13 s at the most."""


class _Asked(NamedTuple):
    account: Account
    at_s: float
    answer: "Future[Balance]"

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.at_s


# The threads have no database: they need no connection of their own.
_askers = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="answering")
_asked: dict[int, _Asked] = {}


def balances(accounts: Iterable[Account]) -> dict[int, Balance]:
    """Return the free balance of each account that answers within `PATIENCE_S`, by the accounts' ids.

    Whoever works through accounts one after the other asks here first, and leaves those that do not
    answer to the next time. A key that is refused is doubted.
    """
    asked = [each for account in set(accounts) if (each := _ask(account)) is not None]
    # Nobody waits again for one that was silent before.
    wait([each.answer for each in asked if each.age_s < PATIENCE_S], timeout=PATIENCE_S)
    answers = {}
    for each in asked:
        if each.answer.done():
            _asked.pop(each.account.pk, None)
            balance = _answer(each)
            if balance is not None:
                answers[each.account.pk] = balance
    return answers


def _ask(account: Account) -> _Asked | None:
    """Return the question that is on its way, or was answered lately, or a new one."""
    before = _asked.get(account.pk)
    if before is not None and (not before.answer.done() or before.age_s < _KEPT_S):
        return before
    try:
        client = client_for(account)
    except (ExchangeError, SealBrokenError) as error:
        _log(account, error)
        return None
    asked = _Asked(account, time.monotonic(), _askers.submit(client.balance))
    _asked[account.pk] = asked
    return asked


def _answer(asked: _Asked) -> Balance | None:
    try:
        return asked.answer.result()
    except ExchangeError as error:
        _log(asked.account, error)
        if isinstance(error, KeyRefusedError):
            suspending.note_refusal(asked.account, str(error))
        return None


def _log(account: Account, error: Exception) -> None:
    extra = {"account": account.pk, "account_name": account.name, "error": str(error)}
    logger.warning("account does not answer", extra=extra)
