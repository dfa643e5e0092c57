"""Whatever comes from outside, reading it gives a value or the one error that says who must look."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange import topics, wire, wire_cross, wire_market
from exchange.config import Timeouts
from exchange.entries import positions_of, positions_text
from exchange.errors import ExchangeError, OperatorNeededError, RejectedError, storable
from exchange.events import BadFrame
from exchange.failures import refused
from exchange.fields import Fields, parse
from exchange.market import Source
from exchange.money import Sats, UsdPerBtc
from exchange.paging import page_of
from exchange.position import PositionsSnapshot
from exchange.protocol import Conversation
from exchange.rows import Rows, rows
from exchange.serverclock import ServerClock
from tests.exchange import documents

AT = datetime(2026, 1, 1, tzinfo=UTC)
Read = Callable[[object, str], object]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

BEGUN = {"side": "sell", "quantity": 5, "margin": 90, "leverage": 2, "price": 100000}
PUSHES = {
    topics.LAST_PRICE: {"time": 5, "lastPrice": 100000},
    topics.TICKER: {"time": 5, "lastPrice": 1, "index": 1, "funding": {"rate": 0, "time": 5}},
    topics.ISOLATED_TRADES: {"event": "open", "trade": {"id": "t", "clientId": None} | BEGUN},
    topics.CROSS_ORDERS: {"event": "new", "order": documents.cross_order()},
    topics.CROSS_POSITION: {"event": "new", "position": documents.cross_position()},
    topics.BUCKETS: {"time": 5, "buckets": [{"minSize": 0, "maxSize": 9}]},
    topics.FUNDING: {"current": {"rate": 0, "time": 5}},
}

DOCUMENTS: list[tuple[Read, Any]] = [
    (wire.one(wire.position), documents.running_trade()),
    (wire.living_trade, documents.open_trade()),
    (wire.one(wire.closed_trade), documents.closed_trade()),
    (wire.one(wire.canceled_trade), documents.canceled_trade()),
    (wire.running_trades, [documents.running_trade()]),
    (wire.account, documents.account()),
    (wire.ticker, documents.ticker()),
    (wire.server_time, {"time": "2026-01-01T00:00:00.000Z"}),
    (page_of(wire_market.candle), documents.page(documents.candle())),
    (wire.one(wire_cross.position), documents.cross_position()),
    (wire.one(wire_cross.order), documents.cross_order()),
    (page_of(wire_cross.funding_fee), documents.page(documents.funding_fee())),
    *[
        (wire.one(lambda fields: topics.event(fields, AT)), {"topic": topic, "data": data})
        for topic, data in PUSHES.items()
    ],
]


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a document."""
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    found = [path] if path else []
    for key, value in inner:
        here = (*path, key)
        found += places(value, here) if isinstance(value, dict | list) else [here]
    return found


def replaced(document: Any, path: tuple[Any, ...], value: object) -> Any:
    """Return a copy with another value at that place."""
    copy = json.loads(json.dumps(document))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


def changed(document: Any) -> st.SearchStrategy[Any]:
    """Sound documents with one value replaced by anything."""
    return st.builds(
        lambda path, value: replaced(document, path, value), st.sampled_from(places(document)), anything
    )


def fault_of(read: Read, text: str | bytes) -> str | None:
    """Return the sentence of the one error that reading may raise, or None where it gave a value."""
    try:
        read(parse(text, "GET /here"), "GET /here")
    except OperatorNeededError as error:
        return str(error)
    return None


def assert_read_or_refused(read: Read, text: str | bytes) -> None:
    fault = fault_of(read, text)
    assert fault is None or ("GET /here" in fault and len(fault) < 1000)


@pytest.mark.parametrize(("read", "document"), DOCUMENTS)
def test_the_sound_document_is_read(read: Read, document: object) -> None:
    read(parse(json.dumps(document), "here"), "here")


@given(st.sampled_from(DOCUMENTS).flatmap(lambda each: st.tuples(st.just(each[0]), changed(each[1]))))
def test_one_wrong_value_is_read_or_refused(case: tuple[Read, object]) -> None:
    read, document = case
    assert_read_or_refused(read, json.dumps(document))


LISTS: list[tuple[Callable[[object, str], Rows[Any]], Any]] = [
    (wire.running_trades, documents.running_trade()),
    (wire.open_trades, documents.open_trade()),
    (wire.canceled_trades, documents.canceled_trade()),
    (wire_cross.orders, documents.cross_order()),
    (lambda document, where: rows(document, wire.closed_trade, where), documents.closed_trade()),
]


@given(
    st.sampled_from(LISTS).flatmap(
        lambda each: st.tuples(st.just(each), st.lists(changed(each[1]) | anything, max_size=3))
    ),
    st.integers(0, 3),
)
def test_no_row_spoils_another_and_none_is_lost(
    case: tuple[tuple[Callable[[object, str], Rows[Any]], Any], list[Any]], place: int
) -> None:
    (read, document), odd = case
    sound = document | {"id": "the sound one"}
    sent = [*odd[:place], sound, *odd[place:]]

    found = read(parse(json.dumps(sent), "here"), "here")

    assert found.shows("the sound one")
    assert found.find("the sound one") is not None
    names = {each["id"] for each in odd if isinstance(each, dict) and isinstance(each.get("id"), str)}
    known = {each.id for each in found} | {each.id for each in found.unreadable}
    assert {storable(name) for name in names if 0 < len(name) <= 64} <= known
    unnamed = len(odd) - len(names)
    assert len(found) + len(found.unreadable) >= len(names) + bool(unnamed)


@given(st.lists(changed(documents.running_trade()), max_size=3))
def test_whatever_is_read_can_be_reckoned_with_and_kept(odd: list[Any]) -> None:
    found = wire.running_trades(parse(json.dumps(odd), "here"), "here")
    price = UsdPerBtc(Decimal(90_000))
    for position in found:
        assert 0 <= position.margin_ratio_at(price) <= 1 or position.maintenance_margin == 0
        assert position.liquidation_distance_at(price) < 10**9
        assert position.with_margin_added(Sats(1)).margin == position.margin + 1
    snapshot = PositionsSnapshot(
        positions=tuple(found), unreadable=found.unreadable, at=AT, source=Source.REST
    )
    held = positions_of(positions_text(snapshot))
    assert held.positions == snapshot.positions
    assert [(each.id, each.fault) for each in held.unreadable] == [
        (each.id, each.fault) for each in snapshot.unreadable
    ]


@given(st.sampled_from(DOCUMENTS), anything)
def test_any_document_is_read_or_refused(case: tuple[Read, object], document: object) -> None:
    assert_read_or_refused(case[0], json.dumps(document))


@given(st.sampled_from(DOCUMENTS), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(case: tuple[Read, object], content: bytes) -> None:
    assert_read_or_refused(case[0], content)


@given(
    status=st.integers(300, 599),
    content=st.binary(max_size=100),
    headers=st.dictionaries(st.text(), st.text()),
    writes=st.booleans(),
)
def test_any_refusal_is_one_of_ours(
    *, status: int, content: bytes, headers: dict[str, str], writes: bool
) -> None:
    error = refused(status, headers=headers, content=content, where="GET /here", writes=writes)
    assert isinstance(error, ExchangeError)


def conversation() -> Conversation:
    talk = Conversation(
        credentials=None,
        wanted=frozenset({topics.LAST_PRICE}),
        timeouts=Timeouts(),
        server_clock=ServerClock(),
        clock=lambda: 0.0,
        now=lambda: AT,
        moved=lambda _: None,
    )
    talk.opened()
    return talk


@given(st.lists(st.binary(max_size=50) | st.builds(json.dumps, anything), max_size=5))
def test_any_frames_leave_a_conversation_standing(frames: list[str | bytes]) -> None:
    talk = conversation()
    for frame in frames:
        assert all(isinstance(event, BadFrame) for event in talk.heard(frame))


@given(st.sampled_from(["result", "error"]), anything)
def test_any_answer_is_understood_or_one_of_our_errors(name: str, answer: object) -> None:
    with suppress(ExchangeError):
        conversation().heard(json.dumps({"id": 1, name: answer}))


def test_the_field_named_in_a_fault_is_the_one_that_is_wrong() -> None:
    for read, document in DOCUMENTS:
        for path in places(document):
            fault = fault_of(read, json.dumps(replaced(document, path, {"not": "this"})))
            assert fault is None or str(path[-1]) in fault


def test_what_is_no_object_says_so() -> None:
    with pytest.raises(OperatorNeededError, match="the answer is not an object but an array"):
        Fields.of([], "here")


@given(st.text(st.characters(), max_size=300) | st.text("\x00\ud800\udfffä", max_size=20))
def test_what_the_exchange_says_can_be_stored_whatever_it_holds(said: str) -> None:
    """A database takes neither NUL nor half a character; JSON may hold both."""
    content = json.dumps({"message": said or "-", "code": "BAD_REQUEST"}).encode()

    message = str(refused(400, headers={}, content=content, where="POST /x", writes=True))

    assert "\x00" not in message
    assert message.encode(), "no half of a character"
    assert str(RejectedError(f"not {said}")) == storable(f"not {said}")
