"""`audio-text`: what people read and scripts can trust."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from audio_text.__main__ import run
from audio_text.cli import COMMANDS, Doorway, cli
from audio_text.settings.keys import PREFIX, RESERVED

ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}  # noqa: TID251 -- a child's


def audio_text(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "audio_text", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=ENVIRON | environ)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A command `act` that does what the text in this file says."""
    (tmp_path / "acting.py").write_text("""
import asyncio, sys
import click
from audio_text.errors import *

@click.command()
@click.argument("deed")
def act(deed):
    return eval(deed, globals())

def fail(error):
    raise error

def fail_together(*errors):
    raise BaseExceptionGroup("tasks", [ExceptionGroup("inner", list(errors))])
""")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acting", raising=False)
    monkeypatch.setitem(COMMANDS, "act", Doorway("acting:act", "Act."))
    return "act"


@pytest.mark.parametrize(
    ("deed", "code", "told"),
    [
        ("None", 0, ""),
        ("3", 3, ""),
        ("click.get_current_context().exit(4)", 4, ""),
        ("fail(ConfigurationError('Set x.'))", 2, "error: Set x.\n"),
        ("fail(JobNotFoundError())", 1, "error: There is no job with this id.\n"),
        ("fail(click.ClickException('No.'))", 1, "error: No.\n"),
        ("fail(KeyboardInterrupt())", 130, "\n"),
        ("fail(click.Abort())", 130, ""),
        ("fail_together(JobNotFoundError('A.'), JobStateError('B.'))", 1, "error: A.\nerror: B.\n"),
        ("fail_together(JobNotFoundError('A.'), ConfigurationError('B.'))", 2, "error: A.\nerror: B.\n"),
    ],
)
def test_a_failure_is_a_sentence_and_an_exit_code(
    command: str, capsys: pytest.CaptureFixture[str], *, deed: str, code: int, told: str
) -> None:
    assert run([command, deed]) == code
    assert capsys.readouterr().err == told


def test_a_command_may_exit_by_itself(command: str) -> None:
    with pytest.raises(SystemExit, match="7"):
        run([command, "sys.exit(7)"])


def test_a_bug_is_not_dressed_up_as_a_sentence(command: str) -> None:
    with pytest.raises(ZeroDivisionError):
        run([command, "1 / 0"])
    with pytest.raises(BaseExceptionGroup, match="tasks"):
        run([command, "fail_together(JobNotFoundError(), ValueError())"])


def test_wrong_usage_is_exit_code_2_with_a_hint(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command]) == 2
    told = capsys.readouterr().err
    assert "Try `audio-text act --help`." in told
    assert told.endswith("error: Missing argument 'DEED'.\n")


def test_an_unknown_command_is_answered_with_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["wroker"]) == 2
    assert "error: There is no command 'wroker'. Did you mean worker?" in capsys.readouterr().err


def test_a_command_whose_packages_are_missing_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "needing.py").write_text("import a_package_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(COMMANDS, "api", Doorway("needing:api", "Run.", "api"))
    assert run(["api"]) == 2
    told = capsys.readouterr().err
    assert told == "error: `audio-text api` needs a_package_that_is_not_there: pip install 'audio-text[api]'.\n"


def test_a_module_of_our_own_that_is_missing_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "api", Doorway("audio_text.cli.absent:api", "Run.", "api"))
    with pytest.raises(ModuleNotFoundError):
        run(["api"])


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_listed_with_a_line_and_has_a_help_of_its_own(name: str) -> None:
    context = click.Context(cli, info_name="audio-text")
    line = next(line for line in cli.get_help(context).splitlines() if line.strip().startswith(f"{name} "))
    assert line.endswith(".")
    assert len(line) <= 80
    command = cli.get_command(context, name)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert len(command.help or "") > 40


def test_every_variable_that_an_option_reads_is_reserved() -> None:
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            named = [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar or []
            assert {variable for variable in named if variable.startswith(PREFIX)} <= RESERVED.keys()


def test_the_version_is_that_of_the_package() -> None:
    finished = audio_text("--version")
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.startswith("audio-text ")


def test_a_settings_file_named_on_the_command_line_is_used(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[api]\nport = 4000\n")
    finished = audio_text("--settings", str(file), "settings")
    assert f"api.port\t4000\t{file}" in finished.stdout.splitlines()


def test_a_settings_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    finished = audio_text("--settings", str(tmp_path / "absent.toml"), "settings")
    assert finished.returncode == 2
    assert "does not exist" in finished.stderr


@pytest.mark.parametrize("role", ["api", "worker", "migrate"])
def test_a_role_without_its_secrets_ends_with_2_and_names_the_variable(role: str) -> None:
    finished = audio_text(role)
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert "AUDIO_TEXT_DATABASE_PASSWORD is not set" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_worker_for_a_tier_that_does_not_exist_ends_with_2() -> None:
    finished = audio_text("worker", "audio_huge", AUDIO_TEXT_DATABASE_PASSWORD="x", AUDIO_TEXT_STORE_KIND="disk")
    assert finished.returncode == 2
    assert "audio_huge" in finished.stderr
    assert "audio_small" in finished.stderr
