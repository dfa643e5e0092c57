"""The free balance of one account."""

from dataclasses import dataclass

from exchange.money import Sats
from exchange.simulator.engine.refused import Refused


@dataclass(slots=True)
class Wallet:
    balance: Sats

    def take(self, amount: int) -> None:
        """Take sats out for a trade or a transfer; `Refused` where the balance is short."""
        if amount > self.balance:
            raise Refused(f"Insufficient balance: {amount} sats needed, {self.balance} available")
        self.balance = Sats(self.balance - amount)

    def give(self, amount: int) -> None:
        """Put sats back; a negative amount is none, as a trade loses no more than it holds."""
        self.balance = Sats(self.balance + max(0, amount))
