"""The command line of the stack."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Final, NoReturn

WEB_PORT: Final = 8000
FLOWER_PORT: Final = 5555
_SMOKE_SPEED: Final = "600"
"""Ten recorded minutes a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    command: str
    """`run` or `smoke`."""
    prices: str = "synthetic"
    """`synthetic`, or the path of a CSV file of one-minute candles."""
    speed: str | None = None
    """How many times faster than real time; the paper exchange knows what may stand here."""
    web_port: int = WEB_PORT
    flower_port: int = FLOWER_PORT
    """0 picks a free port, here as above."""
    seconds: float | None = None
    """How long `smoke` lets the prices run; None: until their fall is over."""


class _OneSentence(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{message}\n")


def read(arguments: Sequence[str]) -> Options:
    """Return the options; ends the program with one sentence where they make no sense."""
    parser = _OneSentence(
        prog="python -m hubdefisats.stack", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_OneSentence)
    run = commands.add_parser("run", help="start everything and keep it running")
    smoke = commands.add_parser("smoke", help="live through a fall, print one JSON line, stop")
    for command in (run, smoke):
        command.add_argument("--prices", type=_prices, default="synthetic", help="or FILE.csv")
        command.add_argument("--speed", help="how many times faster than real time")
    run.add_argument("--web-port", type=_port, default=WEB_PORT, help="0 picks a free one")
    run.add_argument("--flower-port", type=_port, default=FLOWER_PORT, help="0 picks a free one")
    smoke.add_argument(
        "--seconds", type=_seconds, help="how long the prices run; else until their fall is over"
    )
    smoke.set_defaults(web_port=0, flower_port=0)
    options = Options(**vars(parser.parse_args(arguments)))
    if options.command == "smoke" and options.prices != "synthetic" and options.speed is None:
        # Recorded prices move little in two minutes of their own time.
        return replace(options, speed=_SMOKE_SPEED)
    return options


def _prices(text: str) -> str:
    if text == "synthetic":
        return text
    file = Path(text).resolve()
    if not file.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return str(file)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < inf:
        raise argparse.ArgumentTypeError(f"SECONDS must be a number above zero, was {text}")
    return seconds


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65_536):
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return int(text)
