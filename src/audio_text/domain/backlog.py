"""What waits on a tier, in the order in which it will be begun, and how fast that goes."""

import msgspec

from audio_text.domain.job import Priority


class QueuePlace(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs will be begun before this one, and seconds until then; None: nobody can tell."""

    position: int
    eta_seconds: float | None


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A job that may be claimed now, and the seconds of audio that are still to be done of it."""

    job_id: str
    priority: Priority
    seconds: float


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """A tier at one moment.

    `running` jobs are in work now, with `running_seconds` of audio to go. The `real_time_factor` is that of the jobs
    that were completed last, None without any.
    """

    waiting: tuple[Waiting, ...] = ()
    running: int = 0
    running_seconds: float = 0.0
    real_time_factor: float | None = None

    def eta_seconds(self, seconds_ahead: float) -> float | None:
        """Seconds until so much audio of waiting jobs is begun; None: nobody is at work, or has been so far."""
        if not self.running or self.real_time_factor is None:
            return None
        return round((self.running_seconds + seconds_ahead) * self.real_time_factor / self.running, 1)
