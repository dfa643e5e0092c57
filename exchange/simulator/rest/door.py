"""The HTTP side of REST: requests in, answers and faults out."""

import asyncio
from dataclasses import replace

from tornado.web import RequestHandler

from exchange.simulator import codec
from exchange.simulator.faults import Fault, Kind, made_odd
from exchange.simulator.paper import Paper
from exchange.simulator.rest.access import Incoming
from exchange.simulator.rest.answers import Answer, with_status
from exchange.simulator.rest.service import Outcome, params_for_ledger

_WRITES = frozenset({"POST", "PUT", "DELETE"})


class RestDoor(RequestHandler):
    """Takes every method and path: what is no route gets the exchange's own 404."""

    def initialize(self, paper: Paper) -> None:
        self._paper = paper
        self._moment = paper.moment()

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Content-Type", "application/json; charset=utf-8")

    def write_error(self, status_code: int, **_kwargs: object) -> None:
        """Answer our own mistakes as the exchange would; a method unknown to tornado is no route."""
        self._send(with_status(404 if status_code == 405 else status_code))

    def compute_etag(self) -> None:
        """No answer of the exchange is ever 304."""

    async def prepare(self) -> None:
        """Answer here, before tornado looks for a function named after the method."""
        request = self._incoming()
        fault = self._paper.faults.for_request(
            method=request.method, path=request.path, account=request.key
        )
        await self._wait(fault, Kind.DELAY)
        outcome = self._outcome(request, fault)
        lost = fault is not None and fault.kind in {Kind.LOST_ANSWER, Kind.DROP}
        if request.method in _WRITES:
            self._paper.record(request, outcome, None if lost else outcome.answer.status)
        if lost:
            self.detach().close()
            return
        await self._wait(fault, Kind.LATE_ANSWER)
        self._send(self._shown(request, outcome.answer))

    def _shown(self, request: Incoming, answer: Answer) -> Answer:
        for fault in self._paper.faults.for_answer(
            method=request.method, path=request.path, account=request.key
        ):
            body = codec.encode(made_odd(codec.decode(answer.body), fault))
            answer = replace(answer, body=body)
        return answer

    async def _wait(self, fault: Fault | None, kind: Kind) -> None:
        """Wait for half of the round trip, and for the fault if it is of this kind."""
        held_ms = fault.ms if fault is not None and fault.kind is kind else 0
        await asyncio.sleep(held_ms / 1000 + self._paper.settings.latency_ms / 2000)

    def _outcome(self, request: Incoming, fault: Fault | None) -> Outcome:
        if fault is not None and fault.kind in {Kind.STATUS, Kind.DROP}:
            answer = with_status(fault.status)
            if fault.retry_after is not None:
                answer = replace(answer, headers={**answer.headers, "Retry-After": fault.retry_after})
            return Outcome(answer=answer, params=params_for_ledger(request))
        return self._paper.rest(request)

    def _incoming(self) -> Incoming:
        raw = self.request
        return Incoming(
            method=raw.method or "",
            target=raw.uri or "",
            body=raw.body,
            headers=raw.headers,
            ip=raw.remote_ip or "",
            received_at_us=self._moment.epoch_us,
            now_s=self._moment.monotonic_s,
        )

    def _send(self, answer: Answer) -> None:
        self.set_status(answer.status)
        for name, value in answer.headers.items():
            self.set_header(name, value)
        self.finish(answer.body)
