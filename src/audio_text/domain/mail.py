"""What a mail with a transcript says, and what it is made of while it waits to be sent."""

import html
import unicodedata
from enum import StrEnum
from string import Template

import msgspec

from audio_text.domain.job import Job
from audio_text.domain.usage import SECONDS_PER_HOUR, SECONDS_PER_MINUTE

LONGEST_BODY = 100_000
"""Characters of text in the body, two hours of speech: programs choke on more, and it is attached as a whole."""

_LONGEST_NAME = 100
"""Characters of a recording's name that are repeated."""

_NO_NAME = "transcript"
_REORDERING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of writing: exe.txt can be shown as txt.exe."""

_PAGE = Template("""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>$subject</title></head>
<body style="font-family: sans-serif; max-width: 45em; margin: 1em auto; padding: 0 1em">
<h1 style="font-size: 1.2em">$name</h1>
<p style="color: #555">$facts</p>
<div dir="auto"$language style="white-space: pre-wrap; line-height: 1.4">$text</div>
$notes</body>
</html>
""")
_NOTE = Template('<p style="color: #555">$note</p>\n')


class MailFormat(StrEnum):
    """What may be attached: the text, and subtitles."""

    text = "text"
    srt = "srt"
    vtt = "vtt"


class MailOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a mail is made of at the moment it is sent: as a delivery keeps it."""

    job_id: str
    to: str
    formats: tuple[MailFormat, ...]


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a mail; `media_type` without a charset, which is UTF-8."""

    name: str
    media_type: str
    text: str


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `id` is the same however often it is sent."""

    id: str
    to: str
    subject: str
    text: str
    html: str
    attachments: tuple[Attachment, ...] = ()


def letter(job: Job, *, mail_id: str, to: str, attachments: tuple[Attachment, ...]) -> Mail:
    """Write the mail about a completed job. Whatever comes from outside is escaped, and on one line in headers."""
    name = one_line(job.filename)
    subject, facts = f"Transcript of {name}", _facts(job)
    text = (job.result_text or "").strip()
    notes: list[str] = []
    if len(text) > LONGEST_BODY:
        text = f"{text[:LONGEST_BODY]}…"
        notes.append("This is only the beginning: the transcript is longer than a mail can show.")
    if attachments:
        notes.append(f"Attached: {', '.join(attachment.name for attachment in attachments)}")
    page = _PAGE.substitute(
        subject=html.escape(subject),
        name=html.escape(name),
        facts=html.escape(facts),
        language=f' lang="{html.escape(job.language)}"' if job.language else "",
        text=html.escape(_printable(text)),
        notes="".join(_NOTE.substitute(note=html.escape(note)) for note in notes),
    )
    parts = [f"{name}\n{facts}", _printable(text), *notes]
    return Mail(id=mail_id, to=to, subject=subject, text="\n\n".join(parts) + "\n", html=page, attachments=attachments)


def attachment_name(job: Job, extension: str) -> str:
    """Name a file of the job as its recording is named, in a way that no mail program reads as a path or a header."""
    name = one_line(job.filename)
    stem = name.rpartition(".")[0] or name
    kept = "".join("_" if character in '/\\:*?"<>|;' else character for character in stem).strip(" .")
    return f"{kept or _NO_NAME}.{extension}"


def one_line(text: str) -> str:
    """A name as it may stand in a header: no line breaks, nothing invisible, not endless."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line[:_LONGEST_NAME].rstrip() or _NO_NAME


def _printable(text: str) -> str:
    """Without what steers terminals and the direction of writing."""
    return "".join(
        character
        for character in text
        if character in "\n\t" or (unicodedata.category(character) != "Cc" and character not in _REORDERING)
    )


def _facts(job: Job) -> str:
    seconds = round(job.duration or 0)
    hours, rest = divmod(seconds, SECONDS_PER_HOUR)
    minutes, seconds = divmod(rest, SECONDS_PER_MINUTE)
    length = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    facts = [f"length {length}"] if job.duration else []
    facts += [f"language {job.language}"] if job.language else []
    return ", ".join([*facts, f"model {job.whisper_model}", f"job {job.id}"])
