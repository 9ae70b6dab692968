import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from audio_text.errors import ConfigurationError
from audio_text.local import process, tether
from audio_text.local.process import Command, User, closed_folder, free_port, is_port_free, write_private

STRANGER = User(uid=65_534, gid=65_534)


def test_a_program_is_not_started_for_a_parent_that_has_died(tmp_path: Path) -> None:
    no_longer_our_parent = "1" if os.getpid() != 1 else "2"
    arguments = [
        no_longer_our_parent,
        str(int(signal.SIGKILL)),
        "-",
        sys.executable,
        "-c",
        "import sys; open(sys.argv[1], 'w')",
        str(tmp_path / "started"),
    ]
    ended = subprocess.run([sys.executable, "-I", "-S", tether.__file__, *arguments], check=False)
    assert ended.returncode == tether.NOT_STARTED
    assert not (tmp_path / "started").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_a_program_runs_as_its_user_with_no_groups_of_ours() -> None:
    command = Command(arguments=("/usr/bin/id",), user=STRANGER)
    told = command.run(timeout_seconds=10).stdout
    assert "uid=65534" in told
    assert "root" not in told


def test_a_program_sees_only_the_environment_it_is_given() -> None:
    command = Command(arguments=("/usr/bin/env",), environment={"ONLY": "this"})
    assert "ONLY=this" in command.run(timeout_seconds=10).stdout.splitlines()
    assert "HOME=" not in command.run(timeout_seconds=10).stdout


def test_the_first_folder_that_a_user_cannot_enter_is_named(tmp_path: Path) -> None:
    below = tmp_path / "closed" / "open"
    below.mkdir(parents=True)
    below.chmod(0o755)
    below.parent.chmod(0o700)
    owner = User(uid=os.geteuid(), gid=os.getegid())
    assert closed_folder(below, owner) is None
    assert closed_folder(below, STRANGER) is not None


def test_a_private_file_is_readable_by_its_owner_alone_also_when_it_was_open_before(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_chosen_port_can_be_listened_on_and_is_not_free_then() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert not is_port_free(port)
    assert is_port_free(port)


def test_a_port_on_an_address_that_is_not_ours_is_an_error() -> None:
    with pytest.raises(OSError, match="assign"):
        is_port_free(free_port(), "203.0.113.7")


def test_no_free_port_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        monkeypatch.setattr(process, "FIRST_PORT", port)
        monkeypatch.setattr(process, "LAST_PORT", port + 1)
        with pytest.raises(ConfigurationError, match="No free port"):
            free_port()
