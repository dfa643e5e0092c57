"""One bad tick moves nothing, and a true fall is known one tick late at most."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.market import Quote, Source
from exchange.money import UsdPerBtc
from exchange.spikes import HELD_S, LATE_MS, Beliefs

START = datetime(2026, 1, 1, tzinfo=UTC)
LAST_PRICE, TICKER, REST = "lastPrice", "ticker", "rest"


class Heard:
    """Says values at moments of its own clock; each frame is stamped with it."""

    def __init__(self) -> None:
        self.beliefs = Beliefs(percent=Decimal(2), compares_s=5)
        self.passed_s = 0.0

    def price(self, value: float, *, after_s: float = 0.1, voice: str = LAST_PRICE) -> list[float]:
        return self.frame(value, None, after_s=after_s, voice=voice)

    def index(self, value: float, *, after_s: float = 0.1) -> list[float]:
        return self.frame(None, value, after_s=after_s, voice="index")

    def frame(
        self,
        price: float | None,
        index: float | None,
        *,
        after_s: float = 0.1,
        voice: str = TICKER,
        stamp_s: float | None = None,
    ) -> list[float]:
        """Return the prices that are believed from now on."""
        self.passed_s += after_s
        stamp_s = self.passed_s if stamp_s is None else stamp_s
        source = Source.REST if voice == REST else Source.STREAM
        quotes = [
            None if each is None else self.quote(each, stamp_s, source) for each in (price, index)
        ]
        return [float(each.price) for each in self.beliefs.hear(*quotes, voice=voice)]

    def quote(self, value: float, stamp_s: float, source: Source) -> Quote:
        return Quote(
            price=UsdPerBtc(Decimal(str(value))),
            at=START + timedelta(seconds=self.passed_s),
            time_ms=round(stamp_s * 1000),
            source=source,
        )

    @property
    def believed(self) -> list[float | None]:
        """The newest price and index."""
        newest = self.beliefs.newest
        assert newest is not None
        return [float(newest.price), None if newest.index is None else float(newest.index)]

    def dropped(self) -> list[tuple[str, float, float]]:
        found = [
            (each.what, float(each.value.price), float(each.reference.price))
            for each in self.beliefs.dropped
        ]
        self.beliefs.dropped.clear()
        return found


@pytest.fixture
def heard() -> Heard:
    """With a price and an index of 100 as believed."""
    heard = Heard()
    assert heard.frame(100, 100) == [100]
    return heard


@pytest.mark.parametrize("bad", [94, 106, 70, 130, 97.9])
def test_one_bad_tick_moves_nothing(heard: Heard, bad: float) -> None:
    assert heard.price(bad) == []
    assert heard.believed == [100, 100]
    assert heard.beliefs.doubts == 1

    assert heard.price(100, voice=TICKER) == [100]

    assert heard.dropped() == [("price", bad, 100)]


@pytest.mark.parametrize("near", [98, 102, 99.9])
def test_within_the_limit_every_tick_is_believed_at_once(heard: Heard, near: float) -> None:
    assert heard.price(near) == [near]
    assert heard.beliefs.doubts == 0


@pytest.mark.parametrize("bad", [94, 130])
def test_one_bad_index_moves_nothing(heard: Heard, bad: float) -> None:
    assert heard.index(bad) == []
    assert heard.price(99) == [99]
    assert heard.believed == [99, 100]

    assert heard.index(100.5) == [99]

    assert heard.believed == [99, 100.5]
    assert heard.dropped() == [("index", bad, 100)]


@pytest.mark.parametrize(
    ("second", "voice"),
    [
        pytest.param(94, TICKER, id="the ticker repeats it"),
        pytest.param(93, LAST_PRICE, id="the next tick"),
        pytest.param(94, REST, id="REST says the same"),
    ],
)
def test_a_true_fall_is_believed_with_the_next_tick_on_its_side(
    heard: Heard, second: float, voice: str
) -> None:
    assert heard.price(94) == []

    assert heard.price(second, voice=voice) == [94, second]

    assert heard.dropped() == []


def test_of_two_that_are_far_apart_only_the_second_is_believed(heard: Heard) -> None:
    heard.price(70)

    assert heard.price(97) == [97]


def test_a_fall_that_the_index_shows_too_is_believed_at_once(heard: Heard) -> None:
    heard.index(98.5)

    assert heard.price(97.5) == [97.5]


def test_what_was_held_back_is_believed_when_the_index_follows(heard: Heard) -> None:
    heard.index(98)
    assert heard.price(95.5) == []

    assert heard.index(97) == [95.5]

    assert heard.believed == [95.5, 97]


def test_an_index_that_was_held_back_is_believed_when_the_price_follows(heard: Heard) -> None:
    assert heard.index(96.5) == []

    assert heard.price(98) == [98]

    assert heard.believed == [98, 96.5]


def test_a_frame_whose_price_and_index_are_both_wrong_does_not_confirm_itself(heard: Heard) -> None:
    assert heard.frame(94, 94) == []
    assert heard.frame(100, 100) == [100]
    assert sorted(heard.dropped()) == [("index", 94, 100), ("price", 94, 100)]


def test_not_even_where_no_index_was_heard_before() -> None:
    heard = Heard()
    heard.price(100)

    assert heard.frame(94, 94) == []
    assert heard.believed == [100, None]


def test_the_same_frame_sent_twice_is_one_tick(heard: Heard) -> None:
    heard.frame(94, None, voice=LAST_PRICE, stamp_s=7)

    assert heard.frame(94, None, voice=LAST_PRICE, stamp_s=7) == []
    assert heard.frame(94, None, voice=TICKER, stamp_s=7) == [94, 94]


def test_one_bad_tick_down_and_one_up_move_nothing(heard: Heard) -> None:
    assert heard.price(70) == []
    assert heard.price(130) == []
    assert heard.price(100) == [100]
    assert heard.dropped() == [("price", 70, 100), ("price", 130, 100)]


def test_what_nothing_confirms_is_dropped_in_time_and_told_once(heard: Heard) -> None:
    heard.price(94)
    for later_s in (HELD_S, HELD_S + 0.1, HELD_S + 1):
        heard.beliefs.pass_time(START + timedelta(seconds=heard.passed_s + later_s))

    assert heard.dropped() == [("price", 94, 100)]
    assert heard.index(96, after_s=HELD_S + 1) == [], "too late to confirm it"
    assert heard.price(100) == [100]
    assert heard.dropped() == [], "it was told already"


def test_two_ticks_in_a_row_are_enough_however_slowly_they_come(heard: Heard) -> None:
    heard.price(94)

    assert heard.price(94.5, after_s=2.5) == [94.5], "the first is too old by now"


def test_a_tick_from_before_the_doubtful_one_does_not_settle_it(heard: Heard) -> None:
    heard.frame(94, None, voice=LAST_PRICE, stamp_s=9)

    assert heard.frame(100, None, voice=TICKER, stamp_s=8.9) == [100]
    assert heard.frame(94, None, voice=TICKER, stamp_s=9.5) == [94, 94]


def test_an_answer_of_rest_out_of_a_cache_delays_no_true_fall(heard: Heard) -> None:
    heard.price(94)

    assert heard.price(100, voice=REST) == [100]
    assert heard.price(93.5) == [94, 93.5]


def test_in_the_fallback_one_bad_answer_of_rest_moves_nothing(heard: Heard) -> None:
    assert heard.price(70, after_s=1, voice=REST) == []
    assert heard.price(100, after_s=1, voice=REST) == [100]
    assert heard.price(70, after_s=1, voice=REST) == [], "not twice in a row"
    assert heard.price(70, after_s=1, voice=REST) == [70, 70]


def test_after_a_pause_there_is_nothing_to_compare_with(heard: Heard) -> None:
    assert heard.price(90, after_s=4.8) == [], "still comparable"
    assert heard.price(90, voice=TICKER) == [90, 90]
    assert heard.price(80, after_s=5.1) == [80]
    assert heard.believed == [80, None], "an index as old says nothing"


def test_a_price_after_a_pause_is_compared_with_the_index_if_that_was_heard(heard: Heard) -> None:
    heard.index(100, after_s=4)

    assert heard.price(94, after_s=4) == []


@pytest.mark.parametrize(
    ("stamp_s", "counts"),
    [
        pytest.param(100, True, id="of the same moment"),
        pytest.param(99.9, False, id="older: says nothing new"),
        pytest.param(100 - LATE_MS / 1000, True, id="much older: the newer stamp was wrong"),
    ],
)
def test_no_kind_goes_back_in_time(heard: Heard, stamp_s: float, *, counts: bool) -> None:
    heard.frame(100, 100, stamp_s=100)

    heard.frame(99, 99, stamp_s=stamp_s)

    assert heard.believed == ([99, 99] if counts else [100, 100])


def test_a_repeated_index_is_no_news(heard: Heard) -> None:
    assert heard.index(100) == []
    assert heard.index(101) == [100]
    assert heard.index(101) == []


moves = st.lists(st.integers(min_value=-900, max_value=-201), min_size=1, max_size=30)


@given(moves=moves, rises=st.booleans())
def test_where_tick_follows_tick_the_newest_believed_is_one_tick_late_at_most(
    moves: Sequence[int], *, rises: bool
) -> None:
    heard = Heard()
    said = [100_000.0]
    heard.price(said[0])
    for each in moves:
        said.append(round(said[-1] * (1 - (each if rises else -each) / 10_000), 2))
        heard.price(said[-1])
        assert heard.believed[0] in said[-2:]


@given(
    walk=st.lists(st.integers(min_value=-100, max_value=100), min_size=3, max_size=40),
    bad=st.sampled_from((-3000, -600, 600, 3000)),
    data=st.data(),
)
def test_a_bad_tick_anywhere_in_a_calm_market_is_never_believed(
    walk: Sequence[int], bad: int, data: st.DataObject
) -> None:
    heard, price = Heard(), 100_000.0
    strike = data.draw(st.integers(min_value=1, max_value=len(walk) - 1))
    for number, each in enumerate(walk):
        if number == strike:
            assert heard.price(price * (1 + bad / 10_000)) == []
        price = round(price * (1 + each / 10_000), 2)
        assert heard.price(price) == [price]
