"""Who may pass, in the order of the checks, and the published signature vectors."""

import base64
import time
from collections.abc import Mapping

import pytest
import requests

from exchange.auth import rest_headers
from exchange.simulator.engine.account import Scope
from exchange.simulator.rest.access import Incoming, prehash
from exchange.simulator.running import Simulator
from exchange.simulator.settings import Limits
from exchange.simulator.signatures import in_clock_window, signature_of
from tests.exchange.simulator.calling import Rest, Stream

STOP = "/v3/futures/isolated/trade/stoploss"
ID = "d0b9f9a0-4f6e-4a5a-8b7a-7f0f5f9a8a1e"


@pytest.mark.parametrize(
    ("method", "target", "body", "signature"),
    [
        pytest.param("GET", "/v3/account", "", "HXtfA1WzX+eo9TkFm4SjtYo0SvZ9f9CdFkpQpE+ZzRA=", id="R1"),
        pytest.param(
            "GET",
            "/v3/futures/isolated/trades/running",
            "",
            "ptXYzP4GudIrPmlqiBdP029JenTJzV6BsumhLrJBtZM=",
            id="R2",
        ),
        pytest.param(
            "GET",
            "/v3/futures/isolated/trades/closed?from=2026-01-01T00%3A00%3A00.000Z&limit=10",
            "",
            "p+e+VWqdeExmHh+aCC/fWYrQOpLcgS+2dj4TCwThNjw=",
            id="R3: the query as it is on the wire",
        ),
        pytest.param(
            "POST",
            "/v3/futures/isolated/trade",
            '{"type":"market","side":"buy","quantity":1,"leverage":10,"clientId":"bot-1"}',
            "pfNCELKClLGwDyABSCDl/8ObyFknO4hGHy5viAiSqgE=",
            id="R4: the body as it is on the wire",
        ),
        pytest.param(
            "POST",
            "/v3/futures/isolated/trades/cancel-all",
            "",
            "WssGHJtRY6vxTnYzSz9D3oMkpVsPAaRaMSWO1g5eOFM=",
            id="R5: no body",
        ),
        pytest.param(
            "PUT",
            STOP,
            f'{{"id":"{ID}","value":0.1,"mode":"trailing"}}',
            "ex9CsNKlfmCCP7SGBc7e1hZJW9nCDkQOu+t1pAShh9k=",
            id="R6",
        ),
        pytest.param(
            "DELETE",
            f"{STOP}?id={ID}",
            "",
            "GXNCND58tzKwR16sY6Tpq4tDXYNreYXIkw+Zpq3+hOI=",
            id="R7: a DELETE signs its query",
        ),
    ],
)
def test_a_request_signs_time_method_path_and_data(
    method: str, target: str, body: str, signature: str
) -> None:
    request = Incoming(
        method=method,
        target=target,
        body=body.encode(),
        headers={},
        ip="",
        received_at_us=0,
        now_s=0,
    )
    assert signature_of("test-secret", prehash(request, "1767225600000")) == signature


@pytest.mark.parametrize(
    ("timestamp", "inside"),
    [
        pytest.param("1767225600000", True, id="now"),
        pytest.param("1767225570000", True, id="30 s ago, still allowed"),
        pytest.param("1767225569999", False, id="older"),
        pytest.param("1767225630001", False, id="from the future"),
        pytest.param("1767225600000.0", False, id="not an integer"),
        pytest.param("-1767225600000", False, id="negative"),
        pytest.param("٣", False, id="digits of another script"),
        pytest.param("9" * 5000, False, id="too long to be a time"),
    ],
)
def test_a_timestamp_counts_within_thirty_seconds(timestamp: str, *, inside: bool) -> None:
    assert in_clock_window(timestamp, 1767225600000) is inside


@pytest.mark.parametrize(
    "changed",
    [
        *(
            pytest.param({f"lnm-access-{name}": None}, id=f"no {name}")
            for name in ("key", "passphrase", "timestamp", "signature")
        ),
        pytest.param({"lnm-access-key": "nobody"}, id="unknown key"),
        pytest.param({"lnm-access-passphrase": "wrong"}, id="wrong passphrase"),
        pytest.param({"lnm-access-timestamp": "1"}, id="old timestamp"),
        pytest.param({"lnm-access-timestamp": "soon"}, id="timestamp is no number"),
        pytest.param(
            {"lnm-access-signature": base64.b64encode(bytes(32)).decode()}, id="wrong signature"
        ),
    ],
)
def test_a_request_without_proof_gets_401(rest: Rest, changed: Mapping[str, str | None]) -> None:
    reply = rest.send("GET", "/account", changed=changed)
    assert (reply.status, reply.body["code"]) == (401, "UNAUTHORIZED")


def test_a_request_signed_well_but_long_ago_gets_401(venue: Simulator) -> None:
    long_ago_ms = time.time_ns() // 1_000_000 - 31_000
    headers = rest_headers(
        venue.accounts[0].credentials,
        timestamp_ms=long_ago_ms,
        method="GET",
        path="/v3/account",
        data="",
    )
    assert requests.get(f"{venue.rest}/account", headers=headers, timeout=5).status_code == 401


def test_a_body_changed_after_signing_gets_401(rest: Rest) -> None:
    signed = rest.send("POST", "/futures/isolated/trade", body='{"quantity":1}')
    assert signed.status == 400, "signed well, and refused only for what it lacks"
    credentials = {"lnm-access-signature": "x" * 44}
    forged = rest.send("POST", "/futures/isolated/trade", body='{"quantity":1}', changed=credentials)
    assert forged.status == 401


def test_another_accounts_secret_does_not_open_mine(venue: Simulator, rest: Rest) -> None:
    other = venue.accounts[1].credentials
    changed = {
        "lnm-access-key": other.key,
        "lnm-access-passphrase": other.passphrase,
    }
    assert rest.send("GET", "/account", changed=changed).status == 401


def test_a_wrong_signature_is_told_before_wrong_parameters(rest: Rest) -> None:
    reply = rest.send(
        "POST", "/futures/isolated/trade", body="{", changed={"lnm-access-signature": "no"}
    )
    assert reply.status == 401


def test_the_sixth_request_within_a_second_gets_429_even_with_wrong_parameters() -> None:
    with Simulator(limits=Limits()) as venue:
        rest = Rest(venue.rest, venue.accounts[0].credentials)
        replies = [rest.post("/futures/isolated/trade", quantity=1) for _ in range(6)]
        other = Rest(venue.rest, venue.accounts[1].credentials).get("/account")
    assert [reply.status for reply in replies] == [400, 400, 400, 400, 400, 429]
    assert replies[-1].body["code"] == "TOO_MANY_REQUESTS"
    assert replies[-1].headers["Retry-After"] == "1"
    assert other.status == 200, "each key has its own budget"


def test_a_body_that_is_not_called_json_gets_400(rest: Rest) -> None:
    changed = {"content-type": "text/plain"}
    reply = rest.send("POST", "/futures/isolated/trade", body="{}", changed=changed)
    assert reply.status == 400
    assert reply.body["message"] == "Content-Type must be application/json"


def test_public_requests_are_limited_apart_from_those_with_a_key() -> None:
    with Simulator(limits=Limits()) as venue:
        rest = Rest(venue.rest, venue.accounts[0].credentials)
        statuses = [rest.public("/ping").status, rest.public("/time").status]
        assert rest.get("/account").status == 200
    assert statuses == [200, 429]


def test_a_key_without_the_permission_gets_403_before_its_parameters_are_read() -> None:
    with Simulator(scopes=frozenset({Scope.ISOLATED_READ, Scope.ACCOUNT_READ})) as venue:
        rest = Rest(venue.rest, venue.accounts[0].credentials)
        reply = rest.post("/futures/isolated/trade")
        assert (reply.status, reply.body["code"]) == (403, "FORBIDDEN")
        assert rest.running() == []


def test_a_usual_key_may_trade_and_read_and_nothing_that_moves_money_out(
    venue: Simulator, stream: Stream
) -> None:
    permissions = stream.authenticate(venue.accounts[0].credentials)["result"]["permissions"]
    assert permissions == [
        "account:read",
        "futures:cross:read",
        "futures:cross:write",
        "futures:isolated:read",
        "futures:isolated:write",
    ]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_an_unknown_route_gets_404_as_json(rest: Rest, method: str) -> None:
    reply = rest.send(method, "/futures/isolated/trade/reduce")
    assert (reply.status, reply.body) == (404, {"message": "Not found", "code": "NOT_FOUND"})


def test_each_answer_tells_the_limit_and_what_is_left_of_it() -> None:
    with Simulator(limits=Limits()) as venue:
        rest = Rest(venue.rest, venue.accounts[0].credentials)
        first, second = rest.get("/account"), rest.get("/account")
        public = rest.public("/time")
        refused = rest.send("GET", "/account", changed={"lnm-access-signature": "x"})
    assert first.headers["RateLimit-Policy"] == '"private";q=5;w=1'
    told = [each.headers["RateLimit"].partition(";t=")[0] for each in (first, second)]
    assert told == ['"private";r=4', '"private";r=3']
    assert public.headers["RateLimit-Policy"] == '"public";q=1;w=1'
    assert "RateLimit" not in refused.headers
