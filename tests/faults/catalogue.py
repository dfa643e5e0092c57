"""Each fault that the platform survives, and the tests that inject it: a list to read, and to run.

`make test-faults` runs these, those that `docs/reliability.md` names, and all of `tests/faults`.
"""

import re
from typing import Final

from tests.flows.processes import ROOT

_A: Final = "tests/automations"
_E: Final = "tests/exchange"
_F: Final = "tests/faults"
_H: Final = "tests/hubdefisats"

FAULTS: Final[dict[str, tuple[str, ...]]] = {
    "an answer is lost after the exchange applied the write": (
        f"{_F}/test_lost_answers.py::test_a_write_whose_answer_is_lost_happens_once",
        f"{_A}/test_services.py::test_a_lost_answer_is_never_sent_again",
        f"{_A}/test_proofs.py::test_a_write_on_a_trade_is_settled_by_what_the_exchange_shows",
        f"{_A}/test_proofs.py::test_a_write_on_the_cross_position_is_settled_by_what_the_exchange_shows",
        f"{_A}/test_expiring.py::test_a_cancel_without_an_answer_is_settled_by_where_the_order_stands",
    ),
    "a connection is refused": (
        f"{_E}/test_faults.py::test_an_exchange_that_refuses_connections_did_nothing",
        (
            "tests/flows/test_delivery.py"
            "::test_refused_connections_are_tried_three_times_each_after_a_longer_wait"
        ),
    ),
    "a request or an answer is delayed, halved, swallowed or reset on its way": (
        f"{_F}/test_the_way.py::test_what_goes_wrong_on_the_way_makes_one_effect_at_most",
    ),
    "429 with Retry-After": (
        f"{_A}/test_gates.py::test_after_a_429_nothing_was_done_and_it_says_how_long_to_wait",
        f"{_E}/test_rest.py::test_retry_after_is_passed_on",
    ),
    "502, 503, 504": (
        f"{_E}/test_faults.py::test_a_write_is_sent_once_and_its_error_says_what_may_have_happened",
        f"{_E}/test_faults.py::test_a_read_survives_a_passing_fault",
    ),
    "kill -9 of a worker at any point of a look": (
        f"{_F}/test_deaths.py::test_a_killed_worker_leaves_nothing_undone_and_nothing_twice",
        f"{_F}/test_deaths.py::test_so_it_is_with_every_write",
        (
            f"{_F}/test_deaths.py"
            "::test_a_worker_killed_between_close_and_reopening_leaves_a_close_that_says_so"
        ),
        (
            "tests/flows/test_delivery.py"
            "::test_what_a_killed_worker_left_open_is_settled_before_the_next_one_acts"
        ),
        "tests/flows/test_told.py::test_a_task_that_kills_its_worker_three_times_is_not_carried_out_again",
    ),
    "kill -9 of the stream process": (
        "tests/flows/test_two_streams.py::test_a_killed_stream_process_is_replaced_by_the_other",
        f"{_F}/test_recovery.py::test_protection_is_back_after_each_fault",
    ),
    "kill -9 of beat, web, Flower": (
        "tests/flows/test_two_beats.py::test_a_killed_beat_is_replaced_by_the_other",
        f"{_F}/test_recovery.py::test_protection_is_back_after_each_fault",
    ),
    "Redis gone, frozen, full or flushed": (
        f"{_A}/test_commands.py::test_the_stream_process_outlives_its_redis_and_ends_when_told_to",
        f"{_A}/test_changes.py::test_without_redis_an_announcement_is_logged_and_a_listener_waits",
        f"{_E}/test_sharedlimit.py::test_without_redis_each_process_takes_a_part_of_the_rate",
        f"{_F}/test_recovery.py::test_protection_is_back_after_each_fault",
    ),
    "PostgreSQL frozen, crashed, its sessions ended": (
        f"{_A}/test_services.py::test_a_connection_that_is_gone_costs_no_look",
        f"{_A}/test_streaming.py::test_without_the_database_what_is_leased_stays_watched",
        f"{_F}/test_recovery.py::test_protection_is_back_after_each_fault",
    ),
    "one message is delivered five times in parallel": (
        f"{_A}/test_services.py::test_five_looks_at_once_have_one_effect",
        "tests/flows/test_delivery.py::test_one_message_delivered_five_times_has_one_effect",
    ),
    "two beats": (
        f"{_H}/test_beat.py::test_only_one_of_two_sends",
        f"{_H}/test_beat.py::test_one_that_still_believes_to_lead_sends_nothing_that_another_sent",
    ),
    "beat is silent for ten minutes": (
        f"{_H}/test_beat.py::test_after_ten_silent_minutes_each_task_is_sent_once",
    ),
    "a stream is frozen or half-open": (
        f"{_E}/test_session.py::test_a_half_open_connection_is_noticed_and_replaced",
        f"{_A}/test_streaming.py::test_a_stream_that_falls_silent_gives_way_to_rest_and_takes_back",
        "tests/flows/test_margin_guard.py::test_the_sweep_saves_the_position_when_the_stream_is_dead",
    ),
    "garbage, duplicate and out-of-order frames": (
        f"{_E}/test_faults.py::test_what_comes_wrong_on_the_stream_ends_no_session",
        f"{_E}/test_session.py::test_frames_that_come_twice_or_late_are_told_as_they_come",
        f"{_E}/test_faults.py::test_a_lost_event_is_made_up_for_by_the_next_reading",
    ),
    "a reconnect storm": (
        f"{_E}/test_faults.py::test_a_pool_settles_after_all_sockets_were_cut_at_once",
    ),
    "a price spike of one tick, a null price, a price from the future": (
        f"{_E}/test_spikes.py::test_one_bad_tick_moves_nothing",
        f"{_A}/test_doubts.py::test_a_single_push_moves_nothing_while_the_market_stands_still",
        f"{_A}/test_market.py::test_a_price_that_is_not_known_changes_nothing",
        f"{_A}/test_market.py::test_the_price_never_goes_back_in_time",
        "tests/flows/test_margin_guard.py::test_one_bad_tick_moves_nothing_and_a_true_fall_acts",
    ),
    "the clock is off by 30 s": (
        f"{_E}/test_rest.py::test_a_clock_that_is_off_is_set_before_the_first_signature_of_a_read",
        f"{_E}/test_rest.py::test_a_refused_signature_makes_us_look_at_the_clock_and_try_once_more",
    ),
    "the owner closes or tops up in the midst of a decision": (
        f"{_A}/test_proofs.py::test_a_deposit_is_told_from_what_else_happened_to_the_margin",
        f"{_A}/test_cross.py::test_what_the_owner_did_since_caps_the_reduction",
        "tests/stateful/test_platform.py::test_twelve_properties_hold_after_each_step",
    ),
    "liquidation in the midst of a decision": (
        (
            f"{_A}/test_closings.py"
            "::test_13_a_liquidation_before_an_unanswered_close_of_ours_is_a_liquidation"
        ),
        "tests/stateful/test_platform.py::test_twelve_properties_hold_after_each_step",
    ),
    "the balance does not suffice": (
        f"{_A}/test_ladder.py::test_a_refusal_for_want_of_money_is_tried_once_more_with_what_is_there",
        f"{_A}/test_ladder.py::test_without_any_free_balance_nothing_is_sent",
    ),
    "a key is revoked": (
        (
            f"{_A}/test_suspending.py"
            "::test_a_key_is_asked_again_after_2_s_and_10_s_and_the_third_refusal_in_a_row_suspends"
        ),
        (
            f"{_A}/test_gates.py"
            "::test_a_key_revoked_before_a_read_suspends_its_account_once_it_was_asked_twice_more"
        ),
    ),
    "one account of many always times out": (
        f"{_A}/test_services.py::test_one_account_that_cannot_be_read_holds_up_no_other",
        f"{_E}/test_faults.py::test_a_fault_of_one_account_is_not_another_s",
    ),
    "a deploy (SIGTERM) under load": (
        (
            f"{_H}/test_workerpool.py"
            "::test_a_worker_that_is_asked_to_stop_ends_what_it_began_and_gives_back_the_rest"
        ),
        f"{_F}/test_recovery.py::test_protection_is_back_after_each_fault",
    ),
    "the encryption key is rotated": (
        "tests/accounts/test_crypto.py::test_the_first_public_key_seals_and_every_private_key_opens",
        f"{_F}/test_rotation.py::test_a_key_rotated_while_accounts_are_acted_for_stops_nobody",
    ),
    "a size that caps an order cannot be read": (
        f"{_A}/test_cross.py::test_a_size_that_cannot_be_read_before_the_order_refuses_nothing",
    ),
}
"""By what goes wrong."""


def documented() -> list[str]:
    """Return the tests that the documentation names as proofs."""
    return re.findall(r"`(tests/[^`]+::[^`]+)`", (ROOT / "docs/reliability.md").read_text())
