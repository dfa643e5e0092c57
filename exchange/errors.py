"""What went wrong at the exchange, said as what the caller may do about it.

ExchangeError
├── TransientError        nothing happened: the same request may be sent again
├── RejectedError         understood and refused: give up this action
├── UnknownOutcomeError   it may have happened: read back before deciding anything
└── OperatorNeededError   an answer that cannot be read: nothing in it is believed
    ├── KeyRefusedError   the exchange's own 401, or 403 to a read: nothing was done
    └── UnreadableFieldError   one object of an answer is not as it should be; others may be
"""

import re
from typing import Final

_NOT_STORABLE: Final = re.compile("[\\x00\\ud800-\\udfff]")
"""JSON may hold both, a database's text neither: NUL, and halves of a character."""


def storable(text: str) -> str:
    """Return text from outside as any database takes it."""
    return _NOT_STORABLE.sub("\ufffd", text)


class ExchangeError(Exception):
    """Base of all four; its message is one sentence for a person and carries no secret."""

    def __init__(self, message: str) -> None:
        super().__init__(storable(message))


class TransientError(ExchangeError):
    """Nothing happened at the exchange: the request may be sent again after `after_s` seconds."""

    def __init__(self, message: str, *, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class RejectedError(ExchangeError):
    """The exchange understood and refused: sending the same again changes nothing."""


class UnknownOutcomeError(ExchangeError):
    """The request left and no clear answer came: look at the exchange before the next action."""


class OperatorNeededError(ExchangeError):
    """A payload we cannot read, or credentials refused: where it lasts, a person has to look.

    Once is no verdict: reads are repeated, sessions dialled anew, and nothing about us changes. After a
    write, an answer that cannot be read leaves its outcome unknown.
    """


class KeyRefusedError(OperatorNeededError):
    """The exchange refused the key before doing anything; it may accept it in a moment."""


class UnreadableFieldError(OperatorNeededError):
    """A field of an object is not as it should be; the message names it with its value."""
