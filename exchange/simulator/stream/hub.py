"""Who hears which topic."""

from collections.abc import Iterable

from exchange.simulator.engine.events import Event
from exchange.simulator.stream import rpc
from exchange.simulator.stream.delivery import Delivery, Listener


class Hub:
    """Subscriptions by topic and, for private topics, by account id."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        # A dict without values keeps the order of subscription; a set would not.
        self._listeners: dict[tuple[str, str | None], dict[Listener, None]] = {}

    def join(self, listener: Listener, topic: str, account: str | None) -> None:
        self._listeners.setdefault((topic, account), {})[listener] = None

    def leave(self, listener: Listener, topic: str, account: str | None) -> None:
        self._listeners.get((topic, account), {}).pop(listener, None)

    def gone(self, listener: Listener) -> None:
        """Forget what was held back for a connection that has ended."""
        self._delivery.forget(listener)

    def is_heard(self, topic: str) -> bool:
        """Whether anyone has subscribed to a public topic."""
        return bool(self._listeners.get((topic, None)))

    def publish(self, happened: Iterable[Event]) -> None:
        for event in happened:
            listeners = self._listeners.get((event.topic, event.account))
            if listeners:
                text = rpc.push(event.topic, event.data)
                for listener in list(listeners):
                    self._delivery.deliver(listener, event, text)
