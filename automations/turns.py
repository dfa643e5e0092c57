"""Turns at the exchange's limit: the nearest to liquidation goes first, and decides when it may."""

from fractions import Fraction

from automations.intending import Facts
from exchange.client import Client


def urgency_of(facts: Facts) -> Fraction | None:
    """Return how far liquidation is, as a share of the price; None where nothing is open yet."""
    position = facts.position
    return None if position is None else position.liquidation_distance_at(facts.seen.quote.price)


def take(facts: Facts, client: Client) -> bool:
    """Take the turn of what is decided next on the position; False: others are before us."""
    urgency = urgency_of(facts)
    return urgency is None or client.rest.take_turn(urgency)


def await_free(facts: Facts, client: Client) -> None:
    """Wait until the turn may be taken; whoever then has nothing to send leaves it to the next.

    Raises:
        TransientError: it would come too late.
    """
    position, at = facts.position, facts.seen.quote
    if position is not None:
        # The price goes on: whoever has waited for long may be nearer to liquidation than a newcomer.
        client.rest.await_turn(
            lambda: position.liquidation_distance_at((client.heard_price() or at).price)
        )
