"""The stream's limits, each with a value small enough to meet."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal

import pytest
import websocket

from exchange.auth import sign_stream
from exchange.money import Sats, UsdPerBtc
from exchange.simulator.engine.account import identity
from exchange.simulator.engine.venue import Venue
from exchange.simulator.running import Simulator
from exchange.simulator.settings import Limits
from exchange.simulator.stream.authenticate import Authenticator
from exchange.simulator.stream.rpc import RpcError
from exchange.simulator.windows import Rate, Windows
from tests.exchange.simulator.calling import LAST_PRICE, Stream
from tests.waiting import wait_until


@contextmanager
def limited(limits: Limits) -> Iterator[Simulator]:
    with Simulator(limits=limits) as venue:
        yield venue


def is_shut_out(venue: Simulator) -> bool:
    """Whether a new connection is closed at once, at the WebSocket layer."""
    with Stream(venue.stream) as stream:
        stream.socket.send('{"jsonrpc":"2.0","id":1,"method":"ping"}')
        code, _ = stream.socket.recv_data(control_frame=True)
        return bool(code == websocket.ABNF.OPCODE_CLOSE)


def test_the_eleventh_message_within_a_second_is_refused_and_the_connection_lives() -> None:
    with limited(Limits()) as venue, Stream(venue.stream) as stream:
        frames = [stream.call("ping") for _ in range(11)]
    assert [frame["rateLimit"]["remaining"] for frame in frames] == [*range(9, -1, -1), 0]
    error = frames[-1]["error"]
    assert (error["code"], error["data"]["code"]) == (-32429, "TOO_MANY_REQUESTS")
    assert 0 < error["data"]["retryAfterMs"] <= 1001
    assert frames[-1]["id"] == 11


def test_pushes_cost_nothing_of_the_budget() -> None:
    few = Limits(stream_messages=Rate(most=3, window_s=60))
    with limited(few) as venue, Stream(venue.stream) as stream:
        stream.call("subscribe", topics=[LAST_PRICE])
        for price in range(1, 20):
            venue.set_price(price)
        assert [stream.push()["data"]["lastPrice"] for _ in range(19)] == list(range(1, 20))
        assert stream.call("ping")["rateLimit"]["remaining"] == 1


def test_authentications_are_counted_over_all_connections_of_an_ip() -> None:
    with limited(Limits(authentications=Rate(most=2, window_s=60))) as venue:
        frames = []
        for _ in range(3):
            with Stream(venue.stream) as stream:
                frames.append(stream.authenticate(venue.accounts[0].credentials))
    assert ["result" in frame for frame in frames] == [True, True, False]
    assert frames[-1]["error"]["data"]["retryAfterMs"] > 50_000


def test_only_so_many_connections_stand_at_a_time() -> None:
    with limited(Limits(connections=2)) as venue, ExitStack() as stack:
        streams = [stack.enter_context(Stream(venue.stream)) for _ in range(2)]
        assert all(stream.call("ping")["result"] == "pong" for stream in streams)
        assert is_shut_out(venue)
        streams[0].socket.close()
        wait_until(lambda: not is_shut_out(venue), what="the place is free again")


def test_only_so_many_connections_are_new_within_the_hour() -> None:
    with limited(Limits(new_connections=Rate(most=2, window_s=3600))) as venue:
        for _ in range(2):
            with Stream(venue.stream) as stream:
                stream.call("ping")
        assert is_shut_out(venue)


def test_a_client_that_says_nothing_is_closed_and_one_that_pings_is_not() -> None:
    with limited(Limits(idle_s=1.5)) as venue, ExitStack() as stack:
        silent, lively, talker = (stack.enter_context(Stream(venue.stream)) for _ in range(3))
        silent.call("subscribe", topics=[LAST_PRICE])
        lively.call("subscribe", topics=["futures/inverse/btc_usd/ticker"])
        for _ in range(3):
            lively.push()
            lively.socket.ping()
            talker.call("ping")
        venue.set_price(99_000)
        code, _ = silent.socket.recv_data(control_frame=True)
        assert code == websocket.ABNF.OPCODE_CLOSE
        assert all(stream.call("ping")["result"] == "pong" for stream in (lively, talker))


def test_a_frame_that_is_too_large_ends_its_connection() -> None:
    with limited(Limits()) as venue, Stream(venue.stream) as stream:
        stream.socket.send("x" * (16 * 1024 + 1))
        code, _ = stream.socket.recv_data(control_frame=True)
        assert code == websocket.ABNF.OPCODE_CLOSE


def test_a_budget_is_full_again_one_window_after_its_first_use() -> None:
    windows = Windows(Rate(most=2, window_s=10))
    taken = [windows.take("a", now_s) for now_s in (0, 9, 9.9, 10, 19.9, 20)]
    assert taken == [True, True, False, True, True, True]
    assert windows.left("a", 20) == 1
    assert windows.full_in_s("a", 24) == 6
    assert windows.take("b", 9.9), "names do not share a budget"


def test_with_a_burst_so_many_pass_at_once_and_then_evenly_the_rate() -> None:
    windows = Windows(Rate(most=20, window_s=1, burst=40))
    assert [windows.take("a", 0) for _ in range(41)] == [True] * 40 + [False]
    assert windows.full_in_s("a", 0) == 2
    assert [windows.take("a", 0.05 + each / 1000) for each in range(3)] == [True, False, False]
    assert windows.left("a", 1.06) == 20
    assert windows.left("a", 60) == 40


@pytest.mark.parametrize("most", [1, 5])
def test_a_client_that_paces_itself_exactly_is_never_refused(most: int) -> None:
    rate = Limits().private_rest if most == 5 else Limits().public_rest
    windows = Windows(rate)
    jitter = (0.0, 0.02, -0.02, 0.01, -0.01)
    moments = [number / most + jitter[number % 5] for number in range(1, 100)]
    assert all(windows.take("a", now_s) for now_s in moments)


def test_a_proof_holds_once_and_only_near_its_time() -> None:
    credentials = identity(1, 1).credentials
    account = Venue(
        price=UsdPerBtc(Decimal(1)), half_spread=Decimal(0), new_id=str, now_ms=0
    ).add_account(identity(1, 1), balance=Sats(0), scopes=(), now_ms=0)
    authenticator = Authenticator({credentials.key: account}.get, None)

    def passes(now_s: float, now_ms: int = 1000) -> bool:
        signature = sign_stream(credentials.secret, timestamp_ms=1000, nonce="n")
        params = {
            "key": credentials.key,
            "passphrase": credentials.passphrase,
            "timestamp": 1000,
            "nonce": "n",
            "signature": signature,
        }
        try:
            return authenticator.account(params, ip="", now_ms=now_ms, now_s=now_s) is account
        except RpcError:
            return False

    assert not passes(0, now_ms=31_001), "30 s are over"
    assert [passes(now_s) for now_s in (0, 60, 60.5)] == [True, False, True], "a nonce lives 60 s"
