"""Whether a key may be entrusted to us: it works, it may trade, and it may not withdraw."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from exchange.account import AccountState
from exchange.auth import Credentials
from exchange.config import USUAL_TIMEOUTS, Endpoints, Timeouts
from exchange.errors import KeyRefusedError, TransientError
from exchange.line import Bell, Line
from exchange.protocol import Conversation, Event
from exchange.rest import RestClient
from exchange.serverclock import ServerClock
from exchange.session import VERSION_PATH

NEEDED: Final = frozenset({"account:read", "futures:isolated:read", "futures:isolated:write"})
"""Without these nothing can be protected (API notes, 2.8)."""
ALLOWED: Final = NEEDED | {"futures:cross:read", "futures:cross:write"}
"""All that automations use. A key that may do more, whatever that is, is not taken."""
FORBIDDEN: Final = frozenset({"account:withdrawals:write"})
"""Whoever got hold of our copy of such a key could empty the account."""


class UnfitKeyError(KeyRefusedError):
    """The key works, and may do too little or too much to be entrusted to us."""


class TooWideKeyError(UnfitKeyError):
    """The key may do all that is needed, and more than that, but not empty the account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was found out about a key that may be used."""

    account: AccountState
    permissions: frozenset[str]


def verify(
    rest: RestClient,
    endpoints: Endpoints,
    credentials: Credentials,
    *,
    server_clock: ServerClock,
    timeouts: Timeouts = USUAL_TIMEOUTS,
) -> Verified:
    """Sign in on both ways and look at what the key may do; `rest` has the same credentials.

    Costs a connection to the stream and one of its 20 authentications a minute, and both again where
    the key is found unfit: one odd answer is no verdict.

    Raises:
        KeyRefusedError: the exchange did not accept the key just now.
        UnfitKeyError: it may do too little, or too much; one sentence says which.
        TooWideKeyError: it may do more than is needed.
        TransientError, RejectedError, OperatorNeededError: nothing was found out about the key.
    """
    account = rest.account()
    rest.running_trades()
    permissions = permissions_of(endpoints, credentials, server_clock=server_clock, timeouts=timeouts)
    if not NEEDED <= permissions <= ALLOWED:
        permissions = permissions_of(
            endpoints, credentials, server_clock=server_clock, timeouts=timeouts
        )
    if too_much := FORBIDDEN & permissions:
        raise UnfitKeyError(
            f"This key may move bitcoin out of the account ({', '.join(sorted(too_much))}):"
            " make one without that permission and enter it here."
        )
    if too_little := NEEDED - permissions:
        raise UnfitKeyError(
            f"This key lacks {', '.join(sorted(too_little))}:"
            " make one with these permissions and enter it here."
        )
    if more := permissions - ALLOWED:
        raise TooWideKeyError(
            f"This key may do more than automations need ({', '.join(sorted(more))}):"
            f" make one with no more than {', '.join(sorted(ALLOWED))} and enter it here."
        )
    return Verified(account=account, permissions=permissions)


def permissions_of(
    endpoints: Endpoints,
    credentials: Credentials,
    *,
    server_clock: ServerClock,
    timeouts: Timeouts = USUAL_TIMEOUTS,
    clock: Callable[[], float] = time.monotonic,
) -> frozenset[str]:
    """Return what the exchange lets a key do; only the stream tells.

    Raises:
        TransientError: also where it does not tell.
        KeyRefusedError, RejectedError, OperatorNeededError
    """
    steps: list[Event] = []
    url = endpoints.stream_url.rstrip("/") + VERSION_PATH
    bell = Bell()
    try:
        with Line(
            url,
            connect_s=timeouts.connect_s,
            bell=bell,
            ca_file=endpoints.ca_file,
            proxy=endpoints.proxy,
        ) as line:
            talk = Conversation(
                credentials=credentials,
                wanted=frozenset(),
                timeouts=timeouts,
                server_clock=server_clock,
                clock=clock,
                now=lambda: datetime.now(UTC),
                moved=steps.append,
            )
            talk.opened()
            while Event.ACCEPTED not in steps:
                while talk.outgoing:
                    line.send(talk.outgoing.popleft())
                if frame := line.receive(talk.due_s - clock()):
                    talk.heard(frame)
                talk.passed()
            if talk.permissions is None:
                raise TransientError("LN Markets did not say what the key may do")
            return talk.permissions
    finally:
        bell.close()
