"""Text that cannot be read is refused here: the framework would replace it, or take it for a failure of its own."""

from typing import Any
from urllib.parse import unquote_to_bytes

from litestar import Request
from litestar.exceptions import ClientException


class JsonRequest(Request[Any, Any, Any]):
    """A request whose JSON is the client's fault when it cannot be decoded."""

    async def json(self) -> Any:  # noqa: ANN401 -- the framework's signature
        """Decode the body."""
        try:
            return await super().json()
        except UnicodeDecodeError as error:
            raise ClientException("the body is not valid UTF-8") from error
        except RecursionError as error:
            raise ClientException("the body is nested too deeply") from error


def refuse_broken_query(request: Request[Any, Any, Any]) -> None:
    """Raise ClientException for a query that is not UTF-8: a name in it would silently become another one."""
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError as error:
        raise ClientException("the query is not valid UTF-8") from error
