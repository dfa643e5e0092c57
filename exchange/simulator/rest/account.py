"""The endpoints of the account and of money in, out and across (API notes, 3.5, 3.8, 3.9)."""

import re
from collections.abc import Iterable
from enum import StrEnum
from fractions import Fraction
from typing import Final

from exchange.money import Sats
from exchange.simulator.codec import iso, iso_or_none
from exchange.simulator.engine.account import Scope
from exchange.simulator.engine.movements import Deposit, Swap, Withdrawal
from exchange.simulator.rest import payloads
from exchange.simulator.rest.answers import bad_request
from exchange.simulator.rest.endpoints import Call, Done, Read, Routes, Write
from exchange.simulator.rest.paging import page
from exchange.simulator.rest.params import MOST_SATS

_HASH: Final = re.compile("[0-9a-fA-F]{64}")


class AddressFormat(StrEnum):
    P2TR = "p2tr"
    P2WPKH = "p2wpkh"


class DepositStatus(StrEnum):
    MEMPOOL = "MEMPOOL"
    CONFIRMED = "CONFIRMED"
    IRREVERSIBLE = "IRREVERSIBLE"


class LightningStatus(StrEnum):
    FAILED = "failed"
    PROCESSED = "processed"
    PROCESSING = "processing"


class OnChainStatus(StrEnum):
    CANCELED = "canceled"
    PENDING = "pending"
    PROCESSED = "processed"
    PROCESSING = "processing"
    REJECTED = "rejected"


class Asset(StrEnum):
    BTC = "BTC"
    USD = "USD"


def _account(call: Call) -> object:
    return payloads.account(call.account)


def _address(call: Call) -> object:
    movements = call.account.movements
    newest = movements.addresses[-1] if movements.addresses else movements.new_address(call.now_ms)
    return {"address": newest.address}


def _new_address(call: Call) -> Done:
    if call.params.has("format"):
        call.params.choice("format", AddressFormat)
    new = call.account.movements.new_address(call.now_ms)
    answer = {"address": new.address, "createdAt": iso(new.created_at_ms)}
    return Done(answer=answer, effect="address")


def _deposit(call: Call) -> Done:
    amount = Sats(call.params.integer("amount", least=1, most=MOST_SATS))
    comment = call.params.text("comment") if call.params.has("comment") else None
    if call.params.has("descriptionHash") and not _HASH.fullmatch(
        call.params.text("descriptionHash", least=0)
    ):
        raise bad_request("descriptionHash must be 64 hexadecimal digits")
    deposit, request = call.account.movements.invoice(amount, comment, call.now_ms)
    return Done(answer={"depositId": deposit.id, "paymentRequest": request}, effect="invoice")


def _withdraw_lightning(call: Call) -> Done:
    invoice = call.params.text("invoice", most=4000)
    done = call.account.movements.withdraw_lightning(invoice, call.now_ms)
    answer = {
        "id": done.id,
        "amount": done.amount,
        "maxFees": 0,
        "paymentHash": done.payment_hash,
    }
    return Done(answer=answer, effect=f"balance -{done.amount}")


def _withdraw_on_chain(call: Call) -> Done:
    amount = Sats(call.params.integer("amount", least=1, most=MOST_SATS))
    address = call.params.text("address")
    done = call.account.movements.withdraw_on_chain(address, amount, call.now_ms)
    more = {"uid": call.account.id, "updatedAt": iso(done.created_at_ms)}
    return Done(answer=_on_chain(done) | more, effect=f"balance -{done.amount}")


def _on_chain(value: Withdrawal) -> dict[str, object]:
    return {
        "id": value.id,
        "amount": value.amount,
        "address": value.address,
        "createdAt": iso(value.created_at_ms),
        "fee": None,
        "status": OnChainStatus.PENDING,
        "txId": None,
    }


def _lightning_deposits(call: Call) -> object:
    deposits = call.account.movements.deposits[::-1]
    if call.params.has("settled"):
        settled = call.params.flag("settled")
        deposits = [each for each in deposits if (each.settled_at_ms is not None) is settled]
    return page(deposits, call.params, time_ms=lambda each: each.created_at_ms, render=_shown)


def _shown(value: Deposit) -> dict[str, object]:
    return {
        "id": value.id,
        "amount": value.amount,
        "comment": value.comment,
        "createdAt": iso(value.created_at_ms),
        "paymentHash": value.payment_hash,
        "settledAt": iso_or_none(value.settled_at_ms),
    }


def _lightning_withdrawals(call: Call) -> object:
    listed = _withdrawals(call, LightningStatus, LightningStatus.PROCESSED)
    found = [each for each in listed if each.payment_hash]
    return page(found, call.params, time_ms=lambda each: each.created_at_ms, render=_lightning_shown)


def _lightning_shown(value: Withdrawal) -> dict[str, object]:
    return {
        "id": value.id,
        "amount": value.amount,
        "createdAt": iso(value.created_at_ms),
        "destination": None,
        "fee": 0,
        "paymentHash": value.payment_hash,
        "status": LightningStatus.PROCESSED,
    }


def _on_chain_withdrawals(call: Call) -> object:
    found = [each for each in _withdrawals(call, OnChainStatus, OnChainStatus.PENDING) if each.address]
    return page(
        found,
        call.params,
        time_ms=lambda each: each.created_at_ms,
        render=_on_chain,
    )


def _withdrawals(call: Call, known: type[StrEnum], only: StrEnum) -> Iterable[Withdrawal]:
    """Return the withdrawals, none where another status than their only one is asked for."""
    if call.params.has("status") and call.params.choice("status", known) is not only:
        return []
    return call.account.movements.withdrawals[::-1]


def _on_chain_deposits(call: Call) -> object:
    if call.params.has("status"):
        call.params.choice("status", DepositStatus)
    return _nothing_yet(call)


def _notifications(call: Call) -> object:
    if call.params.has("read"):
        call.params.flag("read")
    return _nothing_yet(call)


def _nothing_yet(call: Call) -> object:
    """Answer with an empty page: on-chain deposits and notifications do not happen on paper."""
    return page(list[int](), call.params, time_ms=int, render=str)


def _mark_read(_call: Call) -> Done:
    return Done(answer=[], effect="notifications read")


def _swap(call: Call) -> Done:
    paid, got = call.params.choice("inAsset", Asset), call.params.choice("outAsset", Asset)
    amount = call.params.integer("inAmount", least=1, most=MOST_SATS)
    if paid is got:
        raise bad_request("inAsset and outAsset must differ")
    best, movements = call.venue.market.ladder()[0], call.account.movements
    if paid is Asset.BTC:
        swap = movements.swap_to_usd(Sats(amount), best.bid, call.now_ms)
    else:
        swap = movements.swap_to_btc(amount, best.ask, call.now_ms)
    return Done(answer=_swap_shown(swap), effect=f"swap {amount} {paid}")


def _swap_shown(value: Swap) -> dict[str, object]:
    return {
        "id": value.id,
        "inAmount": _amount(value.in_amount, value.in_asset),
        "inAsset": value.in_asset,
        "outAmount": _amount(value.out_amount, value.out_asset),
        "outAsset": value.out_asset,
    }


def _amount(amount: int, asset: str) -> int | Fraction:
    # Requests speak of cents, answers of dollars, as the official client does (API notes, 3.9).
    return Fraction(amount, 100) if asset == Asset.USD else amount


def _swaps(call: Call) -> object:
    return page(
        call.account.movements.swaps[::-1],
        call.params,
        time_ms=lambda swap: swap.created_at_ms,
        render=lambda swap: {**_swap_shown(swap), "createdAt": iso(swap.created_at_ms)},
    )


ROUTES: Routes = {
    ("GET", "/v3/account"): Read(scope=Scope.ACCOUNT_READ, run=_account),
    ("GET", "/v3/account/address/bitcoin"): Read(scope=Scope.DEPOSITS_READ, run=_address),
    ("POST", "/v3/account/address/bitcoin"): Write(scope=Scope.DEPOSITS_WRITE, run=_new_address),
    ("POST", "/v3/account/deposit/lightning"): Write(scope=Scope.DEPOSITS_WRITE, run=_deposit),
    ("POST", "/v3/account/withdraw/lightning"): Write(
        scope=Scope.WITHDRAWALS_WRITE, run=_withdraw_lightning
    ),
    ("POST", "/v3/account/withdraw/on-chain"): Write(
        scope=Scope.WITHDRAWALS_WRITE, run=_withdraw_on_chain
    ),
    ("GET", "/v3/account/deposits/lightning"): Read(scope=Scope.DEPOSITS_READ, run=_lightning_deposits),
    ("GET", "/v3/account/deposits/on-chain"): Read(scope=Scope.DEPOSITS_READ, run=_on_chain_deposits),
    ("GET", "/v3/account/withdrawals/lightning"): Read(
        scope=Scope.WITHDRAWALS_READ, run=_lightning_withdrawals
    ),
    ("GET", "/v3/account/withdrawals/on-chain"): Read(
        scope=Scope.WITHDRAWALS_READ, run=_on_chain_withdrawals
    ),
    ("GET", "/v3/account/notifications"): Read(scope=Scope.NOTIFICATIONS_READ, run=_notifications),
    ("PUT", "/v3/account/notifications"): Write(scope=Scope.NOTIFICATIONS_WRITE, run=_mark_read),
    ("POST", "/v3/synthetic-usd/swap"): Write(scope=Scope.SYNTHETIC_USD_WRITE, run=_swap),
    ("GET", "/v3/synthetic-usd/swaps"): Read(scope=Scope.SYNTHETIC_USD_READ, run=_swaps),
}
