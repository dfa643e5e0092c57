"""The long-lived stream process."""

import gc
import signal
import threading
from types import FrameType
from typing import Any, Final

from django.core.management.base import BaseCommand

from automations.streaming import Streaming

_ROUNDS_BETWEEN_FULL_COLLECTIONS: Final = 100
"""Python's own 10 are for programs that keep little. This one keeps all that is armed: with 100,000
triggers each look at all of it holds every thread up for some 0.3 s, and hardly finds garbage there."""


class Command(BaseCommand):
    help = "Watch prices and positions, and send what crosses a trigger to the workers, until stopped."

    def handle(self, *_args: Any, **_options: Any) -> None:
        stopping = threading.Event()

        def stop(_signal: int, _frame: FrameType | None) -> None:
            stopping.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        youngest, young, _ = gc.get_threshold()
        gc.set_threshold(youngest, young, _ROUNDS_BETWEEN_FULL_COLLECTIONS)
        Streaming(stopping).run()
