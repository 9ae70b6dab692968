"""`audio-text worker [TIER…]`."""

import asyncio
import sys

import click

from audio_text.cli.startup import start_as
from audio_text.local.child import Child, Output
from audio_text.local.process import Command
from audio_text.local.supervisor import supervise
from audio_text.settings import Role
from audio_text.worker import run
from audio_text.worker.groups import WorkerGroup, owner_name, worker_groups

GRACE_SECONDS = 5.0
"""On top of worker.shutdown_seconds, for closing connections, before a worker process is killed."""


@click.command()
@click.argument("tiers", metavar="[TIER]...", nargs=-1)
@click.option("--name", default="", help="What to be called; two processes may not share a name. Default: host:pid.")
def worker(tiers: tuple[str, ...], name: str) -> int:
    """Run workers until SIGTERM or Ctrl-C; then running jobs are handed back.

    Without a TIER, worker.mode decides: one group on all queues, or one group for each tier. One group runs in this
    very process and ends with exit code 0 after worker.recycle_after_jobs: have it started again, as containers and
    systemd do. Several groups are processes of their own, and this one starts them again.

    A process has the jobs of a dead one that bore its name continued at once, without waiting for their leases.
    """
    settings = start_as(Role.worker)
    groups = worker_groups(settings, tiers)
    if len(groups) > 1:
        grace_seconds = settings.worker.shutdown_seconds + GRACE_SECONDS
        children = [_child(group, grace_seconds, name) for group in groups]
        return asyncio.run(supervise(children, Output(sys.stderr.buffer)))
    run.main(settings, groups[0], owner=name)
    return 0


def _child(group: WorkerGroup, grace_seconds: float, keeper: str) -> Child:
    # -P: a file in the working folder must not stand in for a library's module.
    name = owner_name(group, keeper=keeper)
    arguments = (sys.executable, "-P", "-m", "audio_text", "worker", "--name", name, *group.tiers)
    return Child(name=group.name, command=Command(arguments=arguments), grace_seconds=grace_seconds)
