"""What a quote says of itself."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from exchange.entries import quote_of, quote_text
from exchange.formulas import Side
from exchange.market import Quote, Source
from exchange.money import UsdPerBtc


def quote(price: str, index: str | None) -> Quote:
    return Quote(
        price=UsdPerBtc(Decimal(price)),
        at=datetime(2026, 1, 1, tzinfo=UTC),
        time_ms=1767225600000,
        source=Source.STREAM,
        index=None if index is None else UsdPerBtc(Decimal(index)),
    )


@pytest.mark.parametrize(
    ("index", "side", "worst"),
    [
        pytest.param("99990.25", Side.BUY, "99990.25", id="a long dies of the lower"),
        pytest.param("99990.25", Side.SELL, "100000", id="a short of the higher"),
        pytest.param("100010", Side.BUY, "100000", id="a long, index above"),
        pytest.param("100010", Side.SELL, "100010", id="a short, index above"),
        pytest.param(None, Side.BUY, "100000", id="an unknown index says nothing"),
    ],
)
def test_the_worse_of_last_price_and_index_counts_for_a_position(
    index: str | None, side: Side, worst: str
) -> None:
    assert quote("100000", index).worst_for(side) == Decimal(worst)


@pytest.mark.parametrize("index", ["99990.25", None])
def test_the_index_travels_with_a_quote_through_the_live_view(index: str | None) -> None:
    assert quote_of(quote_text(quote("100000.5", index))) == quote("100000.5", index)


def test_an_entry_of_an_older_version_has_no_index() -> None:
    assert quote_of("1767225600000000 stream 1767225600000 100000.5") == quote("100000.5", None)
