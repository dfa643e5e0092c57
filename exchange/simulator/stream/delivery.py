"""The last step of a push: to one listener, by way of the faults that wait for it."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final, Protocol

from exchange.money import nearest_tick
from exchange.simulator.engine.events import Event
from exchange.simulator.faults import Fault, Faults, Kind
from exchange.simulator.stream import rpc

GARBAGE: Final = '{"jsonrpc":"2.0","method":"subscription","params":{"topic":'
_PRICES: Final = ("lastPrice", "index")


class Listener(Protocol):
    @property
    def key(self) -> str | None:
        """The API key that the connection has proven."""

    def push(self, text: str) -> None:
        """Send a text frame; never blocks, never raises."""


class Delivery:
    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._held: dict[Listener, str] = {}

    def deliver(self, listener: Listener, event: Event, text: str) -> None:
        """Send the text of an event, or what a fault makes of it."""
        fault = None
        if self._faults.waiting:
            fault = self._faults.for_push(topic=event.topic, account=listener.key)
        if fault is None:
            self._send(listener, text)
        elif fault.kind is Kind.OUT_OF_ORDER:
            self._held[listener] = text
        elif fault.kind is Kind.LATE:
            asyncio.get_running_loop().call_later(fault.ms / 1000, self._send, listener, text)
        else:
            for changed in _changed(event, text, fault):
                self._send(listener, changed)

    def forget(self, listener: Listener) -> None:
        self._held.pop(listener, None)

    def _send(self, listener: Listener, text: str) -> None:
        listener.push(text)
        held = self._held.pop(listener, None)
        if held is not None:
            listener.push(held)


def _changed(event: Event, text: str, fault: Fault) -> list[str]:
    """Return the frames that a fault sends in place of one."""
    match fault.kind:
        case Kind.DUPLICATE:
            return [text, text]
        case Kind.GARBAGE:
            return [GARBAGE]
        case Kind.NULL_PRICE:
            return [_with(event, {name: None for name in _PRICES if name in event.data})]
        case Kind.SPIKE:
            return [_with(event, _spiked(event, fault.share))]
        case Kind.FUTURE:
            return [_with(event, _postponed(event, fault.ms))]
        case _:
            return []


def _with(event: Event, changes: Mapping[str, object]) -> str:
    return rpc.push(event.topic, {**event.data, **changes})


def _spiked(event: Event, share: float) -> dict[str, object]:
    factor = 1 + Fraction(share).limit_denominator(10_000)
    return {
        name: nearest_tick(Fraction(value) * factor)
        for name in _PRICES
        if isinstance(value := event.data.get(name), Decimal)
    }


def _postponed(event: Event, ms: int) -> dict[str, object]:
    time_ms = event.data.get("time")
    return {"time": time_ms + ms} if isinstance(time_ms, int) else {}
