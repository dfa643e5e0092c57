"""From a request to its answer: route, admission, parameters, engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from exchange.simulator import codec
from exchange.simulator.engine.refused import Refused
from exchange.simulator.engine.venue import Venue
from exchange.simulator.rest import account, cross, isolated, public
from exchange.simulator.rest.access import Gate, Incoming
from exchange.simulator.rest.answers import Answer, ApiError, bad_request, not_found
from exchange.simulator.rest.endpoints import Call, Done, Endpoint, Public, PublicCall, Routes, Write
from exchange.simulator.rest.params import Params

ROUTES: Routes = {
    **public.ROUTES,
    **account.ROUTES,
    **isolated.ROUTES,
    **cross.ROUTES,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An answer, and what the request did: `done` is None where nothing changed."""

    answer: Answer
    params: Mapping[str, object] = field(default_factory=dict)
    done: Done | None = None


def endpoint_of(request: Incoming) -> Endpoint | None:
    return ROUTES.get((request.method, request.path))


class RestService:
    def __init__(self, venue: Venue, gate: Gate) -> None:
        self._venue = venue
        self._gate = gate

    def answer(self, request: Incoming) -> Outcome:
        """Answer one request; what the engine refuses has changed nothing."""
        outcome = self._outcome(request)
        endpoint, answer = endpoint_of(request), outcome.answer
        if endpoint is None or answer.status == HTTPStatus.UNAUTHORIZED:
            return outcome
        quota = self._gate.quota(request, private=not isinstance(endpoint, Public))
        return replace(outcome, answer=replace(answer, headers={**quota, **answer.headers}))

    def _outcome(self, request: Incoming) -> Outcome:
        try:
            return self._answered(request)
        except ApiError as error:
            return Outcome(answer=error.answer(), params=params_for_ledger(request))
        except Refused as refused:
            return Outcome(answer=bad_request(str(refused)).answer(), params=params_for_ledger(request))

    def _answered(self, request: Incoming) -> Outcome:
        endpoint = endpoint_of(request)
        if endpoint is None:
            raise not_found()
        if isinstance(endpoint, Public):
            self._gate.admit_anyone(request)
            params = params_of(request)
            call = PublicCall(venue=self._venue, params=params, now_ms=request.now_ms)
            return _ok(endpoint.run(call), params)
        owner = self._gate.admit(request, endpoint.scope)
        params = params_of(request)
        private = Call(venue=self._venue, account=owner, params=params, now_ms=request.now_ms)
        if isinstance(endpoint, Write):
            done = endpoint.run(private)
            return _ok(done.answer, params, done)
        return _ok(endpoint.run(private), params)


def params_of(request: Incoming) -> Params:
    """Read the query of GET and DELETE, the body of the others (2.1)."""
    if request.method in {"GET", "DELETE"}:
        return Params.from_query(request.query)
    return Params.from_body(request.body, request.headers.get("content-type", ""))


def params_for_ledger(request: Incoming) -> Mapping[str, object]:
    """Return the parameters as they came, none where they cannot be read."""
    try:
        return params_of(request).values
    except ApiError:
        return {}


def _ok(value: object, params: Params, done: Done | None = None) -> Outcome:
    answer = Answer(status=200, body=codec.encode(value))
    return Outcome(answer=answer, params=params.values, done=done)
