"""The long-lived stream process."""

import signal
import threading
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from automations.streaming import Streaming


class Command(BaseCommand):
    help = "Watch prices and positions, and send what crosses a trigger to the workers, until stopped."

    def handle(self, *_args: Any, **_options: Any) -> None:
        stopping = threading.Event()

        def stop(_signal: int, _frame: FrameType | None) -> None:
            stopping.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        Streaming(stopping).run()
