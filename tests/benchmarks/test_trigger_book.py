"""That the benchmark of the trigger book compares two ways to the same answer."""

from benchmarks.trigger_book import GUARD, SIZES, aims, asked_each, measured, positions, weighed


def test_the_book_fires_what_the_rule_would_act_on() -> None:
    running = positions(300)
    levels = [level for position in running for level in GUARD.levels(position)]

    found = asked_each(running, levels)

    assert len(levels) == found["positions"] == 300
    assert found["book_fired_the_same"]
    assert found["acted_on_after_a_fall_of_1_percent"] > 0


def test_every_size_is_measured_alike_and_left_fully_armed() -> None:
    levels = [level for position in positions(2000) for level in GUARD.levels(position)]

    found = measured(levels, 2000)

    assert found["armed"] == 2000
    assert found["tick_that_fires"]["fired"] >= 100


def test_memory_is_told_for_each_trigger() -> None:
    levels = [level for position in positions(500) for level in GUARD.levels(position)]

    found = weighed(levels, 500)

    assert found["trigger_bytes"] > 0
    assert found["book_bytes"] > 0


def test_aims_compare_the_hundred_thousand_with_the_rival_and_the_largest_with_the_smallest() -> None:
    by_size = [
        {
            "armed": size,
            "arm_all_s": 0.5,
            "quiet_tick": {"p50_us": 1.0, "p99_us": 2.0},
            "tick_that_fires": {"p50_us": 100.0},
            "rearm_moved": {"p50_us": 50.0 if size < SIZES[-1] else 150.0},
        }
        for size in SIZES
    ]

    found = aims(by_size, {"tick_cpu": {"p50_ms": 5.0}})

    assert found["times_faster_than_rival"].measured == 5000
    assert [name for name, aim in found.items() if not aim.met] == [
        "times_faster_than_rival",
        "rearm_moved_growth",
    ]
