"""What stands in a list of the exchange and cannot be read: something is there, and unknown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A row that stands in a list, and of which something cannot be read that is needed."""

    id: str | None
    """None: not even that can be read, so that it may be any."""
    label: str | None
    """Its client id (API notes, 8); None where there is none, or `id` is None."""
    fault: str
    """In a sentence: where it stood, the field and its value."""
