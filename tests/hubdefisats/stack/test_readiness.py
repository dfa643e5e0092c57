"""Whoever waits is told for what, and why."""

import io
from pathlib import Path

import pytest

from hubdefisats import embedded
from hubdefisats.stack import readiness
from hubdefisats.stack.assembly import Stack, StackError
from hubdefisats.stack.servers import Servers
from hubdefisats.stack.stopping import StopRequest
from hubdefisats.stack.supervisor import Supervisor
from hubdefisats.stack.terminal import Terminal


def test_waiting_says_for_what_and_after_a_while_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "SAYS_WHY_AFTER_S", 0.3)
    out = io.StringIO()
    terminal = Terminal(out)
    nobody = f"http://127.0.0.1:{embedded.free_port()}"
    stack = Stack(
        supervisor=Supervisor([], terminal),
        servers=Servers(folder, terminal),
        paper=None,
        web_url=nobody,
        flower_url=nobody,
        login="",
        flower_login="",
    )

    with pytest.raises(StackError, match=r"not ready in time: flower: .* does not answer"):
        readiness.wait_until_ready(stack, terminal, StopRequest(), within_s=0.5)

    first, second = out.getvalue().splitlines()
    assert "waiting for flower, web" in first
    assert f"web: {nobody}/health/ready does not answer (ConnectionError)" in second
