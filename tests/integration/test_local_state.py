import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from audio_text.errors import ConfigurationError
from audio_text.local.environment import plan, redis_url_variables
from audio_text.local.state import default_folder, open_state


def test_a_second_instance_on_the_same_folder_is_refused_with_its_process(tmp_path: Path) -> None:
    with (
        open_state(tmp_path / "state"),
        pytest.raises(ConfigurationError, match=rf"runs on {tmp_path}/state \(process {os.getpid()}\): .* --data"),
        open_state(tmp_path / "state"),
    ):
        pass
    with open_state(tmp_path / "state"):
        pass


def test_secrets_are_made_up_once_and_only_their_owner_reads_them(tmp_path: Path) -> None:
    with open_state(tmp_path) as state:
        first = state.secrets
    with open_state(tmp_path) as state:
        assert state.secrets == first
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0


def test_a_database_whose_password_is_lost_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"secrets\.json is missing"), open_state(tmp_path):
        pass


def test_damaged_secrets_are_named(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"secrets\.json cannot be read"), open_state(tmp_path):
        pass


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be used"), open_state(tmp_path / "file"):
        pass


def test_new_folders_are_closed_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with open_state(tmp_path / "new" / "state"):
            pass
    finally:
        os.umask(before)
    others_may = 0o011 if os.geteuid() == 0 else 0
    assert (tmp_path / "new" / "state").stat().st_mode & 0o077 == others_may


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has a home")
def test_roots_data_are_where_other_users_can_be_let_in() -> None:
    assert default_folder({"XDG_DATA_HOME": "/srv/data"}) == Path("/var/lib/audio-text")


@pytest.mark.skipif(os.geteuid() == 0, reason="root has a place of its own")
def test_a_users_data_are_in_the_data_home() -> None:
    assert default_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/audio-text")
    assert default_folder({}) == Path.home() / ".local/share/audio-text"


def test_servers_that_the_caller_names_are_used_instead_of_ours(tmp_path: Path) -> None:
    with open_state(tmp_path) as state:
        servers, environment = plan(
            state, {"AUDIO_TEXT_DATABASE_HOST": "db.test", "REDIS_URL": "redis://:a%20b@redis.test:7000/3"}
        )
    assert servers == []
    assert environment["AUDIO_TEXT_DATABASE_HOST"] == "db.test"
    assert environment["AUDIO_TEXT_REDIS_HOST"] == "redis.test"
    assert environment["AUDIO_TEXT_REDIS_PASSWORD"] == "a b"


def test_what_the_caller_chose_stays(tmp_path: Path) -> None:
    chosen = {"AUDIO_TEXT_STORE_KIND": "s3", "AUDIO_TEXT_LOG_FORMAT": "json", "AUDIO_TEXT_DISK_SIGNING_KEY": "mine"}
    with open_state(tmp_path) as state:
        servers, environment = plan(state, chosen)
    assert [server.name for server in servers] == ["postgres", "redis"]
    assert chosen.items() <= environment.items()
    assert environment["AUDIO_TEXT_DISK_FOLDER"] == str(tmp_path / "audio")


@pytest.mark.parametrize("host", ["", "127.0.0.1", "::1", "localhost"])
def test_a_stack_that_only_this_machine_reaches_asks_for_no_keys_unless_somebody_chose(
    tmp_path: Path, host: str
) -> None:
    listening = {"AUDIO_TEXT_API_HOST": host} if host else {}
    with open_state(tmp_path) as state:
        assert plan(state, listening)[1]["AUDIO_TEXT_ACCESS_OPEN"] == "true"
        assert plan(state, {**listening, "AUDIO_TEXT_ACCESS_OPEN": "false"})[1]["AUDIO_TEXT_ACCESS_OPEN"] == "false"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "speech.example"])
def test_a_stack_that_others_reach_is_never_opened_by_itself(tmp_path: Path, host: str) -> None:
    with open_state(tmp_path) as state:
        assert "AUDIO_TEXT_ACCESS_OPEN" not in plan(state, {"AUDIO_TEXT_API_HOST": host})[1]


def test_a_mistake_in_the_settings_is_told_before_anything_starts(tmp_path: Path) -> None:
    with open_state(tmp_path) as state, pytest.raises(ConfigurationError, match="AUDIO_TEXT_API_PROT"):
        plan(state, {"AUDIO_TEXT_API_PROT": "1"})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost", {"HOST": "localhost", "PORT": "6379", "PASSWORD": ""}),
        ("redis://:p%40ss@[::1]:7000", {"HOST": "::1", "PORT": "7000", "PASSWORD": "p@ss"}),
        ("redis://default:x@r/4", {"HOST": "r", "PORT": "6379", "PASSWORD": "x", "QUEUE_DB": "4", "EVENTS_DB": "5"}),
    ],
)
def test_a_redis_url_is_spelled_as_settings(url: str, expected: Mapping[str, str]) -> None:
    assert redis_url_variables(url) == {f"AUDIO_TEXT_REDIS_{key}": value for key, value in expected.items()}


@pytest.mark.parametrize(
    "url", ["rediss://r", "redis://", "redis://r/name", "redis://r:port", "redis://somebody:x@r", "unix:///r.sock"]
)
def test_a_redis_url_that_settings_cannot_say_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        redis_url_variables(url)
