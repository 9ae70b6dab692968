"""Which worker processes to run: groups of tiers, each one process with one model in memory for all its threads."""

import os
import socket
from collections.abc import Collection

import msgspec

from audio_text.errors import ConfigurationError
from audio_text.settings import Settings, WorkerMode


class WorkerGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process: the tiers whose queues it listens to, and how many jobs it runs at once."""

    name: str
    tiers: tuple[str, ...]
    concurrency: int


def process_name() -> str:
    """Name this process among those of all machines that are alive."""
    return f"{socket.gethostname()}:{os.getpid()}"


def owner_name(group: WorkerGroup, *, keeper: str = "") -> str:
    """Name the one process at a time that its keeper (this process, if none is named) has running for the group."""
    return f"{keeper or process_name()}/{group.name}"


def worker_groups(settings: Settings, tiers: Collection[str] = ()) -> list[WorkerGroup]:
    """One group per named tier; with none named, what the mode says. Raises ConfigurationError for an unknown tier."""
    unknown = sorted(set(tiers) - set(settings.tiers))
    if unknown:
        raise ConfigurationError(f"There is no tier {unknown[0]!r}. The settings have: {', '.join(settings.tiers)}.")
    if not tiers and settings.worker.mode is WorkerMode.default:
        everything = tuple(settings.tiers)
        return [WorkerGroup(name="default", tiers=everything, concurrency=settings.worker.default_concurrency)]
    return [
        WorkerGroup(name=tier, tiers=(tier,), concurrency=settings.tiers[tier].concurrency)
        for tier in tiers or settings.tiers
    ]
