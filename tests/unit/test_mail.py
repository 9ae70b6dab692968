"""What a mail says, whatever is in names and texts; and who may have how many sent."""

from html.parser import HTMLParser

import msgspec
import pytest

from audio_text.domain.access import ANYBODY, Caller
from audio_text.domain.delivery import Delivery, DeliveryKind
from audio_text.domain.job import Job, JobStatus
from audio_text.domain.mail import LONGEST_BODY, Attachment, Mail, MailFormat, attachment_name, letter, one_line
from audio_text.domain.options import Channels, TranscriptionOptions
from audio_text.errors import (
    InvalidRequestError,
    JobNotFoundError,
    LimitsUnavailableError,
    MailDisabledError,
    RateLimitedError,
)
from audio_text.services.mailing import MailingService, MailSender
from factories import make_job, make_segment, make_settings
from fakes.deliveries import FakeDeliveryRepository
from fakes.limiter import FakeRateLimiter
from fakes.repository import FakeJobRepository

ADA = "ada@example.org"
EVIL = '"><img src=x onerror=alert(1)>&amp;<script>\r\nBcc: eve@example.org'


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def completed(**fields: object) -> Job:
    told = {"status": JobStatus.completed, "result_text": "Guten Morgen.", "language": "de", "duration": 3_725.4}
    return make_job(**(told | fields))


def written(job: Job, *attachments: Attachment) -> Mail:
    return letter(job, mail_id="1", to=ADA, attachments=attachments)


def test_a_mail_tells_the_text_and_what_it_is_of() -> None:
    mail = written(completed(filename="Böse Überraschung.wav"))
    assert mail.subject == "Transcript of Böse Überraschung.wav"
    for body in (mail.text, Page(mail.html).text):
        assert "Guten Morgen." in body
        assert "Böse Überraschung.wav" in body
        assert "length 1:02:05, language de, model demo, job " in body


def test_nothing_in_a_name_or_a_text_becomes_part_of_the_page() -> None:
    mail = written(
        completed(filename=EVIL, result_text=EVIL, language='"><b>'), Attachment(name=EVIL, media_type="a/b", text="")
    )
    page = Page(mail.html)
    assert page.tags == {"html", "head", "meta", "title", "body", "h1", "p", "div"}
    assert "<script>" in page.text
    assert "$" not in written(completed(result_text="a")).html


def test_a_template_s_own_marks_in_a_text_stay_what_they_are() -> None:
    assert "costs $text and ${name}" in Page(written(completed(result_text="costs $text and ${name}")).html).text


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (EVIL, '"><img src=x onerror=alert(1)>&amp;<script> Bcc: eve@example.org'),
        ("a\x00b\x1b[31mc\u2028d.wav", "a b [31mc d.wav"),
        ("invoice\u202egpj.exe.wav", "invoice gpj.exe.wav"),
        ("  \r\n ", "transcript"),
        ("ä" * 300, "ä" * 100),
    ],
)
def test_a_name_is_one_line_without_anything_invisible(name: str, line: str) -> None:
    assert one_line(name) == line


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("talk.wav", "talk.srt"),
        ("no_extension", "no_extension.srt"),
        ("../../etc/passwd.wav", "_.._etc_passwd.srt"),
        ('a";filename="b.exe.wav', "a__filename=_b.exe.srt"),
        (".wav", "wav.srt"),
        ("...", "transcript.srt"),
        ("C:\\talk.wav", "C__talk.srt"),
    ],
)
def test_a_file_of_a_mail_has_a_name_that_leads_nowhere(name: str, file: str) -> None:
    assert attachment_name(make_job(filename=name), "srt") == file


def test_a_body_shows_a_long_text_s_beginning_and_says_so() -> None:
    mail = written(completed(result_text="a" * (LONGEST_BODY + 1)))
    assert "a" * LONGEST_BODY + "…" in mail.text
    assert "only the beginning" in mail.text
    assert "only the beginning" in mail.html


def test_what_steers_terminals_is_left_out_of_texts() -> None:
    mail = written(completed(result_text="a\x1b[31m\u202eb\nc\td"))
    assert "a[31mb\nc\td" in mail.text
    assert "a[31mb\nc\td" in Page(mail.html).text


class Post:
    """A mailer that keeps what it is given."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []

    async def send(self, mail: Mail) -> int:
        self.mails.append(mail)
        return 250


@pytest.fixture
def jobs() -> FakeJobRepository:
    return FakeJobRepository()


@pytest.fixture
def limiter() -> FakeRateLimiter:
    return FakeRateLimiter()


@pytest.fixture
def deliveries() -> FakeDeliveryRepository:
    return FakeDeliveryRepository()


def service(
    jobs: FakeJobRepository,
    deliveries: FakeDeliveryRepository,
    limiter: FakeRateLimiter,
    **mail: object,
) -> MailingService:
    settings = make_settings({f"mail.{name}": value for name, value in ({"host": "mail.test"} | mail).items()})
    return MailingService(jobs=jobs, deliveries=deliveries, limiter=limiter, settings=settings.mail)


async def ordered(
    mailing: MailingService, job: Job, to: str = ADA, *, caller: Caller = ANYBODY, address: str = ""
) -> Delivery:
    return await mailing.order(job.id, to=to, formats=(MailFormat.text,), caller=caller, address=address)


async def test_an_order_is_stored_as_a_delivery_of_its_owner(
    jobs: FakeJobRepository, deliveries: FakeDeliveryRepository, limiter: FakeRateLimiter
) -> None:
    job = completed(owner="acme")
    jobs.jobs[job.id] = job
    stored = await ordered(service(jobs, deliveries, limiter), job, caller=Caller(owner="acme", key_id="k"))
    assert deliveries.rows.deliveries == {stored.id: stored}
    assert (stored.kind, stored.lane, stored.owner, stored.recipient) == (DeliveryKind.mail, "mail", "acme", ADA)
    assert stored.subject is None
    assert msgspec.json.decode(stored.payload) == {"job_id": job.id, "to": ADA, "formats": ["text"]}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": JobStatus.pending}, "pending"),
        ({"status": JobStatus.failed}, "failed"),
        ({"result_text": ""}, "no text"),
        ({"result_text": " \n"}, "no text"),
        ({"result_text": None}, "no text"),
    ],
)
async def test_only_a_completed_job_with_text_is_mailed(
    jobs: FakeJobRepository,
    deliveries: FakeDeliveryRepository,
    limiter: FakeRateLimiter,
    fields: dict[str, object],
    reason: str,
) -> None:
    job = completed(**fields)
    jobs.jobs[job.id] = job
    with pytest.raises(InvalidRequestError, match=reason):
        await ordered(service(jobs, deliveries, limiter), job)
    assert not deliveries.rows.deliveries
    assert limiter.asked == 0


async def test_without_a_mail_server_nothing_is_stored(
    jobs: FakeJobRepository, deliveries: FakeDeliveryRepository, limiter: FakeRateLimiter
) -> None:
    job = completed()
    jobs.jobs[job.id] = job
    with pytest.raises(MailDisabledError, match=r"mail\.host"):
        await ordered(service(jobs, deliveries, limiter, host=""), job)
    assert not deliveries.rows.deliveries


async def test_a_key_has_so_many_mails_sent_in_an_hour_and_another_has_its_own(
    jobs: FakeJobRepository, deliveries: FakeDeliveryRepository, limiter: FakeRateLimiter
) -> None:
    job = completed()
    jobs.jobs[job.id] = job
    mailing = service(jobs, deliveries, limiter, per_hour=2, per_recipient_per_hour=0)
    one, other = Caller(owner="a", key_id="one", sees_all=True), Caller(owner="a", key_id="other", sees_all=True)
    for number in range(2):
        await ordered(mailing, job, f"{number}@example.org", caller=one)
    with pytest.raises(RateLimitedError) as caught:
        await ordered(mailing, job, caller=one)
    assert 3_500 < (caught.value.retry_after_seconds or 0) <= 3_600
    await ordered(mailing, job, caller=other)
    assert len(deliveries.rows.deliveries) == 3


async def test_without_keys_an_address_has_the_limit(
    jobs: FakeJobRepository, deliveries: FakeDeliveryRepository, limiter: FakeRateLimiter
) -> None:
    job = completed()
    jobs.jobs[job.id] = job
    mailing = service(jobs, deliveries, limiter, per_hour=1)
    await ordered(mailing, job, address="192.0.2.1")
    await ordered(mailing, job, address="192.0.2.2")
    with pytest.raises(RateLimitedError):
        await ordered(mailing, job, address="192.0.2.1")


async def test_who_has_a_whole_network_of_addresses_has_one_limit_of_mails(
    jobs: FakeJobRepository, deliveries: FakeDeliveryRepository, limiter: FakeRateLimiter
) -> None:
    job = completed()
    jobs.jobs[job.id] = job
    mailing = service(jobs, deliveries, limiter, per_hour=1)
    await ordered(mailing, job, address="2001:db8:1:2::1")
    await ordered(mailing, job, address="2001:db8:1:3::1")
    with pytest.raises(RateLimitedError):
        await ordered(mailing, job, address="2001:db8:1:2:ffff::9")


async def test_a_recipient_is_sent_so_many_mails_however_many_ask_for_them(
    jobs: FakeJobRepository, deliveries: FakeDeliveryRepository, limiter: FakeRateLimiter
) -> None:
    job = completed()
    jobs.jobs[job.id] = job
    mailing = service(jobs, deliveries, limiter, per_hour=0, per_recipient_per_hour=2)
    for number, to in enumerate((ADA, ADA.upper())):
        await ordered(mailing, job, to, address=f"192.0.2.{number}")
    with pytest.raises(RateLimitedError, match="this address"):
        await ordered(mailing, job, "Ada@Example.org", address="192.0.2.3")
    await ordered(mailing, job, "bob@example.org", address="192.0.2.3")


async def test_mails_that_cannot_be_counted_are_not_sent(
    jobs: FakeJobRepository, deliveries: FakeDeliveryRepository, limiter: FakeRateLimiter
) -> None:
    job = completed()
    jobs.jobs[job.id] = job
    limiter.is_down = True
    with pytest.raises(LimitsUnavailableError):
        await ordered(service(jobs, deliveries, limiter), job)
    assert not deliveries.rows.deliveries
    await ordered(service(jobs, deliveries, limiter, per_hour=0, per_recipient_per_hour=0), job)


def order_of(job: Job, *formats: str) -> Delivery:
    now = job.creation_date
    payload = msgspec.json.encode({"job_id": job.id, "to": ADA, "formats": formats}).decode()
    names = {"lane": "mail", "event_type": "transcript.mail", "event_id": "1"}
    return Delivery(id="1", kind=DeliveryKind.mail, payload=payload, created_at=now, due_at=now, **names)


async def sent(jobs: FakeJobRepository, delivery: Delivery) -> Mail:
    post = Post()
    assert await MailSender(jobs=jobs, mailer=post, timeout_seconds=15).send(delivery) == 250
    (mail,) = post.mails
    return mail


def keep(jobs: FakeJobRepository, job: Job, *texts: str) -> None:
    jobs.jobs[job.id] = job
    segments = [make_segment(number, text=f" {text}", channel=number + 1) for number, text in enumerate(texts)]
    jobs._segments[job.id] = {segment.id: segment for segment in segments}


async def test_a_mail_has_the_files_that_were_asked_for(jobs: FakeJobRepository) -> None:
    job = completed(filename="talk.wav")
    keep(jobs, job, "Hello.", "Bye.")
    mail = await sent(jobs, order_of(job, "text", "srt", "vtt"))
    assert (mail.id, mail.to) == ("1", ADA)
    text, srt, vtt = mail.attachments
    assert (text.name, text.media_type, text.text) == ("talk.txt", "text/plain", "Hello.\nBye.\n")
    assert (srt.name, srt.media_type) == ("talk.srt", "application/x-subrip")
    assert srt.text.startswith("1\n00:00:00,000 --> 00:00:02,000\nHello.\n")
    assert (vtt.name, vtt.media_type) == ("talk.vtt", "text/vtt")
    assert vtt.text.startswith("WEBVTT")
    assert "Attached: talk.txt, talk.srt, talk.vtt" in mail.text
    assert not (await sent(jobs, order_of(job))).attachments


async def test_files_tell_speakers_apart(jobs: FakeJobRepository) -> None:
    options = TranscriptionOptions(channels=Channels.separate, channel_names=("Agent", "Customer"))
    job = completed(options=options)
    keep(jobs, job, "Hello.", "Bye.")
    (text,) = (await sent(jobs, order_of(job, "text"))).attachments
    assert text.text == "Agent: Hello.\nCustomer: Bye.\n"


async def test_a_job_without_times_is_attached_as_text_alone(jobs: FakeJobRepository) -> None:
    job = completed(result_text="From the older service.")
    jobs.jobs[job.id] = job
    (text,) = (await sent(jobs, order_of(job, "text", "srt", "vtt"))).attachments
    assert text.text == "From the older service.\n"


async def test_a_job_that_is_gone_or_begun_anew_is_not_mailed_any_more(jobs: FakeJobRepository) -> None:
    job = completed()
    with pytest.raises(JobNotFoundError):
        await MailSender(jobs=jobs, mailer=Post(), timeout_seconds=15).send(order_of(job))
    jobs.jobs[job.id] = msgspec.structs.replace(job, status=JobStatus.processing)
    with pytest.raises(InvalidRequestError):
        await MailSender(jobs=jobs, mailer=Post(), timeout_seconds=15).send(order_of(job))
