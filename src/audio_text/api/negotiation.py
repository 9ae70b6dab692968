"""What clients say in headers about the representation they want, and about the one they have (RFC 9110)."""

import re
from collections.abc import Sequence

from audio_text.errors import NotAcceptableError

_RANGE = re.compile(r"\s*(?P<main>[^/;\s]+)/(?P<sub>[^/;\s]+)\s*(?P<parameters>(?:;.*)?)")
_QUALITY = re.compile(r";\s*q\s*=\s*(?P<quality>[01](?:\.\d{0,3})?)\s*(?:;|$)", re.IGNORECASE)
_TAG = re.compile(r'"[^"]*"')


def preferred(accept: str, offered: Sequence[str]) -> str:
    """Choose the media type that an Accept header likes best, of several alike the first.

    Raises NotAcceptableError.
    """
    liked = {media_type: _quality(accept, media_type) for media_type in offered}
    best = max(offered, key=liked.__getitem__)
    if not liked[best]:
        raise NotAcceptableError(f"What the Accept header asks for is not offered here. Offered: {', '.join(offered)}.")
    return best


def is_known(tag: str, if_none_match: str) -> bool:
    """Whether an If-None-Match header names the tag, quotes included, as strong or as weak."""
    return if_none_match.strip() == "*" or tag in _TAG.findall(if_none_match)


def _quality(accept: str, media_type: str) -> float:
    """How much the most specific range that covers a media type says it is liked, 0-1 (section 12.5.1)."""
    covering = {media_type: 3, f"{media_type.partition('/')[0]}/*": 2, "*/*": 1}
    specificity, quality = 0, 0.0
    for match in filter(None, map(_RANGE.fullmatch, accept.split(","))):
        found = covering.get(f"{match['main']}/{match['sub']}".lower(), 0)
        if found > specificity:
            told = _QUALITY.search(match["parameters"])
            specificity, quality = found, float(told["quality"]) if told else 1.0
    return quality
