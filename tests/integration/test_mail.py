"""Transcripts by mail, through a real SMTP server in this process."""

from collections.abc import AsyncIterator, Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from msgspec.structs import replace

import media
from audio_text.domain.job import Completed
from audio_text.ports import Claim
from audio_text.settings import Settings
from services.api import Api, free_port, in_one_task, running

TEXT = "Guten Morgen, žluťoučký kůň.\nZweite Zeile."


class Postbox:
    """Takes every message but those to nobody@."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []

    async def handle_RCPT(  # noqa: N802 -- aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 nobody lives here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 -- see above
        self.recipients += envelope.rcpt_tos
        mail = message_from_bytes(envelope.content or b"", policy=default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


@pytest.fixture(scope="module")
def postbox() -> Iterator[tuple[Postbox, int]]:
    box = Postbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port(), decode_data=False)
    controller.start()
    yield box, controller.port
    controller.stop()


@pytest.fixture(scope="module")
async def mailing_api(shared_api_settings: Settings, postbox: tuple[Postbox, int]) -> AsyncIterator[Api]:
    mail = replace(shared_api_settings.mail, host="127.0.0.1", port=postbox[1], start_tls=False)
    async with in_one_task(running(replace(shared_api_settings, mail=mail))) as api:
        yield api


async def completed(api: Api, text: str = TEXT, *, filename: str = "talk.wav") -> str:
    job = await api.submit(filename, media.wav(), mode="demo")
    jobs = api.services.resources.jobs
    claimed = await jobs.claim("audio_small", owner="test", lease_seconds=60)
    assert claimed is not None
    outcome = Completed(
        result_text=text,
        duration=1.0,
        duration_after_vad=1.0,
        processing_time_seconds=0.1,
        language="de",
        language_probability=0.9,
    )
    assert await jobs.complete(Claim(claimed.id, claimed.claims), outcome)
    return job["id"]


async def mailed(api: Api, job_id: str, email: Any) -> Any:
    return await api.client.post(f"/api/v1/job/{job_id}/email", json={"email": email})


async def test_the_text_of_a_completed_job_is_mailed(mailing_api: Api, postbox: tuple[Postbox, int]) -> None:
    job_id = await completed(mailing_api, filename="Böse Überraschung.wav")
    answer = await mailed(mailing_api, job_id, "ada@example.org")
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "message": "The transcript is on its way to ada@example.org."}
    box, _ = postbox
    assert box.recipients[-1] == "ada@example.org"
    assert box.mails[-1]["Subject"] == "Transcript of Böse Überraschung.wav"
    assert box.mails[-1].get_content().splitlines() == TEXT.splitlines()


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ada",
        "ada@",
        "@example.org",
        "ada@example",
        "ada@@example.org",
        "ada lovelace@example.org",
        "ada@example.org, bob@example.org",
        "ada@example.org\r\nBcc: bob@example.org",
        "<ada@example.org>",
        "ada@example..org",
        "a" * 300 + "@example.org",
        "ada\x00@example.org",
        5,
        None,
        ["ada@example.org"],
    ],
)
async def test_what_is_no_address_gets_no_mail(mailing_api: Api, postbox: tuple[Postbox, int], email: Any) -> None:
    before = len(postbox[0].mails)
    job_id = "6d8b1f6e-0000-4000-8000-000000000000"
    answer = await mailed(mailing_api, job_id, email)
    assert answer.status_code == 400
    assert "email" in answer.json()["detail"]
    assert len(postbox[0].mails) == before


@pytest.mark.parametrize("email", ["ada@example.org", "a.b+c@mail.example.co.uk", "o'neil_7@xn--bcher-kva.example"])
async def test_ordinary_addresses_are_accepted(mailing_api: Api, email: str) -> None:
    answer = await mailed(mailing_api, await completed(mailing_api), email)
    assert answer.status_code == 200


async def test_an_address_that_the_server_refuses_is_the_client_s_mistake(mailing_api: Api) -> None:
    answer = await mailed(mailing_api, await completed(mailing_api), "nobody@example.org")
    assert answer.status_code == 400
    assert "address" in answer.json()["detail"]


async def test_a_job_that_is_not_completed_is_not_mailed(mailing_api: Api) -> None:
    job = await mailing_api.submit("talk.wav", media.wav(), mode="large-v3")
    answer = await mailed(mailing_api, job["id"], "ada@example.org")
    assert answer.status_code == 400
    assert "pending" in answer.json()["detail"]


async def test_a_completed_job_without_words_is_not_mailed(mailing_api: Api) -> None:
    answer = await mailed(mailing_api, await completed(mailing_api, ""), "ada@example.org")
    assert answer.status_code == 400
    assert "no text" in answer.json()["detail"]


async def test_an_unknown_job_is_not_mailed(mailing_api: Api) -> None:
    answer = await mailed(mailing_api, "6d8b1f6e-0000-4000-8000-000000000000", "ada@example.org")
    assert answer.status_code == 404


async def test_a_mail_server_that_is_away_means_try_again(shared_api_settings: Settings) -> None:
    mail = replace(shared_api_settings.mail, host="127.0.0.1", port=1, start_tls=False)
    async with running(replace(shared_api_settings, mail=mail)) as api:
        answer = await mailed(api, await completed(api), "ada@example.org")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.json()["code"] == "mail_unavailable"


async def test_without_a_mail_server_the_answer_says_so(shared_api_settings: Settings) -> None:
    async with running(shared_api_settings) as api:
        answer = await mailed(api, await completed(api), "ada@example.org")
    assert answer.status_code == 503
    assert "mail.host" in answer.json()["detail"]
