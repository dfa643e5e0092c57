"""Money in and out of one account, without any real network (API notes, 3.8, 3.9)."""

import hashlib
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from typing import Final

from exchange.money import SATS_PER_BTC, Sats, UsdPerBtc
from exchange.simulator.engine.desk import Desk
from exchange.simulator.engine.events import DEPOSITS, WITHDRAWALS, Event
from exchange.simulator.engine.refused import Refused

MOST_UNUSED_ADDRESSES: Final = 5
_INVOICE: Final = re.compile(r"ln(?:bcrt|tbs|tb|bc)(\d{1,12})([munp])1[02-9ac-hj-np-z]{20,}")
_ADDRESS: Final = re.compile(
    r"(?:bcrt|bc|tb)1[02-9ac-hj-np-z]{11,71}|[123mn][1-9A-HJ-NP-Za-km-z]{25,34}"
)
_SATS_PER_UNIT: Final = {
    "m": Fraction(SATS_PER_BTC, 10**3),
    "u": Fraction(SATS_PER_BTC, 10**6),
    "n": Fraction(SATS_PER_BTC, 10**9),
    "p": Fraction(SATS_PER_BTC, 10**12),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """A lightning deposit; settled once it was paid."""

    id: str
    amount: Sats
    comment: str | None
    created_at_ms: int
    payment_hash: str
    settled_at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """By lightning where there is a payment hash, else on chain to the address."""

    id: str
    amount: Sats
    created_at_ms: int
    payment_hash: str | None
    address: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    address: str
    created_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """An exchange between bitcoin (sats) and synthetic dollars (cents)."""

    id: str
    in_amount: int
    in_asset: str
    out_amount: int
    out_asset: str
    created_at_ms: int


class Movements:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.deposits: list[Deposit] = []
        self.withdrawals: list[Withdrawal] = []
        self.addresses: list[Address] = []
        self.swaps: list[Swap] = []
        self.usd_cents = 0

    def new_address(self, now_ms: int) -> Address:
        if len(self.addresses) >= MOST_UNUSED_ADDRESSES:
            raise Refused("You have too many unused addresses")
        digest = _digest(self._desk.new_id())
        address = Address(address=f"bcrt1q{_bech32_like(digest)}", created_at_ms=now_ms)
        self.addresses.append(address)
        return address

    def invoice(self, amount: Sats, comment: str | None, now_ms: int) -> tuple[Deposit, str]:
        """Return an unpaid deposit and its payment request, which no real network knows."""
        deposit_id = self._desk.new_id()
        deposit = Deposit(
            id=deposit_id,
            amount=amount,
            comment=comment,
            created_at_ms=now_ms,
            payment_hash=_digest(deposit_id),
            settled_at_ms=None,
        )
        self.deposits.append(deposit)
        return deposit, f"lnbcrt{amount * 10}n1{_bech32_like(deposit.payment_hash)}"

    def pay(self, amount: Sats, now_ms: int) -> Deposit:
        """Bring sats in, as if someone had paid an invoice."""
        deposit = replace(self.invoice(amount, None, now_ms)[0], settled_at_ms=now_ms)
        self.deposits[-1] = deposit
        self._desk.wallet.give(amount)
        self._tell(DEPOSITS, "lightning", deposit.id, amount, {"status": "settled"})
        return deposit

    def withdraw_lightning(self, invoice: str, now_ms: int) -> Withdrawal:
        found = _INVOICE.fullmatch(invoice.lower())
        amount = ceil(int(found[1]) * _SATS_PER_UNIT[found[2]]) if found else 0
        if amount < 1:
            raise Refused("Send a correct BOLT 11 invoice")
        return self._withdraw(Sats(amount), now_ms, payment_hash=_digest(invoice))

    def withdraw_on_chain(self, address: str, amount: Sats, now_ms: int) -> Withdrawal:
        if not _ADDRESS.fullmatch(address):
            raise Refused("Invalid address")
        return self._withdraw(amount, now_ms, address=address)

    def swap_to_usd(self, sats: Sats, price: UsdPerBtc, now_ms: int) -> Swap:
        """Sell sats for dollars; what is less than a cent is lost."""
        cents = floor(Fraction(sats * 100, SATS_PER_BTC) * Fraction(price))
        if cents < 1:
            raise Refused("Amount is too small")
        self._desk.wallet.take(sats)
        self.usd_cents += cents
        return self._swap((sats, "BTC"), (cents, "USD"), now_ms)

    def swap_to_btc(self, cents: int, price: UsdPerBtc, now_ms: int) -> Swap:
        """Sell dollars for sats; what is less than a sat is lost."""
        if cents > self.usd_cents:
            raise Refused("Insufficient synthetic USD balance")
        sats = floor(Fraction(cents * SATS_PER_BTC, 100) / Fraction(price))
        if sats < 1:
            raise Refused("Amount is too small")
        self.usd_cents -= cents
        self._desk.wallet.give(sats)
        return self._swap((cents, "USD"), (sats, "BTC"), now_ms)

    def _swap(self, paid: tuple[int, str], got: tuple[int, str], now_ms: int) -> Swap:
        swap = Swap(
            id=self._desk.new_id(),
            in_amount=paid[0],
            in_asset=paid[1],
            out_amount=got[0],
            out_asset=got[1],
            created_at_ms=now_ms,
        )
        self.swaps.append(swap)
        return swap

    def _withdraw(
        self,
        amount: Sats,
        now_ms: int,
        *,
        payment_hash: str | None = None,
        address: str | None = None,
    ) -> Withdrawal:
        self._desk.wallet.take(amount)
        withdrawal = Withdrawal(
            id=self._desk.new_id(),
            amount=amount,
            created_at_ms=now_ms,
            payment_hash=payment_hash,
            address=address,
        )
        self.withdrawals.append(withdrawal)
        network = "lightning" if payment_hash else "bitcoin"
        status = "processed" if payment_hash else "pending"
        self._tell(WITHDRAWALS, network, withdrawal.id, amount, {"status": status, "fee": 0})
        return withdrawal

    def _tell(self, topic: str, network: str, id_: str, amount: Sats, more: dict[str, object]) -> None:
        data = {
            "currency": "btc",
            "network": network,
            "id": id_,
            "amount": amount,
            "balance": self._desk.wallet.balance,
            "txId": _digest(id_),
            **more,
        }
        self._desk.emit(Event(topic=topic, account=self._desk.account, data=data))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _bech32_like(digest: str) -> str:
    """Return text of the alphabet of addresses and invoices, without their checksum."""
    return digest.translate(str.maketrans("1b", "xz"))
