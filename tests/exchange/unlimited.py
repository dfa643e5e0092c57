"""A limiter that lets all pass and remembers what it was told, for tests about other things."""

from exchange.ratelimit import Scope


class Unlimited:
    def __init__(self) -> None:
        self.wait = 0.0
        """What everyone is told to wait."""
        self.asked: list[tuple[Scope, bool]] = []
        self.held: list[tuple[Scope, float]] = []

    def wait_s(self, scope: Scope, owner: str, *, protective: bool) -> float:
        assert owner
        self.asked.append((scope, protective))
        return self.wait

    def hold(self, scope: Scope, owner: str, *, after_s: float) -> None:
        assert owner
        self.held.append((scope, after_s))
