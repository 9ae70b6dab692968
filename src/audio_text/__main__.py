"""The command `audio-text`."""

import sys
from collections.abc import Iterator, Sequence
from typing import cast

import click

from audio_text.cli import cli
from audio_text.errors import AudioTextError, ConfigurationError

FAILURE = 1
USAGE = 2
"""The settings or the command line cannot be used: trying again would not help."""

INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 unusable settings or arguments, 130 interrupted by Ctrl-C."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code; what went wrong is one sentence on stderr."""
    try:
        result = cli.main(list(arguments), prog_name="audio-text", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        if context is not None:
            click.echo(f"{context.get_usage()}\nTry `{context.command_path} --help`.", err=True)
        _tell(error.format_message())
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (AudioTextError, BaseExceptionGroup) as error:
        return _explain(error)
    return result if isinstance(result, int) else 0


def _explain(error: BaseException) -> int:
    """Tell our own errors, also those that a TaskGroup wrapped. What is none of ours goes on as it is: a bug."""
    errors = list(_leaves(error))
    ours = [leaf for leaf in errors if isinstance(leaf, AudioTextError)]
    if len(ours) < len(errors):
        raise error
    for leaf in ours:
        _tell(leaf.detail)
    return USAGE if any(isinstance(leaf, ConfigurationError) for leaf in ours) else FAILURE


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _tell(sentence: str) -> None:
    click.echo(f"error: {sentence}", err=True)


if __name__ == "__main__":
    main()
