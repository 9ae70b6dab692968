"""What answers of other HTTP servers mean for whoever asks: whether to try again, and when."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER_SECONDS = 86_400.0
"""A day; who asks for more patience gets no more."""

PASSING = frozenset({408, 425, 429})


def is_passing(status: int) -> bool:
    """Whether the same request may be answered otherwise later: a timeout, too many requests, or a fault of theirs."""
    return status in PASSING or status >= 500  # noqa: PLR2004 -- HTTP's own number for servers' faults


def retry_after_seconds(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Seconds that an answer asks to wait, as a number or a date (RFC 9110), a day at most; None: it does not.

    Names of headers are in lower case, or in any where the mapping knows no difference.
    """
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text) if text.isdecimal() else _until(text, now or datetime.now(UTC))
    except ValueError:
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _until(text: str, now: datetime) -> float:
    """Raises ValueError."""
    moment = parsedate_to_datetime(text)
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
