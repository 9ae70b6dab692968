"""Defaults, a file over them, the environment over both; and what a mistake is answered with."""

import re
from pathlib import Path

import pytest

from audio_text.errors import ConfigurationError
from audio_text.settings import LoadedSettings, from_environment, load, resource


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


def origin(loaded: LoadedSettings, key: str) -> str:
    return next(entry.origin for entry in loaded.entries if entry.key == key)


def refusal(environ: dict[str, str], file: Path | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(environ, file=file)
    return caught.value.detail


def test_a_file_lies_over_the_defaults_and_the_environment_over_both(file: Path) -> None:
    file.write_text('[api]\nport = 4000\nhost = "0.0.0.0"\n')
    loaded = load({"AUDIO_TEXT_API_PORT": "5000"}, file=file)
    assert loaded.settings.api.port == 5000
    assert loaded.settings.api.host == "0.0.0.0"
    assert loaded.settings.api.processes == 1
    assert origin(loaded, "api.port") == "AUDIO_TEXT_API_PORT"
    assert origin(loaded, "api.host") == str(file)
    assert origin(loaded, "api.processes") == "default"


def test_the_file_may_be_named_by_its_variable(file: Path) -> None:
    file.write_text("[api]\nport = 4000\n")
    assert load({"AUDIO_TEXT_SETTINGS_FILE": str(file)}).settings.api.port == 4000


def test_an_empty_file_variable_names_no_file() -> None:
    assert load({"AUDIO_TEXT_SETTINGS_FILE": ""}).settings.api.port == 3203


def test_a_process_loads_what_it_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIO_TEXT_API_PORT", "5000")
    assert from_environment().settings.api.port == 5000


def test_variables_of_other_programs_are_none_of_our_business() -> None:
    load({"PATH": "/bin", "AUDIO_TEX": "x", "audio_text_api_prot": "1", "AUDIO_TEXTURE_DEPTH": "3"})


def test_a_secret_comes_from_its_variable() -> None:
    loaded = load({"AUDIO_TEXT_REDIS_PASSWORD": "hunter2"})
    assert loaded.settings.secrets.redis_password == "hunter2"
    assert "hunter2" not in repr(loaded)
    assert "hunter2" not in repr(loaded.settings)


@pytest.mark.parametrize("text", ["mp3,wav", " mp3 , wav ,", '["mp3", "wav"]'])
def test_a_list_is_comma_separated_or_json(text: str) -> None:
    assert load({"AUDIO_TEXT_UPLOAD_EXTENSIONS": text}).settings.upload.extensions == ("mp3", "wav")


def test_a_list_of_numbers_may_be_comma_separated_too() -> None:
    assert load({"AUDIO_TEXT_OPTIONS_TEMPERATURE": "0,0.5"}).settings.options.temperature == (0.0, 0.5)


def test_an_empty_list_is_empty_text() -> None:
    assert load({"AUDIO_TEXT_API_CORS_ORIGINS": ""}).settings.api.cors_origins == ()


def test_optional_keys_that_no_file_names_can_be_set_and_emptied(file: Path) -> None:
    file.write_text('[options]\nlanguage = "de"\nclip_end_seconds = 10\n')
    assert load({}, file=file).settings.options.language == "de"
    emptied = load({"AUDIO_TEXT_OPTIONS_LANGUAGE": "", "AUDIO_TEXT_OPTIONS_CLIP_END_SECONDS": ""}, file=file)
    assert emptied.settings.options.language is None
    assert emptied.settings.options.clip_end_seconds is None
    assert load({"AUDIO_TEXT_OPTIONS_HOTWORDS": "Litestar"}).settings.options.hotwords == "Litestar"


def test_a_file_may_add_a_tier_and_a_model(file: Path) -> None:
    file.write_text("""
        [tiers.gpu]
        concurrency = 8
        max_instances = 2
        soft_limit_seconds = 60
        hard_limit_seconds = 90
        retry = { retries = 1, first_delay_seconds = 0, step_seconds = 5, max_delay_seconds = 5 }
        [models]
        "my.model" = { source = "/srv/model", tier = "gpu" }
    """)
    loaded = load({"AUDIO_TEXT_TIERS_GPU_RETRY_RETRIES": "4", "AUDIO_TEXT_MODELS_MY_MODEL_SOURCE": "/x"}, file=file)
    assert loaded.settings.tiers["gpu"].retry.retries == 4
    assert loaded.settings.models["my.model"].source == "/x"
    assert loaded.settings.route("my.model") == "gpu"
    assert "tiny" in loaded.settings.models


def test_the_environment_alone_may_add_a_model_as_json() -> None:
    loaded = load(
        {
            "AUDIO_TEXT_MODELS": '{"mine": {"source": "org/name"}, "demo": {"tier": "audio_large"}}',
            "AUDIO_TEXT_MODELS_MINE_TIER": "audio_medium",
        }
    )
    assert loaded.settings.models["mine"].source == "org/name"
    assert loaded.settings.models["mine"].tier == "audio_medium"
    assert loaded.settings.models["demo"].source == "builtin:demo"
    assert loaded.settings.models["demo"].tier == "audio_large"
    assert origin(loaded, "models.mine.source") == "AUDIO_TEXT_MODELS"


def test_the_variable_of_one_value_wins_over_that_of_its_table() -> None:
    environ = {"AUDIO_TEXT_OPTIONS_VAD_THRESHOLD": "0.3", "AUDIO_TEXT_OPTIONS_VAD": '{"threshold": 0.7}'}
    assert load(environ).settings.options.vad.threshold == 0.3


def test_a_model_whose_source_is_emptied_is_not_offered_but_still_explained() -> None:
    loaded = load({"AUDIO_TEXT_MODELS_DEMO_SOURCE": ""})
    assert "demo" not in loaded.settings.models
    assert origin(loaded, "models.demo.source") == "AUDIO_TEXT_MODELS_DEMO_SOURCE"


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("API_PORT", "99999", 'api.port is "99999" in AUDIO_TEXT_API_PORT: it must be a whole number from 1 to 65535.'),
        ("API_PORT", "", "a whole number from 1 to 65535"),
        ("API_PORT", "3203.5", "a whole number"),
        ("API_DOCS", "yes", "true or false"),
        ("API_HOST", "", "text that is not empty"),
        ("API_PUBLIC_URL", "example.org", "an address that begins with http:// or https://, or empty"),
        ("S3_ENDPOINT", "http://store\n", "an address"),
        ("API_CORS_ORIGINS", "[1]", "a list, each text"),
        ("OPTIONS_TEMPERATURE", "0,2", "a list of 1 to 10 values, each a number from 0 to 1"),
        ("OPTIONS_TEMPERATURE", "[", "a list of 1 to 10 values"),
        ("OPTIONS_LANGUAGE", "English", "text like ^[a-z]{2,3}$, or empty"),
        ("OPTIONS_HOTWORDS", "x" * 4001, "text of at most 4000 characters, or empty"),
        ("OPTIONS_CLIP_END_SECONDS", "0", "a number above 0 and at most 1000000, or empty"),
        ("OPTIONS_VAD_THRESHOLD", "nan", "a number above 0 and below 1"),
        ("OPTIONS_TASK", "summarise", "transcribe or translate"),
        ("OPTIONS_VAD", "[]", "a table"),
        ("OPTIONS_VAD", "{", "a table"),
        ("EVENTS_PING_SECONDS", "inf", "a number above 0"),
        ("STORE_KIND", "nfs", "disk or s3"),
        ("ENGINE_DEVICE", "tpu", "auto, cpu or cuda"),
        ("ENGINE_COMPUTE_TYPE", "int4", "int8_float16"),
        ("WORKER_MODE", "both", "default or multi-queue"),
        ("WORKER_LEASE_SECONDS", "2", "a number at least 3"),
        ("LOG_LEVEL", "loud", "debug, error, info or warning"),
        ("LOG_FORMAT", "xml", "console or json"),
    ],
)
def test_a_wrong_value_is_answered_with_key_variable_and_what_is_allowed(
    variable: str, text: str, allowed: str
) -> None:
    sentence = refusal({f"AUDIO_TEXT_{variable}": text})
    assert allowed in sentence
    assert f"AUDIO_TEXT_{variable}" in sentence
    assert len(sentence) < 500


def test_a_wrong_value_in_a_file_is_answered_with_the_file(file: Path) -> None:
    file.write_text('[api]\nport = "80"\n')
    assert refusal({}, file) == f'api.port is "80" in {file}: it must be a whole number from 1 to 65535.'


def test_a_value_where_a_table_belongs_is_refused(file: Path) -> None:
    file.write_text("api = 1\n")
    assert refusal({}, file) == f"api is 1 in {file}: it must be a table."


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("AUDIO_TEXT_API_PROT", "Did you mean AUDIO_TEXT_API_PORT?"),
        ("AUDIO_TEXT_DATABASE_PASWORD", "Did you mean AUDIO_TEXT_DATABASE_PASSWORD?"),
        ("AUDIO_TEXT_TIERS_AUDOI_LARGE_CONCURRENCY", "Did you mean AUDIO_TEXT_TIERS_AUDIO_LARGE_CONCURRENCY?"),
        ("AUDIO_TEXT_SETTING_FILE", "Did you mean AUDIO_TEXT_SETTINGS_FILE?"),
        ("AUDIO_TEXT_DB_HOST_ENV", "--import-env"),
        ("AUDIO_TEXT_API_SERVICE_HOST", "enableServiceLinks: false"),
        ("AUDIO_TEXT_QQQ", "`audio-text settings` lists all of them."),
    ],
)
def test_an_unknown_variable_is_refused_with_a_hint(name: str, hint: str) -> None:
    sentence = refusal({name: "1"})
    assert name in sentence
    assert hint in sentence


def test_a_kubernetes_service_link_is_recognised_in_a_known_variable() -> None:
    assert "enableServiceLinks: false" in refusal({"AUDIO_TEXT_API_PORT": "tcp://10.0.0.1:3203"})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[api]\nprot = 1", "There is no setting api.prot (in {file}). Did you mean port?"),
        ("[qqq]\n", "There is no setting qqq (in {file}). Known there: api, access"),
        (
            "[models.x]\nsource = 'a'\npath = 1",
            "There is no setting models.x.path (in {file}). Known there: source, tier",
        ),
        ("[options]\nvad.speed = 1", "There is no setting options.vad.speed (in {file})."),
    ],
)
def test_an_unknown_key_in_a_file_is_refused_with_a_hint(file: Path, text: str, sentence: str) -> None:
    file.write_text(text)
    assert sentence.format(file=file) in refusal({}, file)


@pytest.mark.parametrize(
    ("text", "variable"),
    [
        ("[database]\npassword = 'x'", "AUDIO_TEXT_DATABASE_PASSWORD"),
        ("[s3]\nsecret_key = 'x'", "AUDIO_TEXT_S3_SECRET_KEY"),
        ("[secrets]\nredis_password = 'x'", "AUDIO_TEXT_REDIS_PASSWORD"),
    ],
)
def test_a_secret_in_a_file_is_refused_and_not_repeated(file: Path, text: str, variable: str) -> None:
    file.write_text(text.replace("'x'", "'hunter2'"))
    sentence = refusal({}, file)
    assert "secrets come only from the environment" in sentence
    assert variable in sentence
    assert "hunter2" not in sentence


def test_a_tier_that_is_not_complete_is_refused_with_what_it_lacks(file: Path) -> None:
    file.write_text("[tiers.gpu]\nconcurrency = 'many'\n")
    sentence = refusal({}, file)
    assert "tiers.gpu.max_instances is missing: it must be a whole number at least 1" in sentence
    assert "AUDIO_TEXT_TIERS_GPU_MAX_INSTANCES" in sentence
    assert "tiers.gpu.concurrency is missing" not in sentence


def test_a_model_without_a_source_is_refused(file: Path) -> None:
    file.write_text("[models.mine]\n")
    assert refusal({}, file).startswith("models.mine.source is missing: it must be text")


def test_all_mistakes_are_told_at_once(file: Path) -> None:
    file.write_text("[api]\nport = 0\nprot = 1\n")
    sentence = refusal({"AUDIO_TEXT_LOG_LEVEL": "loud", "AUDIO_TEXT_X": "1"}, file)
    assert all(re.search(part, sentence) for part in ("api.port", "api.prot", "log.level", "AUDIO_TEXT_X"))


@pytest.mark.parametrize("content", [b"[api\n", b"\xff\xfe", b"[api]\nport = 1\nport = 2\n"])
def test_a_file_that_is_not_toml_is_refused_by_name(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert refusal({}, file).startswith(f"The settings file {file} is not valid TOML")


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    assert refusal({}, tmp_path / "absent.toml").endswith("absent.toml cannot be read: No such file or directory.")
    assert "Is a directory" in refusal({}, tmp_path)


def test_a_missing_part_of_the_installation_is_named() -> None:
    assert resource("migrations").is_dir()
    with pytest.raises(ConfigurationError, match='"absent" is missing'):
        resource("absent")
