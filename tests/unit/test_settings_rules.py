"""Each role demands its secrets and the rules between its own keys, and nothing of another role's."""

import msgspec
import pytest

from audio_text.errors import ConfigurationError, UnknownModelError
from audio_text.settings import Role, load
from audio_text.settings.rules import problems
from factories import make_settings

PREFIX = "AUDIO_TEXT_"
SECRETS = {
    "DATABASE_PASSWORD": "a",
    "REDIS_PASSWORD": "",
    "S3_ACCESS_KEY": "b",
    "S3_SECRET_KEY": "c",
    "DISK_SIGNING_KEY": "d",
    "MAIL_PASSWORD": "e",
}


def start(role: Role, **variables: str) -> None:
    load({PREFIX + name: text for name, text in variables.items()}, role=role)


def refusal(role: Role, **variables: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        start(role, **(SECRETS | variables))
    return caught.value.detail


@pytest.mark.parametrize("kind", ["s3", "disk"])
@pytest.mark.parametrize(
    ("role", "needed"),
    [
        (
            Role.api,
            {"s3": "DATABASE_PASSWORD S3_ACCESS_KEY S3_SECRET_KEY", "disk": "DATABASE_PASSWORD DISK_SIGNING_KEY"},
        ),
        (Role.worker, {"s3": "DATABASE_PASSWORD S3_ACCESS_KEY S3_SECRET_KEY", "disk": "DATABASE_PASSWORD"}),
        (Role.operator, {"s3": "DATABASE_PASSWORD S3_ACCESS_KEY S3_SECRET_KEY", "disk": "DATABASE_PASSWORD"}),
        (Role.migrate, {"s3": "DATABASE_PASSWORD", "disk": "DATABASE_PASSWORD"}),
        (Role.keys, {"s3": "DATABASE_PASSWORD", "disk": "DATABASE_PASSWORD"}),
        (Role.client, {"s3": "", "disk": ""}),
    ],
)
def test_a_role_demands_the_secrets_it_uses_and_no_others(role: Role, needed: dict[str, str], kind: str) -> None:
    secrets = dict.fromkeys(needed[kind].split(), "x")
    start(role, STORE_KIND=kind, **secrets)
    for name in secrets:
        sentence = refusal(role, STORE_KIND=kind, **{name: ""})
        assert sentence.startswith(f"AUDIO_TEXT_{name} is not set: {role} needs it")


def test_the_mail_password_is_demanded_where_mail_is_sent_once_there_is_a_mail_user() -> None:
    assert "AUDIO_TEXT_MAIL_PASSWORD is not set" in refusal(Role.worker, MAIL_USER="me", MAIL_PASSWORD="")
    start(Role.api, **(SECRETS | {"MAIL_USER": "me", "MAIL_PASSWORD": ""}))


def test_a_mail_password_does_not_leave_the_machine_readable() -> None:
    mail = {"MAIL_USER": "me", "MAIL_SECURITY": "none"}
    assert 'mail.security is "none"' in refusal(Role.worker, **mail, MAIL_HOST="mail.example")
    start(Role.worker, **(SECRETS | mail | {"MAIL_HOST": "localhost"}))


@pytest.mark.parametrize(
    "text", ["https://app.example/", "*", "null", "app.example", "https://*.app.example", "https://b\u00fccher.example"]
)
def test_an_allowed_origin_is_one_that_a_browser_could_send(text: str) -> None:
    sentence = refusal(Role.api, ACCESS_ALLOWED_ORIGINS=text, API_CORS_ORIGINS="")
    assert f'access.allowed_origins has "{text}"' in sentence


def test_pages_that_may_not_call_may_not_read_answers_either() -> None:
    sentence = refusal(Role.api, ACCESS_ALLOWED_ORIGINS="https://app.example")
    assert 'api.cors_origins has "*" (by default), while access.allowed_origins' in sentence
    start(Role.api, **(SECRETS | dict.fromkeys(("ACCESS_ALLOWED_ORIGINS", "API_CORS_ORIGINS"), "https://app.example")))
    start(Role.api, **(SECRETS | {"API_CORS_ORIGINS": "https://*.app.example,http://localhost:*"}))


def test_the_secret_of_the_edge_is_long_enough_or_not_there() -> None:
    assert "AUDIO_TEXT_EDGE_SECRET has 5 characters" in refusal(Role.api, EDGE_SECRET="a" * 32 + ",short")
    start(Role.api, **(SECRETS | {"EDGE_SECRET": "a" * 32}))
    start(Role.worker, **(SECRETS | {"EDGE_SECRET": "short"}))


@pytest.mark.parametrize(
    ("variable", "key"),
    [("STORE_ORPHAN_DAYS", "store.orphan_days"), ("JOB_KEEP_FAILED_AUDIO_DAYS", "job.keep_failed_audio_days")],
)
@pytest.mark.parametrize("role", [Role.api, Role.worker])
def test_the_bucket_may_not_remove_what_is_needed(role: Role, variable: str, key: str) -> None:
    sentence = refusal(role, **{variable: "100", "S3_LIFECYCLE_DAYS": "100"})
    assert f"must be far more than {key}, 100 (in AUDIO_TEXT_{variable})" in sentence
    harmless = {"STORE_KIND": "disk"}, {"S3_LIFECYCLE_DAYS": "0"}, {"JOB_KEEP_AUDIO": "true"}
    for change in (*harmless, {"S3_LIFECYCLE_DAYS": "101"}):
        start(role, **(SECRETS | {variable: "100", "S3_LIFECYCLE_DAYS": "100"} | change))


API_MISTAKES = {
    "JOB_DEFAULT_MODEL": ("bsae", 'job.default_model names "bsae" (in AUDIO_TEXT_JOB_DEFAULT_MODEL)'),
    "UPLOAD_EXTENSIONS": ("mp3,.WAV", 'upload.extensions has ".WAV"'),
    "ACCESS_TRUSTED_PROXIES": ("10.0.0.0/8,10.1/8", 'access.trusted_proxies has "10.1/8"'),
    "API_CORS_ORIGINS": ("https://app.example/", 'api.cors_origins has "https://app.example/"'),
    "OPENAI_ALIASES_WHISPER_1": ("larg-v3", 'openai.aliases.whisper-1 names "larg-v3"'),
}
WORKER_MISTAKES = {
    "ENGINE_PRELOAD": ("base,tinny", 'engine.preload names "tinny" (in AUDIO_TEXT_ENGINE_PRELOAD)'),
    "TIERS_AUDIO_LARGE_HARD_LIMIT_SECONDS": (
        "5",
        "tiers.audio_large.soft_limit_seconds (by default) must not be larger",
    ),
    "WORKER_LEASE_SECONDS": ("5", "must be more than database.timeout_seconds, 10"),
}
MODEL_MISTAKES = {
    "MODELS_TINY_EN_TIER": ("audio_smal", 'models."tiny.en".tier is "audio_smal"'),
    "DATABASE_POOL_MIN": ("11", "database.pool_min (in AUDIO_TEXT_DATABASE_POOL_MIN) must not be larger"),
}


@pytest.mark.parametrize("variable", [*API_MISTAKES, *MODEL_MISTAKES])
def test_the_api_checks_what_it_reads(variable: str) -> None:
    text, sentence = (API_MISTAKES | MODEL_MISTAKES)[variable]
    assert sentence in refusal(Role.api, **{variable: text})


@pytest.mark.parametrize("variable", [*WORKER_MISTAKES, *MODEL_MISTAKES])
def test_a_worker_checks_what_it_reads(variable: str) -> None:
    text, sentence = (WORKER_MISTAKES | MODEL_MISTAKES)[variable]
    assert sentence in refusal(Role.worker, **{variable: text})


def test_no_role_fails_on_what_only_another_reads() -> None:
    start(Role.worker, **SECRETS, **{variable: text for variable, (text, _) in API_MISTAKES.items()})
    start(Role.api, **SECRETS, **{variable: text for variable, (text, _) in WORKER_MISTAKES.items()})
    everything = API_MISTAKES | WORKER_MISTAKES | {"MODELS_DEMO_TIER": ("nowhere", "")}
    for role in (Role.migrate, Role.client):
        start(role, **SECRETS, **{variable: text for variable, (text, _) in everything.items()})


def test_a_refusal_names_what_is_allowed_and_what_was_probably_meant() -> None:
    sentence = refusal(Role.api, JOB_DEFAULT_MODEL="bsae")
    assert "allowed are demo, tiny, tiny.en, base" in sentence
    assert sentence.endswith("Did you mean base?")


def test_the_default_model_must_be_offered() -> None:
    assert "[models] does not list it" in refusal(Role.api, MODELS_BASE_SOURCE="")


def test_a_name_of_openais_stands_for_the_default_model_or_another_and_any_other_for_itself() -> None:
    settings = make_settings({"openai.aliases": {"whisper-1": "", "big": "large-v3"}})
    names = ("whisper-1", "big", "tiny", "unknown")
    assert [settings.model_behind(name) for name in names] == ["base", "large-v3", "tiny", "unknown"]


def test_the_fallback_tier_must_exist() -> None:
    settings = make_settings()
    tiers = {name: tier for name, tier in settings.tiers.items() if name != "audio_processing"}
    found = list(problems(msgspec.structs.replace(settings, tiers=tiers), Role.worker, lambda _: "by default"))
    assert any(sentence.startswith("tiers.audio_processing is missing") for sentence in found)


@pytest.mark.parametrize(
    ("model", "tier"),
    [
        ("tiny", "audio_small"),
        ("base.en", "audio_small"),
        ("medium", "audio_medium"),
        ("large-v3", "audio_large"),
        ("distil-large-v3", "audio_processing"),
        ("turbo", "audio_processing"),
    ],
)
def test_a_model_is_served_by_its_tier(model: str, tier: str) -> None:
    assert make_settings().route(model) == tier


@pytest.mark.parametrize("model", ["", "bsae", "/etc/passwd", "Systran/faster-whisper-tiny", "../base", "BASE"])
def test_a_model_that_is_not_listed_is_refused_with_what_is_offered(model: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        make_settings().route(model)
    assert "Offered: demo, tiny, tiny.en, base" in caught.value.detail


def test_a_near_miss_is_answered_with_the_model_that_was_meant() -> None:
    with pytest.raises(UnknownModelError, match='Did you mean "large-v3"'):
        make_settings().route("large_v3")


@pytest.mark.parametrize("role", [Role.api, Role.worker])
def test_a_network_that_is_none_is_named(role: Role) -> None:
    for network in ("10.0.0.0/33", "10.0.0.1/8", "intranet"):
        assert f'remote.allowed_networks has "{network}"' in refusal(role, REMOTE_ALLOWED_NETWORKS=network)
    start(role, **SECRETS, REMOTE_ALLOWED_NETWORKS="10.20.0.0/16,fd00::/8")


@pytest.mark.parametrize("role", [Role.api, Role.worker])
def test_nobody_can_be_allowed_to_read_the_bucket_of_all_uploads(role: Role) -> None:
    assert "remote.allowed_buckets" in refusal(role, STORE_KIND="s3", REMOTE_ALLOWED_BUCKETS="calls,audio-text")
    start(role, **SECRETS, STORE_KIND="s3", REMOTE_ALLOWED_BUCKETS="calls")
