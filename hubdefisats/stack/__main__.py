"""`python -m hubdefisats.stack run|smoke`."""

import sys
from io import TextIOWrapper

from hubdefisats.refusals import said_in_a_sentence
from hubdefisats.stack import options as command_line
from hubdefisats.stack.assembly import Stack, running
from hubdefisats.stack.options import Options
from hubdefisats.stack.readiness import wait_until_ready
from hubdefisats.stack.smoke import smoke
from hubdefisats.stack.stopping import StoppedError, StopRequest
from hubdefisats.stack.terminal import Terminal


def main() -> int:
    """Return the exit status; stopping is how `run` ends well, and `smoke` does not."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another alphabet shows a question mark; it must not lose the whole line.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    options = command_line.read(sys.argv[1:])
    stop = StopRequest()
    stop.listen()
    with said_in_a_sentence():
        try:
            {"run": run, "smoke": smoke}[options.command](options, stop)
        except StoppedError:
            return 0 if options.command == "run" else 1
    return 0


def run(options: Options, stop: StopRequest) -> None:
    """Keep a stack running until somebody asks to stop."""
    terminal = Terminal(sys.stdout)
    with running(options, terminal, stop) as stack:
        wait_until_ready(stack, terminal, stop)
        if stack.paper:
            stack.paper.let_prices_run()
        for line in _welcome(stack):
            terminal.say("stack", line)
        while True:
            stack.tend()
            stop.pause()


def _welcome(stack: Stack) -> list[str]:
    exchange = [f"  Exchange  {stack.paper.announced['rest']} (paper)"] if stack.paper else []
    return [
        "hubdefisats runs.",
        f"  Admin     {stack.web_url}/admin/   {stack.login}",
        f"  Flower    {stack.flower_url}/   {stack.flower_login}",
        *exchange,
        "  Ctrl-C stops everything.",
    ]


if __name__ == "__main__":
    sys.exit(main())
