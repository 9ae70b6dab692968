"""A mail server in this process that refuses as it is told to."""

import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from services.api import free_port


class Postbox:
    """Keeps every message that it takes. By command: `answers` are given, each once, before mails are taken.

    What is in `meanwhile` is done once, before the answer.
    """

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.senders: list[str] = []
        self.recipients: list[str] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.were_secure: list[bool] = []
        self.answers: dict[str, list[str]] = {}
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self.port = 0

    def newest(self) -> EmailMessage:
        return self.mails[-1]

    def _answer(self, command: str) -> str:
        if work := self.meanwhile.pop(command, None):
            work()
        given = self.answers.get(command, [])
        return given.pop(0) if given else "250 OK"

    async def handle_MAIL(  # noqa: N802 -- aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self._answer("MAIL")

    async def handle_RCPT(  # noqa: N802 -- see above
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 5.1.1 nobody lives here"
        answer = self._answer("RCPT")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 -- see above
        answer = self._answer("DATA")
        if answer.startswith("250"):
            self.senders.append(envelope.mail_from or "")
            self.recipients += envelope.rcpt_tos
            assert server.transport is not None
            self.were_secure.append(server.transport.get_extra_info("ssl_object") is not None)
            assert isinstance(envelope.content, bytes)
            mail = message_from_bytes(envelope.content, policy=default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
        return answer

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)


@contextmanager
def smtp_server(
    *, certificate: ssl.SSLContext | None = None, implicit: bool = False, auth: bool = False
) -> Generator[Postbox]:
    """Serve on a free port; with a certificate by STARTTLS, or `implicit` from the first byte."""
    box = Postbox()
    options: dict[str, Any] = {"decode_data": False, "enable_SMTPUTF8": True}
    if certificate and implicit:
        options["ssl_context"] = certificate
    elif certificate:
        options |= {"tls_context": certificate, "require_starttls": True}
    if auth:
        # Of TLS from the first byte it does not know, and would warn.
        options |= {"authenticator": box.authenticate, "auth_required": not implicit, "auth_require_tls": not implicit}
    controller = Controller(box, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop()
