"""The twelve properties of the design (its section 5), in its order."""

from collections.abc import Callable
from typing import Final

from tests.stateful.properties.effects import no_orphan_write, one_effect_per_execution
from tests.stateful.properties.hands import the_users_own_hand_wins
from tests.stateful.properties.isolation import accounts_are_isolated
from tests.stateful.properties.knowing import nothing_is_decided_on_old_data, unknown_is_never_empty
from tests.stateful.properties.limits import budgets_hold, switches_are_obeyed
from tests.stateful.properties.protection import protection_is_monotone
from tests.stateful.properties.shadows import shadow_equals_live
from tests.stateful.properties.telling import every_transition_is_told, no_secret_is_told
from tests.stateful.stage import Stage

ALWAYS: Final[tuple[Callable[[Stage], None], ...]] = (
    no_orphan_write,
    one_effect_per_execution,
    unknown_is_never_empty,
    nothing_is_decided_on_old_data,
    budgets_hold,
    switches_are_obeyed,
    protection_is_monotone,
    the_users_own_hand_wins,
    accounts_are_isolated,
    every_transition_is_told,
    no_secret_is_told,
    shadow_equals_live,
)
