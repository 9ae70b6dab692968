"""How mail leaves."""

from typing import Protocol

from audio_text.domain.mail import Mail


class Mailer(Protocol):
    """Sends mail."""

    async def send(self, mail: Mail) -> int:
        """Return SMTP's code once a mail server has it. May be sent again: the message's id stays the same.

        Raises MailDisabledError where mail is off, and DeliveryFailedError, final when the server refuses for good.
        """
        ...
