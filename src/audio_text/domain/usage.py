"""How much callers may use: how often they may ask, how many jobs they may have in work, how much audio a day."""

from datetime import UTC, date, datetime, time, timedelta

import msgspec

SECONDS_PER_MINUTE, SECONDS_PER_HOUR = 60, 3_600


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
    """What a key may have: so many jobs that wait or run, and so many seconds of audio a day. None: any number."""

    key_id: str
    concurrent_jobs: int | None = None
    audio_seconds_per_day: int | None = None


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

    def quota(self, key_id: str | None) -> Quota | None:
        """What a key with this allowance may have; None: whatever it wants, or there is no key."""
        if key_id is None or (self.concurrent_jobs is None and self.audio_seconds_per_day is None):
            return None
        return Quota(
            key_id=key_id,
            concurrent_jobs=self.concurrent_jobs,
            audio_seconds_per_day=self.audio_seconds_per_day,
        )


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a key has: jobs that wait or run, and seconds of audio that it submitted today."""

    concurrent_jobs: int
    audio_seconds_today: float


def next_day(now: datetime) -> datetime:
    """When the day ends that the time is in, by UTC."""
    today: date = now.astimezone(UTC).date()
    return datetime.combine(today + timedelta(days=1), time(), tzinfo=UTC)
