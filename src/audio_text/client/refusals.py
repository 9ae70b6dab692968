"""From what a service says when it refuses, to an error of the tree in `audio_text.errors`."""

from collections.abc import Iterator, Mapping

import msgspec

from audio_text.errors import AudioTextError, ServerRefusedError


class _Problem(msgspec.Struct, frozen=True):
    """What this client reads of application/problem+json (RFC 9457)."""

    detail: str
    code: str = ""
    request_id: str | None = None


def refusal(status: int, body: bytes, headers: Mapping[str, str]) -> AudioTextError:
    """Choose the class that has the answer's `code`; what no class stands for is a ServerRefusedError.

    The sentence is the service's own. A store or a proxy on the way writes none that is for a person.
    """
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(f"The server answered {status}.")
    error = _CLASSES.get(problem.code, ServerRefusedError)(problem.detail)
    if isinstance(error, ServerRefusedError):
        error.status = status
    error.request_id = problem.request_id or headers.get("X-Request-ID")
    return error


def _tree(root: type[AudioTextError]) -> Iterator[type[AudioTextError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


_CLASSES = {kind.code: kind for kind in _tree(AudioTextError)}
