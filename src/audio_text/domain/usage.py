"""How much callers may use: how often they may ask, how many jobs they may have in work, how much audio a day."""

from datetime import UTC, date, datetime, time, timedelta

import msgspec
from msgspec.structs import replace

from audio_text.domain.job import Job

SECONDS_PER_MINUTE, SECONDS_PER_HOUR, SECONDS_PER_DAY = 60, 3_600, 86_400

OVERRUN = 1.1
"""What a day may come to, in parts of its quota, by lengths that turn out later: headers are often a little wrong."""


class Rate(msgspec.Struct, frozen=True):
    """At most `limit` requests within any `seconds`, however they are spread."""

    limit: int
    seconds: int


class Window(msgspec.Struct, frozen=True):
    """How a rate stands: what may still be asked now, and seconds until the oldest request that counts is forgotten."""

    rate: Rate
    remaining: int
    reset_seconds: float


class Hit(msgspec.Struct, frozen=True):
    """What became of a request: whether it was within every rate, and how each of them stands after it."""

    is_within: bool
    windows: tuple[Window, ...]

    @property
    def tightest(self) -> Window:
        """The window that leaves least, for longest where several leave as little."""
        return min(self.windows, key=lambda window: (window.remaining, -window.reset_seconds))


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """What a key may have: so many jobs that wait or run, and so many seconds of audio a day. None: any number.

    A recording takes `unknown_audio_seconds` of them while nobody knows its length.
    """

    key_id: str
    concurrent_jobs: int | None = None
    audio_seconds_per_day: int | None = None
    unknown_audio_seconds: int = 0

    @property
    def reserve(self) -> float | None:
        """What is reserved for a recording of unknown length; all of a day that has no more. None: seconds are free."""
        most = self.audio_seconds_per_day
        return None if most is None else float(min(self.unknown_audio_seconds, most))

    @property
    def day_limit_seconds(self) -> float | None:
        """What a day may come to when it turns out how long its recordings are."""
        return None if self.audio_seconds_per_day is None else self.audio_seconds_per_day * OVERRUN

    def seconds(self, *jobs: Job) -> float:
        """How much new jobs take of the day."""
        return sum((self.reserve or 0.0) if job.duration is None else job.duration for job in jobs)

    def held(self, job: Job) -> Job:
        """Give a new job as it is stored."""
        reserved = self.reserve if job.duration is None else None
        return replace(job, reserved_seconds=reserved, day_limit_seconds=self.day_limit_seconds)


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller may use. None: any number."""

    requests_per_minute: int | None = None
    requests_per_hour: int | None = None
    concurrent_jobs: int | None = None
    audio_seconds_per_day: int | None = None

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The rates of requests, the shortest window first."""
        windows = (SECONDS_PER_MINUTE, self.requests_per_minute), (SECONDS_PER_HOUR, self.requests_per_hour)
        return tuple(Rate(limit, seconds) for seconds, limit in windows if limit is not None)

    def quota(self, key_id: str | None, *, unknown_audio_seconds: int) -> Quota | None:
        """What a key with this allowance may have; None: whatever it wants, or there is no key."""
        if key_id is None or (self.concurrent_jobs is None and self.audio_seconds_per_day is None):
            return None
        return Quota(
            key_id=key_id,
            concurrent_jobs=self.concurrent_jobs,
            audio_seconds_per_day=self.audio_seconds_per_day,
            unknown_audio_seconds=unknown_audio_seconds,
        )


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a key has: jobs that wait or run, and seconds of audio that it submitted today.

    `reserved_seconds` of these are reserved by jobs that wait or run, for recordings of unknown length.
    """

    concurrent_jobs: int
    audio_seconds_today: float
    reserved_seconds: float = 0.0


def next_day(now: datetime) -> datetime:
    """When the day ends that the time is in, by UTC."""
    today: date = now.astimezone(UTC).date()
    return datetime.combine(today + timedelta(days=1), time(), tzinfo=UTC)
