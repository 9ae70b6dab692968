"""The mailer against real SMTP servers: what arrives, by which way, and which refusals are for good."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from audio_text.adapters.mailer import SmtpMailer
from audio_text.domain.mail import Attachment, Mail
from audio_text.errors import DeliveryFailedError, MailDisabledError
from factories import make_settings
from services.outside import certificate_for
from services.smtp import Postbox, smtp_server

NAME = "localhost"
MAIL = Mail(
    id="3f0c3f4e",
    to="ada@example.org",
    subject="Transcript of Böse Überraschung.wav",
    text="Guten Morgen, žluťoučký kůň.\n.\nZweite Zeile.\n",
    html="<p>Guten Morgen, žluťoučký kůň.</p>\n",
    attachments=(
        Attachment(name="Böse Überraschung.txt", media_type="text/plain", text="kůň\n"),
        Attachment(name="talk.srt", media_type="application/x-subrip", text="1\n00:00 --> 00:01\nkůň\n"),
        Attachment(name="talk.vtt", media_type="text/vtt", text="WEBVTT\n" + "a" * 2_000 + "\n"),
    ),
)


def mailer(box: Postbox, *, password: str = "", **mail: Any) -> SmtpMailer:
    told = {"host": NAME, "port": box.port, "security": "none", "timeout_seconds": 20.0} | mail
    settings = make_settings({f"mail.{name}": value for name, value in told.items()})
    return SmtpMailer(settings.mail, password=password)


@pytest.fixture
def box() -> Iterator[Postbox]:
    with smtp_server() as box:
        yield box


async def failure(sender: SmtpMailer, mail: Mail = MAIL) -> DeliveryFailedError:
    with pytest.raises(DeliveryFailedError) as caught:
        await sender.send(mail)
    return caught.value


async def test_everything_that_was_written_arrives(box: Postbox) -> None:
    assert await mailer(box, sender="Audio Text <audio@mail.example>").send(MAIL) == 250
    assert (box.senders, box.recipients) == (["audio@mail.example"], ["ada@example.org"])
    mail = box.newest()
    assert mail["From"] == "Audio Text <audio@mail.example>"
    assert (mail["To"], mail["Subject"]) == (MAIL.to, MAIL.subject)
    assert mail["Date"].datetime.tzinfo is not None
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().splitlines() == MAIL.text.splitlines()
    assert html.get_content().splitlines() == MAIL.html.splitlines()
    files = [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
        for part in mail.iter_attachments()
    ]
    assert files == [(each.name, each.media_type, each.text.encode()) for each in MAIL.attachments]
    assert {part.get_content_disposition() for part in mail.iter_attachments()} == {"attachment"}


async def test_a_mail_is_known_again_and_nobody_s_holiday_answers_it(box: Postbox) -> None:
    for _ in range(2):
        await mailer(box, sender="Audio Text <audio@mail.example>").send(MAIL)
    assert [mail["Message-ID"] for mail in box.mails] == ["<3f0c3f4e@mail.example>"] * 2
    assert box.newest()["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize("to", ["ü@example.org", "ada@bücher.example", "o'neil+x@example.org"])
async def test_addresses_of_any_script_arrive_at_servers_that_know_them(box: Postbox, to: str) -> None:
    await mailer(box).send(replace(MAIL, to=to))
    assert box.recipients == [to]


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": "ada@example.org\r\nBcc: eve@example.org"},
        {"to": "ada@example.org, eve@example.org"},
        {"to": "Ada <ada@example.org>"},
        {"to": ""},
        {"subject": "a\r\nBcc: eve@example.org"},
        {"subject": "a\nb"},
        {"attachments": (Attachment(name='a"\r\nBcc: eve@example.org', media_type="text/plain", text=""),)},
    ],
)
async def test_nothing_becomes_a_header_that_was_none(box: Postbox, wrong: dict[str, Any]) -> None:
    error: DeliveryFailedError | None = None
    try:
        await mailer(box).send(replace(MAIL, **wrong))
    except DeliveryFailedError as refusal:
        error = refusal
    assert error is None or error.is_final
    assert "eve@example.org" not in box.recipients
    assert not any("Bcc" in part for mail in box.mails for part in mail.walk())


@pytest.mark.parametrize(
    ("command", "answer", "is_final"),
    [
        ("RCPT", "550 5.1.1 no such user", True),
        ("RCPT", "551 5.1.6 moved", True),
        ("RCPT", "450 4.2.1 busy", False),
        ("RCPT", "452 4.2.2 full", False),
        ("MAIL", "553 5.1.8 not from you", True),
        ("MAIL", "530 5.7.0 log in first", False),
        ("MAIL", "451 4.3.0 later", False),
        ("DATA", "552 5.3.4 too big", True),
        ("DATA", "554 5.6.0 spam", True),
        ("DATA", "421 4.3.2 going down", False),
        ("DATA", "451 4.7.1 greylisted", False),
    ],
)
async def test_refusals_for_good_are_told_from_those_for_now(
    box: Postbox,
    command: str,
    answer: str,
    is_final: bool,  # noqa: FBT001 -- a parameter of the test
) -> None:
    box.answers[command] = [answer]
    error = await failure(mailer(box))
    assert error.is_final is is_final
    assert error.status_code == int(answer[:3])
    assert answer[4:] in error.detail
    assert not box.mails
    await mailer(box).send(MAIL)
    assert len(box.mails) == 1


async def test_a_server_that_is_away_may_come_back(box: Postbox) -> None:
    error = await failure(mailer(box, port=1))
    assert not error.is_final
    assert "not reachable" in error.detail


@pytest.mark.parametrize(
    "first", [b"", b"220 here I am\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"554 no service\r\n"]
)
async def test_a_server_that_hangs_or_is_none_does_not_hold_up_anything(first: bytes) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        box = Postbox()
        box.port = server.sockets[0].getsockname()[1]
        error = await failure(mailer(box, host="127.0.0.1", timeout_seconds=0.3))
    assert not error.is_final


async def test_without_a_server_in_the_settings_mail_is_off(box: Postbox) -> None:
    with pytest.raises(MailDisabledError, match=r"mail\.host"):
        await mailer(box, host="").send(MAIL)


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_mail_goes_over_tls_to_a_server_with_the_right_certificate(tmp_path: Path, security: str) -> None:
    certificate, authority = certificate_for(NAME, tmp_path)
    with smtp_server(certificate=certificate, implicit=security == "tls", auth=True) as box:
        told = {"security": security, "ca_file": str(authority), "user": "me"}
        await mailer(box, password="right", **told).send(MAIL)
        assert box.were_secure == [True]
        assert box.logins == [(b"me", b"right")]
        error = await failure(mailer(box, password="wrong", **told))
        assert (error.status_code, error.is_final) == (535, False), error.detail
        assert len(box.mails) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("mistake", ["unknown authority", "another name"])
async def test_a_server_with_a_wrong_certificate_gets_neither_mail_nor_password(
    tmp_path: Path, security: str, mistake: str
) -> None:
    certificate, authority = certificate_for(NAME if mistake == "unknown authority" else "other.example", tmp_path)
    ca_file = "" if mistake == "unknown authority" else str(authority)
    with smtp_server(certificate=certificate, implicit=security == "tls", auth=True) as box:
        error = await failure(mailer(box, password="right", security=security, ca_file=ca_file, user="me"))
        assert not error.is_final
        assert not box.mails
        assert not box.logins


async def test_a_server_without_starttls_gets_nothing_when_it_is_asked_for(box: Postbox) -> None:
    error = await failure(mailer(box, security="starttls", user="me", password="right"))
    assert not error.is_final
    assert not box.mails
    assert not box.logins


async def test_authorities_that_cannot_be_read_are_named(box: Postbox, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    error = await failure(mailer(box, security="starttls", ca_file=str(missing)))
    assert str(missing) in error.detail
    assert not error.is_final
