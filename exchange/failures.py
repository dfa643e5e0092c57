"""The one table from what went wrong on the way to what the caller may do (API notes, 4.3)."""

import math
import re
import ssl
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import requests
from urllib3.exceptions import (
    ClosedPoolError,
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ReadTimeoutError,
)

from exchange.errors import (
    ExchangeError,
    KeyRefusedError,
    OperatorNeededError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from exchange.fields import Fields, parse
from exchange.ratelimit import hold_s

NETWORK_FAILURES: Final = (requests.RequestException, HTTPError, OSError)
"""All that `requests` and the libraries below it raise."""

_NEVER_SENT: Final = (NewConnectionError, ConnectTimeoutError, ClosedPoolError)
_POLICY: Final = re.compile(r";\s*([qw])=(\d{1,9})(?=\s*(?:;|$))")
_LEAST_PER_S: Final = 0.1
"""A policy that allows less is read as this: else a mistake there would be an end of protection."""
_OF_A_KEY: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


def unanswered(error: Exception, *, where: str, address: str, writes: bool) -> ExchangeError:
    """Return what to raise where no answer came."""
    cause = _cause(error)
    if isinstance(cause, _NEVER_SENT) or isinstance(error, requests.exceptions.InvalidURL):
        return TransientError(f"{address} cannot be reached: {_why_unreachable(cause)}")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return TransientError(f"{address} cannot be trusted: {cause.verify_message}")
    late = isinstance(cause, ReadTimeoutError | requests.ReadTimeout)
    why = "no answer in time" if late else "the connection was lost"
    return _interrupted(f"LN Markets gave no answer to {where}: {why}", writes=writes)


def _cause(error: Exception) -> BaseException:
    """Return the first failure below those that only wrap it."""
    cause: BaseException = error
    while True:
        inner = cause.reason if isinstance(cause, MaxRetryError) else next(iter(cause.args), None)
        if isinstance(cause, _NEVER_SENT) or not isinstance(inner, BaseException):
            return cause
        cause = inner


def _why_unreachable(cause: BaseException) -> str:
    if isinstance(cause, ConnectTimeoutError) and not isinstance(cause, NewConnectionError):
        return "no connection in time"
    below = cause.__cause__ or cause.__context__
    return (below.strerror if isinstance(below, OSError) else None) or type(cause).__name__


def refused(
    status: int,
    *,
    headers: Mapping[str, str],
    content: bytes,
    where: str,
    writes: bool,
    protective: bool = False,
    now_s: float | None = None,
) -> ExchangeError:
    """Return what to raise for an answer that is no success.

    Only the exchange's own document refuses an action, and a key only where it is an error's (4.1). The
    page of a gateway with the same status says nothing about either: it passes. `now_s` as of
    `retry_after_s`.
    """
    is_document, code, message = _error_body(content, where)
    said = f"({status}{f' {code}' if code else ''}): {message or _phrase(status)}"
    if status == HTTPStatus.TOO_MANY_REQUESTS or _without_engine(status, code):
        after_s = hold_s(retry_after_s(headers, now_s=now_s), protective=protective)
        return TransientError(f"LN Markets did nothing {said}", after_s=after_s)
    if status < 400:
        return OperatorNeededError(f"LN Markets is not at this address, {where} was answered {said}")
    if status >= 500 or status == HTTPStatus.REQUEST_TIMEOUT:
        return _interrupted(f"LN Markets broke down at {where} {said}", writes=writes)
    if not is_document or (code is None and status in _OF_A_KEY):
        # What such a page was put in place of is not known: a write may have been applied.
        sentence = f"Something in front of LN Markets does not allow {where} {said}"
        return _interrupted(sentence, writes=writes)
    return _by_the_exchange(status, said, where=where, writes=writes)


def _by_the_exchange(status: int, said: str, *, where: str, writes: bool) -> ExchangeError:
    if status == HTTPStatus.UNAUTHORIZED:
        return KeyRefusedError(f"LN Markets refused the key {said}")
    if status == HTTPStatus.FORBIDDEN:
        # To a write it is the answer: this may not be done. To a read it leaves us blind.
        kind = RejectedError if writes else KeyRefusedError
        return kind(f"LN Markets does not allow {where} {said}")
    return RejectedError(f"LN Markets refused {where} {said}")


def _without_engine(status: int, code: str | None) -> bool:
    """A gateway's own 503 has no such code, and may come after the engine has acted."""
    return status == HTTPStatus.SERVICE_UNAVAILABLE and code == "SERVICE_UNAVAILABLE"


def retry_after_s(headers: Mapping[str, str], *, now_s: float | None = None) -> float:
    """Return the seconds that `Retry-After` asks for (RFC 9110, 10.2.3), finite and 1 at the least.

    A date counts from the answer's own `Date`, so that a clock that is off changes nothing; without
    one from `now_s`, seconds since the epoch, by default our own clock's. What says neither seconds nor
    a date means 1.
    """
    asked = headers.get("Retry-After", "")
    try:
        seconds = float(asked)
    except ValueError:
        until_s, sent_s = _date_s(asked), _date_s(headers.get("Date", ""))
        if until_s is None:
            return 1.0
        sent_s = now_s if sent_s is None else sent_s
        seconds = until_s - (time.time() if sent_s is None else sent_s)
    return max(seconds, 1.0) if math.isfinite(seconds) else 1.0


def told_per_s(headers: Mapping[str, str]) -> float | None:
    """Return how many requests a second `RateLimit-Policy` allows; None where it says no such thing.

    A list of policies, each with a quota `q` and a window `w` in seconds (draft-ietf-httpapi-ratelimit-
    headers); the narrowest counts. What cannot be read, or allows nothing at all, is not believed.
    """
    rates = []
    for policy in headers.get("RateLimit-Policy", "").split(","):
        told = dict(_POLICY.findall(policy))
        if int(told.get("q", 0)) and int(told.get("w", 0)):
            rates.append(int(told["q"]) / int(told["w"]))
    return max(min(rates), _LEAST_PER_S) if rates else None


def _date_s(text: str) -> float | None:
    """Return an HTTP date, in any of its three forms, as seconds since the epoch."""
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _interrupted(sentence: str, *, writes: bool) -> ExchangeError:
    if writes:
        return UnknownOutcomeError(f"{sentence}; it may have been done")
    return TransientError(sentence)


def _error_body(content: bytes, where: str) -> tuple[bool, str | None, str | None]:
    """Return whether it is a JSON object, its code and its message; a gateway's page has none (4.1)."""
    try:
        fields = Fields.of(parse(content, where), where)
    except OperatorNeededError:
        return False, None, None
    code, message = fields.values.get("code"), fields.values.get("message")
    return True, _said(code, most=60), _said(message, most=300)


def _said(value: object, *, most: int) -> str | None:
    return value[:most] if isinstance(value, str) and value else None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no reason given"
