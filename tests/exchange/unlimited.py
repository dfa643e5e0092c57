"""A limiter that lets all pass and remembers what it was told, for tests about other things."""

from exchange.ratelimit import ORDINARY, Scope, Waiter


class Unlimited:
    def __init__(self) -> None:
        self.wait = 0.0
        """What everyone is told to wait."""
        self.asked: list[tuple[Scope, float | None]] = []
        self.held: list[tuple[Scope, float]] = []
        self.heeded: list[tuple[Scope, float]] = []

    def wait_s(
        self,
        scope: Scope,
        owner: str,
        waiter: Waiter = ORDINARY,
        *,
        within_s: float = 0.0,  # noqa: ARG002
    ) -> float:
        assert owner
        self.asked.append((scope, waiter.urgency))
        return self.wait

    def hold(self, scope: Scope, owner: str, *, after_s: float) -> None:
        assert owner
        self.held.append((scope, after_s))

    def heed(self, scope: Scope, owner: str, *, per_s: float) -> None:
        assert owner
        self.heeded.append((scope, per_s))

    def release(self, scope: Scope, owner: str) -> bool:  # noqa: ARG002
        return False
