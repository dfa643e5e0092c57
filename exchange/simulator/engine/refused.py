"""How the engine says no."""


class Refused(Exception):  # noqa: N818 - it is an answer of the exchange, not a fault of the program
    """A business rule forbids what was asked; nothing has changed. The message is for the client."""
