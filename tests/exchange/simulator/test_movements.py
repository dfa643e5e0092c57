"""Deposits, withdrawals, addresses, swaps: simple, but in the shapes of the real ones."""

from collections.abc import Iterator

import pytest
import requests

from exchange.simulator.engine.account import Scope
from exchange.simulator.running import Simulator
from tests.exchange.simulator.calling import Rest, Stream

INVOICE = "lnbcrt2500u1" + "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


@pytest.fixture
def venue() -> Iterator[Simulator]:
    with Simulator(scopes=frozenset(Scope)) as simulator:
        yield simulator


def test_a_payment_reaches_the_balance_the_list_and_the_stream(
    venue: Simulator, rest: Rest, stream: Stream
) -> None:
    stream.authenticate(venue.accounts[0].credentials)
    stream.call("subscribe", topics=["wallet/deposit"])
    body = {"account": venue.accounts[0].credentials.key, "amount": 1234}
    requests.post(f"{venue.control}/deposit", json=body, timeout=5)
    push = stream.push()["data"]
    assert (push["currency"], push["network"], push["amount"]) == ("btc", "lightning", 1234)
    assert push["balance"] == rest.balance() == 10_001_234
    (listed,) = rest.get("/account/deposits/lightning", settled="true").body["data"]
    assert (listed["id"], listed["amount"]) == (push["id"], 1234)


def test_an_unpaid_invoice_changes_nothing(rest: Rest) -> None:
    answer = rest.post("/account/deposit/lightning", amount=100_000, comment="hello").body
    assert answer["paymentRequest"].startswith("ln")
    (listed,) = rest.get("/account/deposits/lightning").body["data"]
    assert (listed["id"], listed["settledAt"]) == (answer["depositId"], None)
    assert rest.get("/account/deposits/lightning", settled="true").body["data"] == []
    assert rest.balance() == 10_000_000


def test_withdrawals_leave_the_balance(venue: Simulator, rest: Rest, stream: Stream) -> None:
    stream.authenticate(venue.accounts[0].credentials)
    stream.call("subscribe", topics=["wallet/withdrawal"])
    paid = rest.post("/account/withdraw/lightning", invoice=INVOICE).body
    sent = rest.post("/account/withdraw/on-chain", address="bcrt1q" + "z" * 38, amount=1000).body
    assert (paid["amount"], sent["status"]) == (250_000, "pending")
    assert rest.balance() == 10_000_000 - 251_000
    assert [stream.push()["data"]["amount"] for _ in range(2)] == [250_000, 1000]
    (lightning,) = rest.get("/account/withdrawals/lightning").body["data"]
    (on_chain,) = rest.get("/account/withdrawals/on-chain", status="pending").body["data"]
    assert (lightning["id"], on_chain["id"]) == (paid["id"], sent["id"])


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("lightning", {"invoice": "test_invoice"}, "Send a correct BOLT 11 invoice"),
        ("on-chain", {"address": "test_address", "amount": 1}, "Invalid address"),
        ("on-chain", {"address": "bcrt1q" + "z" * 38, "amount": 99_999_999}, "Insufficient balance"),
    ],
)
def test_a_withdrawal_to_nowhere_is_refused(
    rest: Rest, path: str, body: dict[str, object], message: str
) -> None:
    reply = rest.post(f"/account/withdraw/{path}", **body)
    assert reply.status == 400
    assert reply.body["message"].startswith(message)


def test_addresses_run_out(rest: Rest) -> None:
    address = rest.get("/account/address/bitcoin").body["address"]
    assert rest.get("/account/address/bitcoin").body["address"] == address
    assert rest.post("/account/address/bitcoin").status == 200
    replies = [rest.post("/account/address/bitcoin", format="p2tr") for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 200, 400]
    assert replies[-1].body["message"] == "You have too many unused addresses"


def test_swaps_go_both_ways_and_never_create_money(rest: Rest) -> None:
    there = {"inAmount": 100_000, "inAsset": "BTC", "outAsset": "USD"}
    assert rest.post("/synthetic-usd/swap", **there).body["outAmount"] == 100
    assert rest.get("/account").body["syntheticUsdBalance"] == 100
    back = {"inAmount": 10_000, "inAsset": "USD", "outAsset": "BTC"}
    assert rest.post("/synthetic-usd/swap", **back).body["outAmount"] == 100_000
    assert rest.post("/synthetic-usd/swap", **back).status == 400
    assert rest.balance() == 10_000_000
    assert [swap["inAsset"] for swap in rest.get("/synthetic-usd/swaps").body["data"]] == ["USD", "BTC"]


@pytest.mark.parametrize(
    ("paid", "got", "amount"),
    [
        pytest.param("BTC", "BTC", 1000, id="for itself"),
        pytest.param("BTC", "USD", 9, id="less than a cent"),
        pytest.param("USD", "BTC", 1, id="dollars one has not"),
        pytest.param("EUR", "BTC", 1000, id="another currency"),
    ],
)
def test_a_swap_that_cannot_be_is_refused(rest: Rest, paid: str, got: str, amount: int) -> None:
    reply = rest.post("/synthetic-usd/swap", inAmount=amount, inAsset=paid, outAsset=got)
    assert reply.status == 400


def test_a_cent_is_less_than_a_sat_when_bitcoin_costs_more_than_a_million(
    venue: Simulator, rest: Rest
) -> None:
    rest.post("/synthetic-usd/swap", inAmount=10, inAsset="BTC", outAsset="USD")
    venue.set_price(2_000_000)
    assert rest.post("/synthetic-usd/swap", inAmount=1, inAsset="USD", outAsset="BTC").status == 400


def test_a_status_that_no_withdrawal_has_finds_none(rest: Rest) -> None:
    rest.post("/account/withdraw/lightning", invoice=INVOICE)
    assert rest.get("/account/withdrawals/lightning", status="failed").body["data"] == []


def test_notifications_are_an_empty_page(rest: Rest) -> None:
    assert rest.get("/account/notifications").body == {"data": [], "nextCursor": None}
    assert rest.put("/account/notifications").status == 200


def test_a_trading_key_reaches_none_of_it() -> None:
    with Simulator() as venue:
        rest = Rest(venue.rest, venue.accounts[0].credentials)
        assert rest.post("/account/withdraw/lightning", invoice=INVOICE).status == 403
        assert rest.get("/account/deposits/lightning").status == 403


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/account/withdrawals/lightning", {"status": "pending"}),
        ("/account/withdrawals/on-chain", {"status": "x"}),
        ("/account/deposits/on-chain", {"status": "x"}),
        ("/account/deposits/lightning", {"settled": "yes"}),
        ("/account/notifications", {"read": "1"}),
    ],
)
def test_a_filter_that_is_none_gets_400(rest: Rest, path: str, query: dict[str, object]) -> None:
    assert rest.get(path, **query).status == 400


@pytest.mark.parametrize(
    ("digits", "status"), [("zz", 400), ("", 400), ("g" * 64, 400), ("0aF" * 21 + "1", 200)]
)
def test_a_description_hash_has_64_hexadecimal_digits(rest: Rest, digits: str, status: int) -> None:
    answer = rest.post("/account/deposit/lightning", amount=1, descriptionHash=digits)
    assert answer.status == status


def test_withdrawals_have_all_fields_of_the_official_client(rest: Rest) -> None:
    rest.post("/account/withdraw/lightning", invoice=INVOICE)
    sent = rest.post("/account/withdraw/on-chain", address="bcrt1q" + "z" * 38, amount=1000).body
    assert {"fee", "txId", "uid", "updatedAt"} <= sent.keys()
    (lightning,) = rest.get("/account/withdrawals/lightning").body["data"]
    assert "destination" in lightning
