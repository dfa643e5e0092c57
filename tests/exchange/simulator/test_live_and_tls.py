"""Live prices, taken from another paper exchange in the real one's place; https and wss."""

import asyncio
import ssl

import pytest
import requests
import websocket

from exchange.money import UsdPerBtc
from exchange.simulator.prices.live import LiveFeed, Unreachable
from exchange.simulator.running import Simulator
from tests.waiting import wait_until


def test_live_prices_follow_the_stream_they_come_from(venue: Simulator) -> None:
    venue.set_price(50_000)
    with Simulator(prices="live", live_url=venue.stream) as follower:
        assert follower.price() == 50_000
        venue.set_price("50123.5")
        wait_until(lambda: follower.price() == 50123.5, what="the price arrives")


def test_live_prices_come_back_after_the_connection_was_cut(
    venue: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    with Simulator(prices="live", live_url=venue.stream) as follower:
        venue.cut_streams()

        def arrives() -> bool:
            venue.set_price(60_000 if venue.price() == 50_000 else 50_000)
            return follower.price() == venue.price()

        wait_until(arrives, what="prices arrive again")
    assert "live prices are lost, dialling again" in caplog.messages


def test_a_live_feed_dials_until_it_is_let_in(venue: Simulator) -> None:
    async def follow() -> UsdPerBtc:
        feed = LiveFeed(venue.stream, pause_s=0.05)
        await feed.open()
        await asyncio.to_thread(venue.fault, "refuse", ms=200)
        await asyncio.to_thread(venue.cut_streams)
        seen: asyncio.Queue[UsdPerBtc] = asyncio.Queue()
        following = asyncio.create_task(feed.run(seen.put_nowait))
        try:
            return await asyncio.wait_for(seen.get(), 5)
        finally:
            following.cancel()
            feed.close()

    assert asyncio.run(follow()) == 100_000


def test_live_prices_that_cannot_be_had_are_told_in_one_sentence() -> None:
    expected = r"cannot be reached \(.*\): this needs internet"
    with pytest.raises(Unreachable, match=expected):
        Simulator(prices="live", live_url="ws://127.0.0.1:1/v1").__enter__()


def test_everything_is_served_over_tls_with_a_certificate_one_can_trust() -> None:
    with Simulator(tls=True) as venue:
        assert venue.rest.startswith("https://")
        assert venue.stream.startswith("wss://")
        assert venue.certificate is not None
        trusted = str(venue.certificate)
        assert requests.get(f"{venue.rest}/ping", verify=trusted, timeout=5).json() == "pong"
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{venue.rest}/ping", timeout=5)
        socket = websocket.create_connection(
            venue.stream, sslopt={"ca_certs": trusted, "cert_reqs": ssl.CERT_REQUIRED}, timeout=5
        )
        socket.send('{"jsonrpc":"2.0","id":1,"method":"ping"}')
        assert "pong" in socket.recv()
        socket.close()
    assert not venue.certificate.exists(), "nothing stays behind"
