"""A worker answers what others want to know of the exchange: they cannot open credentials."""

from datetime import timedelta
from typing import Any, Final

from accounts import inquiries, services
from accounts.models import Account, Inquiry
from automations import previewing, sight_json
from automations.previewing import CannotBeSeenError
from exchange.position import Regime

OVERDUE_AFTER: Final = timedelta(seconds=3)
"""After this long its message is taken for lost."""


def answer(inquiry_id: int) -> str:
    """Answer one inquiry, unless another worker does; return what came of it, in a word.

    One whose worker dies stays unanswered: whoever asked is told so, and asks again.
    """
    inquiry = inquiries.take(inquiry_id)
    if inquiry is None:
        return "nothing to answer"
    if inquiry.kind == Inquiry.Kind.CONNECTION:
        return _test(inquiry)
    return _look(inquiry)


def _test(inquiry: Inquiry) -> str:
    verdict = services.verify(inquiry.account)
    if isinstance(verdict, services.NotVerified):
        inquiries.settle(inquiry, fault=verdict.fault)
        return "not connected"
    inquiries.settle(inquiry, answer={"balance": verdict.balance})
    return "connected"


def _look(inquiry: Inquiry) -> str:
    try:
        found = _sight(inquiry.account, inquiry.asks)
    except CannotBeSeenError as error:
        inquiries.settle(inquiry, fault=str(error))
        return "not seen"
    inquiries.settle(inquiry, answer=found)
    return "seen"


def _sight(account: Account, asks: dict[str, Any]) -> dict[str, Any]:
    regime, opens = Regime(asks["regime"]), bool(asks["opens"])
    return sight_json.to_json(previewing.look(account, regime, opens=opens))
