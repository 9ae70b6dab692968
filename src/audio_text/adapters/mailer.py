"""Mail over any SMTP server, through aiosmtplib."""

from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY

import aiosmtplib

from audio_text.errors import InvalidRequestError, MailUnavailableError
from audio_text.ports import Mail
from audio_text.settings import MailSettings


class SmtpMailer:
    """The `Mailer` of production. Without a configured host every send says that mail is off."""

    def __init__(self, settings: MailSettings, *, password: str) -> None:
        self._settings = settings
        self._password = password

    async def send(self, mail: Mail) -> None:
        """Hand one message to the SMTP server. Raises MailUnavailableError, InvalidRequestError for a bad address."""
        if not self._settings.host:
            raise MailUnavailableError("Mail is not set up on this service: its operator has to set mail.host.")
        message = _message(mail, sender=self._settings.sender)
        try:
            await aiosmtplib.send(
                message,
                hostname=self._settings.host,
                port=self._settings.port,
                username=self._settings.user or None,
                password=self._password or None,
                start_tls=self._settings.start_tls,
                timeout=self._settings.timeout_seconds,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise InvalidRequestError("The mail server does not accept this address.") from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise MailUnavailableError(f"The mail server did not take the message: {error}") from error


def _message(mail: Mail, *, sender: str) -> EmailMessage:
    message = EmailMessage(policy=SMTP_POLICY)
    try:
        message["To"] = mail.to
        message["From"] = sender
        # A file name may hold line breaks, which no header may.
        message["Subject"] = " ".join(mail.subject.split())
    except ValueError as error:
        raise InvalidRequestError("This is not an e-mail address.") from error
    message.set_content(mail.text)
    return message
