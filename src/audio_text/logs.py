"""One renderer for all logs of a process: ours by structlog alone, the libraries' through the standard library.

Static event names, data in fields, times in UTC, to stderr. Whatever is bound with `structlog.contextvars`
(request_id, job_id) stands in every line. Importing this module changes nothing; `configure` does.
"""

import logging
import logging.config
import sys
from contextlib import suppress
from typing import Any, Literal

import structlog
from structlog.typing import Processor

Level = Literal["debug", "info", "warning", "error"]
Style = Literal["json", "console"]

QUIETER = {
    "httpx": "WARNING",  # logs every URL at info, presigned ones with their signature
    "httpcore": "INFO",
    "botocore": "INFO",  # logs request headers at debug, the credentials among them
    "aiobotocore": "INFO",
    "aioboto3": "INFO",
    "urllib3": "INFO",
    "asyncio": "INFO",
}
"""Loggers whose least level is not ours to lower."""


def configure(level: Level, style: Style) -> None:
    """Send all that is logged from now on to stderr: as JSON lines, or for people. May be called again."""
    logging.config.dictConfig(config(level, style))
    logging.captureWarnings(capture=True)  # a warning must not break a stream of JSON lines
    structlog.configure(
        processors=[*_shared(), *_rendering(style)],
        logger_factory=_Stderr,  # the standard library's way took a quarter of a status read's time
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,  # a second call, and a test that captures, must reach every module's logger
    )


def config(level: Level, style: Style) -> dict[str, Any]:
    """Give what `configure` sets up, as a dictConfig, for servers that insist on doing so themselves (granian)."""
    numeric = logging.getLevelNamesMapping()
    threshold = level.upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "all": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": [*_shared(), structlog.stdlib.ExtraAdder()],
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering(style)],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "all"}},
        "root": {"handlers": ["stderr"], "level": threshold},
        "loggers": {
            name: {"level": max(least, threshold, key=lambda name: numeric[name])} for name, least in QUIETER.items()
        },
    }


class _Stderr:
    """Where our own lines go, under the name of whoever logs."""

    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, line: str) -> None:
        """Write one line, as one piece. A log that cannot be written must not end what it tells of."""
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")

    debug = info = warning = error = critical = write


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.UnicodeDecoder(),
    ]


def _rendering(style: Style) -> list[Processor]:
    if style == "json":
        # Not dict_tracebacks: it shows local variables, and with them secrets.
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
        )
    ]
