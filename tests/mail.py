"""A real mail server on loopback: it takes mails, refuses some of them, or never answers."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from hubdefisats.embedded import free_port


@dataclass(slots=True)
class Inbox:
    """What came, and how the next mails are answered."""

    url: str
    mails: list[EmailMessage] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    """Of the next mails, the first one first; beyond them every mail is taken."""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def handle_DATA(self, _smtp: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        answer = self.answers.pop(0) if self.answers else "250 taken"
        if answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            mail: Any = message_from_bytes(envelope.content, policy=policy.default)
            self.mails.append(mail)
        return answer


@contextmanager
def mail_server() -> Iterator[Inbox]:
    """Run a mail server that keeps what it takes."""
    port = free_port()
    inbox = Inbox(url=f"smtp://127.0.0.1:{port}")
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield inbox
    finally:
        controller.stop()


@contextmanager
def silent_server() -> Iterator[str]:
    """Run one that lets people connect, and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"smtp://127.0.0.1:{listening.getsockname()[1]}"
