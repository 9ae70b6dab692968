"""`audio-text settings`: what an operator sees, and the way over from the older service."""

import os
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from audio_text.cli.predecessor import MOVES, NOTES, translate
from audio_text.cli.settings import settings
from audio_text.errors import ConfigurationError
from audio_text.settings import SECRETS, load
from audio_text.settings.keys import PREFIX


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:  # noqa: TID251 -- the developer's own settings
        monkeypatch.delenv(name)


def show(*arguments: str, environ: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(settings, arguments, env=environ or {}, catch_exceptions=False)


def rows(result: Result) -> dict[str, tuple[str, str]]:
    return {key: (value, origin) for key, value, origin in (line.split("\t") for line in result.stdout.splitlines())}


def test_every_setting_is_shown_with_its_value_and_origin() -> None:
    shown = rows(show(environ={"AUDIO_TEXT_API_PORT": "4000"}))
    assert shown["api.port"] == ("4000", "AUDIO_TEXT_API_PORT")
    assert shown["api.docs"] == ("true", "default")
    assert shown["options.language"] == ("", "default")
    assert shown["options.temperature"][0] == "0.0, 0.2, 0.4, 0.6, 0.8, 1.0"
    assert shown['models."tiny.en".source'] == ("Systran/faster-whisper-tiny.en", "default")


def test_a_secret_is_shown_only_as_set_or_not_set() -> None:
    result = show(environ={"AUDIO_TEXT_REDIS_PASSWORD": "hunter2"})
    assert rows(result)["redis.password"] == ("set", "AUDIO_TEXT_REDIS_PASSWORD")
    assert rows(result)["database.password"] == ("not set", "AUDIO_TEXT_DATABASE_PASSWORD")
    assert "hunter2" not in result.output


def test_a_role_sees_what_it_reads() -> None:
    shown = rows(show("--role", "migrate", environ={"AUDIO_TEXT_DATABASE_PASSWORD": "x"}))
    assert "database.host" in shown
    assert "api.port" not in shown


def test_a_role_is_told_what_it_lacks() -> None:
    with pytest.raises(ConfigurationError, match="AUDIO_TEXT_DATABASE_PASSWORD is not set: migrate needs it"):
        show("--role", "migrate")


def test_on_a_terminal_the_same_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with CliRunner().isolation() as (out, _, _):
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        settings.main([], standalone_mode=False)
        text = click.unstyle(out.getvalue().decode())
    assert [line.split() for line in text.splitlines() if line.startswith("api.port")] == [
        ["api.port", "3203", "default"]
    ]


OLD = """\
# database
AUDIO_TEXT_DB_HOST_ENV=db.example.org
export AUDIO_TEXT_DB_PORT_ENV=5433
AUDIO_TEXT_DB_PASSWORD_ENV='a "b" #c'
AUDIO_TEXT_AWS_BUCKET_NAME_ENV="audio"
AUDIO_TEXT_AWS_ACCESS_KEY_ID_ENV=it's
AUDIO_TEXT_AWS_SECRET_KEY_ENV='tis
AUDIO_TEXT_MAX_FILE_SIZE_MB_ENV=100
AUDIO_TEXT_ALLOWED_AUDIO_EXTENSIONS_ENV=.mp3, WAV
AUDIO_TEXT_CORS_ORIGINS_ENV=https://a.example,https://b.example
AUDIO_TEXT_WHISPER_MODEL_ENV=small
AUDIO_TEXT_WHISPER_BEAM_SIZE_ENV=3   # was 5
AUDIO_TEXT_WHISPER_VAD_FILTER_ENV=True
AUDIO_TEXT_QUEUE_LARGE_RETRY_MAX_ENV=4
AUDIO_TEXT_QUEUE_LARGE_RETRY_MAX_INTERVAL_ENV=500
AUDIO_TEXT_SENDGRID_API_KEY_ENV=SG.key
"""


def test_an_older_environment_file_becomes_ours(tmp_path: Path) -> None:
    file = tmp_path / "old.env"
    file.write_text(OLD)
    result = show("--import-env", str(file))
    assert result.stderr == ""
    loaded = load(translate(OLD).variables).settings
    assert loaded.database.host == "db.example.org"
    assert loaded.database.port == 5433
    assert loaded.secrets.database_password == 'a "b" #c'
    assert loaded.s3.bucket == "audio"
    assert loaded.secrets.s3_access_key == "it's"
    assert loaded.secrets.s3_secret_key == "'tis"
    assert loaded.upload.max_bytes == 104_857_600
    assert loaded.upload.extensions == ("mp3", "wav")
    assert loaded.api.cors_origins == ("https://a.example", "https://b.example")
    assert loaded.job.default_model == "small"
    assert loaded.options.beam_size == 3
    assert loaded.options.vad_filter is True
    assert loaded.tiers["audio_large"].retry.retries == 4
    assert loaded.tiers["audio_large"].retry.max_delay_seconds == 500
    assert (loaded.mail.host, loaded.mail.user, loaded.secrets.mail_password) == (
        "smtp.sendgrid.net",
        "apikey",
        "SG.key",
    )
    assert "AUDIO_TEXT_DATABASE_HOST=db.example.org" in result.stdout.splitlines()
    assert """AUDIO_TEXT_DATABASE_PASSWORD='a "b" #c'""" in result.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "remark"),
    [
        ("AUDIO_TEXT_DB_REF_TABLE_ENV=transcription_job", "the table is transcription_job"),
        ("AUDIO_TEXT_QUEUE_SMALL_ENV=audio_small", "queues are named after the tiers of settings.toml"),
        ("AUDIO_TEXT_SOMETHING_ENV=1", "no setting here corresponds to it"),
        ("DB_HOST=x", "no setting here corresponds to it"),
        ("AUDIO_TEXT_MAX_FILE_SIZE_MB_ENV=many", '"many" is not a number'),
        ("AUDIO_TEXT_MAX_FILE_SIZE_MB_ENV=inf", '"inf" is not a number'),
    ],
)
def test_what_cannot_be_taken_over_is_named_with_its_line(tmp_path: Path, line: str, remark: str) -> None:
    file = tmp_path / "old.env"
    file.write_text(f"\n{line}\n")
    result = show("--import-env", str(file))
    assert result.stdout == ""
    assert f"{file}, line 2: {line.split('=', maxsplit=1)[0]}: {remark}." in result.stderr


def test_an_older_value_that_is_not_allowed_here_is_refused_after_all_was_printed(tmp_path: Path) -> None:
    file = tmp_path / "old.env"
    file.write_text("AUDIO_TEXT_WHISPER_COMPUTE_TYPE_ENV=int4\n")
    with pytest.raises(ConfigurationError, match="AUDIO_TEXT_ENGINE_COMPUTE_TYPE"):
        show("--import-env", str(file))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "old.env"
    file.write_bytes(b"\xff\x00")
    with pytest.raises(ConfigurationError, match="is not an environment file"):
        show("--import-env", str(file))


def test_every_name_of_the_table_leads_to_a_setting_that_exists() -> None:
    known = {entry.variable for entry in load({}).entries} | set(SECRETS.values())
    targets = {name for move in MOVES.values() for name in (move.to, *move.beside)}
    assert {f"AUDIO_TEXT_{name}" for name in targets} <= known
    assert not MOVES.keys() & NOTES.keys()
