"""Lines for a person, on a terminal and elsewhere."""

import io

from hubdefisats.stack.terminal import Terminal


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_names_have_a_colour_each_on_a_terminal() -> None:
    out = _Screen()
    terminal = Terminal(out)

    terminal.say("web", "one")
    terminal.say("beat", "two")
    terminal.say("web", "three")

    assert out.getvalue().splitlines() == [
        "\x1b[36mweb      |\x1b[0m one",
        "\x1b[32mbeat     |\x1b[0m two",
        "\x1b[36mweb      |\x1b[0m three",
    ]


def test_a_reader_that_went_away_stops_nobody() -> None:
    out = io.StringIO()
    terminal = Terminal(out)
    out.close()

    terminal.say("web", "to nobody")
