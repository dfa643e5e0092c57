"""The command line of the paper exchange."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation

from exchange.formulas import FEE_RATES
from exchange.money import Sats, UsdPerBtc, is_on_grid
from exchange.simulator.engine.account import TRADING_SCOPES, Scope
from exchange.simulator.engine.market import checked_price
from exchange.simulator.engine.refused import Refused
from exchange.simulator.engine.rules import USUAL, Rules
from exchange.simulator.settings import Limits, Settings


def settings_from(arguments: Sequence[str]) -> Settings:
    """Return the settings that the arguments ask for; ends the program where they make no sense."""
    options = _parser().parse_args(arguments)
    return Settings(
        host=options.host,
        port=options.port,
        control_port=options.control_port,
        seed=options.seed,
        accounts=options.accounts,
        balance=Sats(options.balance),
        latency_ms=options.latency_ms,
        prices=options.prices,
        speed=options.speed,
        waits=options.wait,
        start_price=options.start_price,
        half_spread=options.spread,
        index_offset=options.index_offset,
        live_url=options.live_url,
        rules=Rules(
            most_trades=options.most_trades,
            most_trade_margin=options.most_trade_margin,
            most_account_margin=options.most_account_margin,
            slippage=options.slippage,
            funding_to_margin=options.funding_to_margin,
        ),
        tls=options.tls,
        funding_rate=options.funding_rate,
        most_message_bytes=options.message_bytes,
        scopes=options.scopes,
        fee_tier=options.fee_tier,
        limits=_limits(options) if options.limits == "on" else None,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m exchange.simulator",
        description="A paper exchange: REST v3 and Stream v1 of LN Markets on this machine. The first "
        "line on standard output is JSON: rest, stream, control and the accounts with their keys.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_addresses(parser)
    _add_market(parser)
    _add_limits(parser)
    _add_rules(parser)
    return parser


def _add_addresses(parser: argparse.ArgumentParser) -> None:
    default = Settings()
    add = parser.add_argument
    add("--host", default=default.host, help="address to listen on")
    add("--port", type=_port, default=8790, help="port of REST and stream; 0 picks a free one")
    add(
        "--control-port",
        type=_port,
        default=8791,
        help="port of the control doors, always on 127.0.0.1; 0 picks a free one",
    )
    add("--seed", type=int, default=default.seed, help="same seed, same accounts and same walk")
    add("--accounts", type=_positive, default=default.accounts, help="how many accounts there are")
    add("--balance", type=_positive, default=default.balance, help="sats on each account at the start")
    add(
        "--scopes",
        type=_scopes,
        default="trading",
        metavar="trading|all|SCOPE,SCOPE",
        help="what every key may do; trading: futures and account:read, nothing that moves money out",
    )
    add("--fee-tier", type=int, choices=range(len(FEE_RATES)), default=default.fee_tier, help="of all")
    add(
        "--latency-ms",
        type=_whole,
        default=default.latency_ms,
        help="round trip added to each REST answer",
    )
    add(
        "--tls",
        action="store_true",
        help="serve https and wss; the first line then names the file of the certificate to trust",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    default = Limits()
    group = parser.add_argument_group("limits", "of the real exchange, each with its own value")
    add = group.add_argument
    add(
        "--limits",
        choices=["on", "off"],
        default="on",
        help="off: none on requests, messages and connections",
    )
    for name, rate, what in (
        ("--private-rest", default.private_rest, "requests a second of one key"),
        ("--public-rest", default.public_rest, "requests a second of one IP without a key"),
        ("--messages", default.stream_messages, "messages a second of one stream connection"),
        ("--authentications", default.authentications, "authentications a minute of one IP"),
        ("--new-connections", default.new_connections, "new stream connections an hour of one IP"),
    ):
        add(name, type=_positive, default=rate.most, metavar="N", help=what)
    for name, whose in (("--private-burst", "one key"), ("--public-burst", "one IP without a key")):
        add(name, type=_positive, metavar="N", help=f"requests at once of {whose}, then at its rate")
    add(
        "--connections",
        type=_positive,
        default=default.connections,
        metavar="N",
        help="stream connections of one IP at a time",
    )
    add(
        "--idle-s",
        type=_above_zero,
        default=default.idle_s,
        metavar="SECONDS",
        help="without a frame from the client before its connection is closed",
    )
    add(
        "--message-bytes",
        type=_positive,
        default=Settings().most_message_bytes,
        metavar="N",
        help="of one frame from a client, with limits on or off",
    )


def _add_rules(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("rules", "that the sources of the real exchange leave open")
    add = group.add_argument
    add("--most-trades", type=_positive, default=USUAL.most_trades, metavar="N", help="of one account")
    add("--most-trade-margin", type=_positive, metavar="SATS", help="of one isolated trade")
    add("--most-account-margin", type=_positive, metavar="SATS", help="of all isolated trades")
    add(
        "--slippage",
        action="store_true",
        help="stops and targets execute at the price that crossed them, not at their own",
    )
    add(
        "--funding-to-margin",
        action="store_true",
        help="funding that a trade receives goes to its margin, not to the free balance",
    )


def _limits(options: argparse.Namespace) -> Limits:
    default = Limits()
    return Limits(
        private_rest=replace(
            default.private_rest, most=options.private_rest, burst=options.private_burst
        ),
        public_rest=replace(default.public_rest, most=options.public_rest, burst=options.public_burst),
        stream_messages=replace(default.stream_messages, most=options.messages),
        authentications=replace(default.authentications, most=options.authentications),
        new_connections=replace(default.new_connections, most=options.new_connections),
        connections=options.connections,
        idle_s=options.idle_s,
    )


def _add_market(parser: argparse.ArgumentParser) -> None:
    default = Settings()
    add = parser.add_argument
    add(
        "--prices",
        metavar="synthetic|manual|live|FILE.csv",
        default=default.prices,
        help="synthetic: a seeded walk with a crash about every three minutes; manual: only the "
        "control port moves the price; live: the public stream of the real exchange; else a file "
        "of one-minute candles with the columns open_time,open,high,low,close",
    )
    add(
        "--speed",
        type=_above_zero,
        default=None,
        help="seconds of the market in one second of ours (None: 1 for synthetic, 60 for a file)",
    )
    add(
        "--wait",
        action="store_true",
        help="stay at the first price until /prices on the control port is posted to",
    )
    add("--live-url", default=default.live_url, help="the stream that live prices come from")
    add("--funding-rate", type=_decimal, default=default.funding_rate, help="of every settlement")
    add(
        "--start-price",
        type=_price,
        default=default.start_price,
        help="first price of a synthetic or manual market",
    )
    add(
        "--spread",
        type=_spread,
        default=default.half_spread,
        help="dollars from the last price to the smallest orders' ask and bid; larger orders pay more",
    )
    add(
        "--index-offset",
        type=_decimal,
        default=default.index_offset,
        metavar="DOLLARS",
        help="by which the index lies above the last price, below it where negative",
    )


def _scopes(text: str) -> frozenset[Scope]:
    if text == "trading":
        return TRADING_SCOPES
    if text == "all":
        return frozenset(Scope)
    try:
        return frozenset(Scope(name) for name in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a list of {', '.join(Scope)}") from None


def _port(text: str) -> int:
    port = _whole(text)
    if port > 65_535:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return port


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number")
    return int(text)


def _positive(text: str) -> int:
    number = _whole(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _above_zero(text: str) -> float:
    number = float(_decimal(text))
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return number


def _price(text: str) -> UsdPerBtc:
    try:
        return checked_price(_decimal(text))
    except Refused as refused:
        raise argparse.ArgumentTypeError(str(refused)) from None


def _spread(text: str) -> Decimal:
    number = _decimal(text)
    if number < 0 or not is_on_grid(number):
        raise argparse.ArgumentTypeError(f"{text} is not a multiple of 0.5")
    return number


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text} is not a number") from None
    if not number.is_finite():
        raise argparse.ArgumentTypeError(f"{text} is not a number")
    return number
