"""Mail of a whole service: a real worker process transcribes, and hands what is asked for to a real SMTP server."""

import asyncio
import html
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from msgspec.structs import replace

from audio_text.settings import MailSecurity, Settings
from recordings import DATA
from services.api import Api, in_one_task, running
from services.database import Database
from services.smtp import Postbox, smtp_server
from services.waiting import until
from services.worker import worker_process

ADA = "ada@example.org"


@pytest.fixture
async def api(api_settings: Settings) -> AsyncIterator[tuple[Api, Postbox]]:
    with smtp_server() as postbox:
        server = {"host": "127.0.0.1", "port": postbox.port, "security": MailSecurity.none}
        # What other tests had mailed is counted in the same Redis.
        mail = replace(api_settings.mail, **server, per_hour=0, per_recipient_per_hour=0)
        async with in_one_task(running(replace(api_settings, mail=mail))) as api:
            yield api, postbox


async def transcribed(api: Api) -> tuple[str, str]:
    """A job that the worker has completed; its id and its text."""
    submitted = await api.submit("talk.flac", (DATA / "one_a.flac").read_bytes(), mode="demo")
    async with asyncio.timeout(60):
        while True:
            job = (await api.client.get(f"/api/v1/job/status/{submitted['id']}")).raise_for_status().json()
            assert job["status"] in {"pending", "processing", "completed"}
            if job["status"] == "completed":
                return job["id"], job["result_text"]
            await asyncio.sleep(0.02)


async def order(api: Api, job_id: str) -> None:
    ordered = await api.client.post(f"/api/v1/job/{job_id}/email", json={"email": ADA})
    assert ordered.json() == {"success": True, "message": f"The transcript is on its way to {ADA}."}


def parts(mail: EmailMessage) -> list[tuple[str, str | None, str]]:
    return [
        (part.get_content_type(), part.get_filename(), part.get_payload(decode=True).decode().replace("\r\n", "\n"))
        for part in mail.walk()
        if not part.is_multipart()
    ]


async def test_a_transcript_is_mailed_once_by_the_worker_with_its_text_and_files(
    api: tuple[Api, Postbox], tmp_path: Path
) -> None:
    service, postbox = api
    with worker_process(service.settings, tmp_path, "audio_small") as worker:
        job_id, text = await transcribed(service)
        await order(service, job_id)
        await asyncio.to_thread(worker.wait_for, "delivered")
    [mail] = postbox.mails
    assert postbox.recipients == [ADA]
    plain, page, attached, subtitles = parts(mail)
    assert plain[0] == "text/plain"
    assert page[0] == "text/html"
    assert text in plain[2]
    assert html.escape(text) in page[2]
    assert attached == ("text/plain", "talk.txt", f"{text}\n")
    assert subtitles[:2] == ("application/x-subrip", "talk.srt")
    assert subtitles[2].startswith("1\n00:00:00")
    assert ADA not in worker.log.read_text()


@pytest.mark.parametrize(("command", "times"), [("MAIL", 1), ("DATA", 2)], ids=["before", "after"])
async def test_a_worker_killed_before_or_after_the_server_takes_a_mail_loses_none_and_the_next_says_it_is_the_same(
    api: tuple[Api, Postbox], database: Database, tmp_path: Path, command: str, times: int
) -> None:
    service, postbox = api

    with worker_process(service.settings, tmp_path, "audio_small", name="first") as worker:
        job_id, _ = await transcribed(service)
        postbox.meanwhile[command] = worker.kill
        await order(service, job_id)
        await until(lambda: worker.process.poll() is not None)
    await until(lambda: len(postbox.mails) == times - 1)
    await database.execute("UPDATE delivery SET lease_expires_at = now()")
    with worker_process(service.settings, tmp_path, "audio_small", name="second") as worker:
        await asyncio.to_thread(worker.wait_for, "delivered")
    assert len(postbox.mails) == times
    [mail_id] = {str(mail["Message-ID"]) for mail in postbox.mails}
    assert mail_id.endswith("@localhost>")
    assert all(parts(mail) == parts(postbox.mails[0]) for mail in postbox.mails)
