"""Mail over any SMTP server, through aiosmtplib."""

import asyncio
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import localtime, parseaddr

import aiosmtplib

from audio_text.domain.mail import Mail
from audio_text.errors import DeliveryFailedError, MailDisabledError
from audio_text.settings import MailSecurity, MailSettings

_OUR_FAULT = frozenset({530, 534, 535, 538})
"""RFC 4954: we have to log in, or cannot. The same mail goes out once the operator has set that right."""

_TAKEN = 250
"""RFC 5321, 4.3.2: what answers a message that was taken."""

_FIRST_FINAL = 500
"""RFC 5321, 4.2.1: below it are refusals for now, from it on those for good."""

_NEVER_PLAIN = frozenset('()<>[]:;,\\"')
"""RFC 5322, 3.2.3: what an address has only in quotes."""

_OF_THE_MAIL = (aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPRecipientRefused, aiosmtplib.SMTPDataError)
"""Refusals of this mail; others are of the connection, whatever their code."""


class SmtpMailer:
    """The `Mailer` of production. Without a configured host every send says that mail is off."""

    def __init__(self, settings: MailSettings, *, password: str) -> None:
        self._settings = settings
        self._password = password
        self._tls: ssl.SSLContext | None = None
        self._domain = parseaddr(settings.sender)[1].rpartition("@")[2] or "localhost"

    async def send(self, mail: Mail) -> int:
        """Hand one message to the SMTP server. Raises MailDisabledError where mail is off, DeliveryFailedError."""
        settings = self._settings
        if not settings.host:
            raise MailDisabledError
        with _refusals():
            message = _message(mail, sender=settings.sender, domain=self._domain)
            await aiosmtplib.send(
                message,
                recipients=[mail.to],
                hostname=settings.host,
                port=settings.port,
                username=settings.user or None,
                password=self._password or None,
                use_tls=settings.security is MailSecurity.tls,
                start_tls=settings.security is MailSecurity.starttls,
                tls_context=await self._context(),
                # Asking the resolver for our own name may take longer than the mail.
                local_hostname=self._domain,
                timeout=settings.timeout_seconds,
            )
        return _TAKEN

    async def _context(self) -> ssl.SSLContext | None:
        if self._settings.security is not MailSecurity.none and self._tls is None:
            # The system's authorities are a few hundred: no work for the loop.
            self._tls = await asyncio.to_thread(_tls, self._settings.ca_file)
        return self._tls


def _tls(ca_file: str) -> ssl.SSLContext:
    """Servers have to show a certificate for their name, of an authority that the system or `ca_file` knows."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise DeliveryFailedError(f"mail.ca_file {ca_file} is not usable: {error.strerror}.") from error


@contextmanager
def _refusals() -> Generator[None]:
    try:
        yield
    except aiosmtplib.SMTPRecipientsRefused as error:
        raise _refused(error.recipients[0]) from error
    except aiosmtplib.SMTPResponseException as error:
        raise _refused(error) from error
    except aiosmtplib.SMTPNotSupported as error:
        raise DeliveryFailedError(f"The mail server cannot do what is needed: {_words(error.message)}") from error
    except (aiosmtplib.SMTPException, OSError) as error:
        raise DeliveryFailedError(f"The mail server is not reachable: {_words(str(error))}") from error
    except ValueError as error:
        failed = DeliveryFailedError(f"The mail cannot be written: {_words(str(error))}")
        failed.is_final = True
        raise failed from error


def _refused(error: aiosmtplib.SMTPResponseException) -> DeliveryFailedError:
    failed = DeliveryFailedError(f"The mail server refused: {error.code} {_words(error.message)}")
    failed.status_code = error.code
    failed.is_final = isinstance(error, _OF_THE_MAIL) and error.code >= _FIRST_FINAL and error.code not in _OUR_FAULT
    return failed


def _words(text: str) -> str:
    return " ".join(text.split())


def _address(text: str) -> Address:
    """Take it as the one address that it is. Raises ValueError for several, and for what would have to be quoted."""
    local, _, domain = text.rpartition("@")
    if not local or not domain or any(character in _NEVER_PLAIN or character.isspace() for character in text):
        raise ValueError("this is not one e-mail address")
    return Address(username=local, domain=domain)


def _message(mail: Mail, *, sender: str, domain: str) -> EmailMessage:
    """Write the message. Raises ValueError for what cannot stand in a header."""
    message = EmailMessage(policy=SMTP_POLICY.clone(utf8=not mail.to.isascii()))
    message["From"] = sender
    message["To"] = _address(mail.to)
    message["Subject"] = mail.subject
    message["Date"] = localtime()
    # The same whenever the same mail is sent again: servers and people may take it once.
    message["Message-ID"] = f"<{mail.id}@{domain}>"
    # RFC 3834: nobody's holiday answers a machine.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    for attachment in mail.attachments:
        maintype, _, subtype = attachment.media_type.partition("/")
        message.add_attachment(
            attachment.text.encode(),
            maintype=maintype,
            subtype=subtype,
            filename=attachment.name,
            params={"charset": "utf-8"},
        )
    return message
