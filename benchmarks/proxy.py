"""A TCP proxy on loopback that delays, halves, resets, stalls and refuses: the way to the exchange."""

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

_PIECE: Final = 2**16
_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""With it a close is a reset: RST instead of FIN."""


class Way(StrEnum):
    """What becomes of bytes."""

    THROUGH = "through"
    DELAY = "delay"
    """Each piece comes `delay_s` later."""
    HALVE = "halve"
    """Half of the next piece comes, then the connection is cut."""
    RESET = "reset"
    """The next piece is swallowed, and the connection reset."""
    STALL = "stall"
    """Nothing comes any more, and nothing is closed."""


@dataclass(slots=True, kw_only=True)
class Conduct:
    """How the proxy behaves, for each direction; may be changed at any moment."""

    asks: Way = Way.THROUGH
    """Towards the exchange."""
    answers: Way = Way.THROUGH
    """Towards us."""
    delay_s: float = 0.3
    refuses: bool = False
    """Whether new connections are reset at once."""


class Proxy:
    """A context manager; runs in a thread of its own, on a free port."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self.conduct = Conduct()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._open: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def behave(self, **changes: Way | float | bool) -> None:
        """Behave so from the next piece on; what is not named is as usual."""
        self.conduct = Conduct(**changes)  # type: ignore[arg-type]

    def cut_all(self) -> None:
        """Reset every connection that stands."""
        self._loop.call_soon_threadsafe(self._reset_all)

    def _reset_all(self) -> None:
        for writer in list(self._open):
            _reset(writer)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.conduct.refuses:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._to)
        except OSError:
            _reset(writer)
            return
        both = {writer, far_writer}
        self._open |= both
        try:
            await asyncio.gather(
                self._carry(reader, far_writer, writer, "asks"),
                self._carry(far_reader, writer, far_writer, "answers"),
            )
        finally:
            self._open -= both
            for each in both:
                each.close()

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        direction: str,
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE):
                way: Way = getattr(self.conduct, direction)
                if way is Way.RESET:
                    break
                if way is Way.DELAY:
                    await asyncio.sleep(self.conduct.delay_s)
                while getattr(self.conduct, direction) is Way.STALL:
                    await asyncio.sleep(0.05)
                writer.write(piece[: len(piece) // 2] if way is Way.HALVE else piece)
                await writer.drain()
                if way is Way.HALVE:
                    break
            else:
                writer.close()  # the other side ended in order
                return
        _reset(writer)
        _reset(back)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()
