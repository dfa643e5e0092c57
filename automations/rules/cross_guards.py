"""Which answers to danger cannot work on the cross position."""

from typing import Final

from automations.rules.metric import Metric
from exchange.position import Regime

IN_VAIN: Final = "reducing the cross position leaves its margin used where it is"
"""The rest carries the loss of the closed part, so that loss and margin stay what they are (6.12)."""


def may_reduce(regime: Regime | str, metric: Metric | str) -> bool:
    """Whether closing a part of such a position improves the metric."""
    return not (regime == Regime.CROSS and metric == Metric.MARGIN_USED)
