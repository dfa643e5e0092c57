"""`python -m exchange.simulator`: the paper exchange alone, until it is told to stop."""

import asyncio
import logging
import signal
import sys
import time

from exchange.simulator import codec
from exchange.simulator.options import settings_from
from exchange.simulator.prices.candles import BrokenFile
from exchange.simulator.prices.live import Unreachable
from exchange.simulator.server import PortTaken, Server
from exchange.simulator.settings import Settings


def main() -> int:
    """Return the exit status: 0 after SIGTERM or SIGINT, 2 where it cannot start.

    What breaks later is a mistake of ours: it ends the program with its traceback.
    """
    settings = settings_from(sys.argv[1:])
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03dZ %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    try:
        asyncio.run(_serve(settings))
    except (BrokenFile, PortTaken, Unreachable) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the person who typed the command reads it
        return 2
    return 0


async def _serve(settings: Settings) -> None:
    server = Server(settings)
    await server.start()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, server.over.set)
    print(codec.encode(_announcement(server)), flush=True)  # noqa: T201 - it is what the starter waits for
    await server.over.wait()
    await server.stop()


def _announcement(server: Server) -> dict[str, object]:
    certificate = {"certificate": str(server.certificate.path)} if server.certificate else {}
    return {
        **certificate,
        "rest": server.rest,
        "stream": server.stream,
        "control": server.control,
        "accounts": [
            {
                "key": account.credentials.key,
                "secret": account.credentials.secret,
                "passphrase": account.credentials.passphrase,
                "balance": account.balance,
            }
            for account in server.paper.accounts
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
