"""Transcripts by mail: asked for over HTTP, stored, and handed to a real SMTP server by whoever delivers."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

import media
from audio_text.bootstrap import mail_sender
from audio_text.domain.delivery import Delivery, DeliveryKind, DeliveryStatus
from audio_text.domain.job import Completed
from audio_text.ports import Claim, OpenResources
from audio_text.services.deliverer import Deliverer
from audio_text.settings import MailSecurity, Settings
from services.api import Api, in_one_task, running
from services.smtp import Postbox, smtp_server

TEXT = "Guten Morgen, žluťoučký kůň.\nZweite Zeile."
UNKNOWN = "6d8b1f6e-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def postbox() -> Iterator[Postbox]:
    with smtp_server() as box:
        yield box


def mailing(settings: Settings, port: int, **mail: Any) -> Settings:
    told = {"host": "127.0.0.1", "port": port, "security": MailSecurity.none, "per_recipient_per_hour": 0} | mail
    return replace(settings, mail=replace(settings.mail, **told))


@pytest.fixture(scope="module")
async def mailing_api(shared_api_settings: Settings, postbox: Postbox) -> AsyncIterator[Api]:
    async with in_one_task(running(mailing(shared_api_settings, postbox.port))) as api:
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


async def mailed(api: Api, job_id: str, email: Any, **fields: Any) -> Any:
    return await api.client.post(f"/api/v1/job/{job_id}/email", json={"email": email, **fields})


def resources_of(api: Api) -> OpenResources:
    resources = api.services.resources
    assert isinstance(resources, OpenResources)
    return resources


async def delivered(api: Api, settings: Settings | None = None) -> int:
    """What worker processes do, once; how many were due."""
    settings = settings or api.settings
    resources = resources_of(api)
    senders = {DeliveryKind.mail: mail_sender(settings, resources)}
    return await Deliverer(resources.deliveries, senders=senders, settings=settings.webhooks).deliver_due()


async def stored(api: Api, logs: Any) -> Delivery:
    """The delivery that the last order in the log made."""
    line = [line for line in logs if line["event"] == "mail_ordered"][-1]
    return await resources_of(api).deliveries.get(line["delivery_id"])


async def test_an_address_alone_gets_the_text_and_files_of_it(mailing_api: Api, postbox: Postbox) -> None:
    job_id = await completed(mailing_api, filename="Böse Überraschung.wav")
    answer = await mailed(mailing_api, job_id, "ada@example.org")
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "message": "The transcript is on its way to ada@example.org."}
    assert await delivered(mailing_api) == 1
    mail = postbox.newest()
    assert postbox.recipients[-1] == mail["To"] == "ada@example.org"
    assert mail["Subject"] == "Transcript of Böse Überraschung.wav"
    body = mail.get_body(("plain",))
    assert body is not None
    assert TEXT in body.get_content().replace("\r\n", "\n")
    assert [part.get_filename() for part in mail.iter_attachments()] == ["Böse Überraschung.txt"]


async def test_the_files_are_those_that_were_asked_for(mailing_api: Api, postbox: Postbox) -> None:
    job_id = await completed(mailing_api)
    for formats, names in (([], []), (["text", "text"], ["talk.txt"])):
        assert (await mailed(mailing_api, job_id, "ada@example.org", formats=formats)).status_code == 200
        assert await delivered(mailing_api) == 1
        assert [part.get_filename() for part in postbox.newest().iter_attachments()] == names


@pytest.mark.parametrize("formats", [["pdf"], "text", ["text"] * 4, [1], None])
async def test_files_that_there_are_not_are_refused(mailing_api: Api, formats: Any) -> None:
    answer = await mailed(mailing_api, UNKNOWN, "ada@example.org", formats=formats)
    assert answer.status_code == 400
    assert "formats" in answer.json()["detail"]


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
async def test_what_is_no_address_gets_no_mail(mailing_api: Api, email: Any) -> None:
    answer = await mailed(mailing_api, UNKNOWN, email)
    assert answer.status_code == 400
    assert "email" in answer.json()["detail"]
    assert await delivered(mailing_api) == 0


@pytest.mark.parametrize("email", ["ada@example.org", "a.b+c@mail.example.co.uk", "o'neil_7@xn--bcher-kva.example"])
async def test_ordinary_addresses_are_accepted(mailing_api: Api, postbox: Postbox, email: str) -> None:
    assert (await mailed(mailing_api, await completed(mailing_api), email)).status_code == 200
    assert await delivered(mailing_api) == 1
    assert postbox.recipients[-1] == email


async def test_a_refusal_for_good_ends_it_and_the_log_says_why(mailing_api: Api, postbox: Postbox) -> None:
    before = len(postbox.mails)
    with capture_logs() as logs:
        assert (await mailed(mailing_api, await completed(mailing_api), "nobody@example.org")).status_code == 200
        assert await delivered(mailing_api) == 1
        delivery = await stored(mailing_api, logs)
    assert (delivery.status, delivery.attempts, delivery.status_code) == (DeliveryStatus.failed, 1, 550)
    assert "nobody lives here" in (delivery.error or "")
    assert await delivered(mailing_api) == 0
    assert len(postbox.mails) == before
    assert "nobody@example.org" not in str(logs)


async def due_again(api: Api, delivery: Delivery) -> None:
    """Let the time pass until the next try."""
    await resources_of(api).deliveries.replay(delivery.id)


async def test_a_refusal_for_now_is_tried_again_and_known_again(mailing_api: Api, postbox: Postbox) -> None:
    postbox.answers["RCPT"] = ["451 4.7.1 greylisted"]
    with capture_logs() as logs:
        assert (await mailed(mailing_api, await completed(mailing_api), "ada@example.org")).status_code == 200
        assert await delivered(mailing_api) == 1
        postponed = await stored(mailing_api, logs)
    assert (postponed.status, postponed.status_code) == (DeliveryStatus.pending, 451)
    assert await delivered(mailing_api) == 0
    await due_again(mailing_api, postponed)
    assert await delivered(mailing_api) == 1
    done = await resources_of(mailing_api).deliveries.get(postponed.id)
    assert (done.status, done.status_code) == (DeliveryStatus.delivered, 250)
    assert str(postbox.newest()["Message-ID"]).startswith(f"<{done.id}@")


@pytest.mark.parametrize(("host", "told"), [("127.0.0.1", "not reachable"), ("", "mail.host")], ids=["away", "unset"])
async def test_a_mail_whose_server_is_away_or_unknown_to_a_worker_goes_out_by_the_next_that_reaches_it(
    mailing_api: Api, postbox: Postbox, host: str, told: str
) -> None:
    with capture_logs() as logs:
        assert (await mailed(mailing_api, await completed(mailing_api), "ada@example.org")).status_code == 200
        assert await delivered(mailing_api, mailing(mailing_api.settings, 1, host=host)) == 1
        postponed = await stored(mailing_api, logs)
    assert postponed.status is DeliveryStatus.pending
    assert told in (postponed.error or "")
    await due_again(mailing_api, postponed)
    before = len(postbox.mails)
    assert await delivered(mailing_api) == 1
    assert len(postbox.mails) == before + 1


async def test_a_job_that_was_deleted_meanwhile_is_not_mailed(mailing_api: Api, postbox: Postbox) -> None:
    job_id = await completed(mailing_api)
    assert (await mailed(mailing_api, job_id, "ada@example.org")).status_code == 200
    (await mailing_api.client.delete(f"/api/v1/job/{job_id}")).raise_for_status()
    before = len(postbox.mails)
    with capture_logs() as logs:
        await delivered(mailing_api)
    assert [line["event"] for line in logs if line["event"].startswith("deliver")] == ["delivery_given_up"]
    assert len(postbox.mails) == before


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
    answer = await mailed(mailing_api, UNKNOWN, "ada@example.org")
    assert answer.status_code == 404


async def test_a_mailbox_is_not_flooded(shared_api_settings: Settings, postbox: Postbox) -> None:
    settings = mailing(shared_api_settings, postbox.port, per_recipient_per_hour=2)
    async with running(settings) as api:
        job_id = await completed(api)
        answers = [await mailed(api, job_id, "flooded@example.org") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[-1].json()["code"] == "rate_limited"
        assert 3_000 < int(answers[-1].headers["Retry-After"]) <= 3_600
        assert (await mailed(api, job_id, "another@example.org")).status_code == 200
        await delivered(api)


async def test_without_a_mail_server_the_answer_says_so(shared_api_settings: Settings) -> None:
    async with running(shared_api_settings) as api:
        answer = await mailed(api, await completed(api), "ada@example.org")
    assert (answer.status_code, answer.json()["code"]) == (403, "mail_disabled")
    assert "Retry-After" not in answer.headers
    assert "mail.host" in answer.json()["detail"]
