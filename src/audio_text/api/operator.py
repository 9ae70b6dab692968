"""Who may use the routes of an operator: whoever knows the one token that the service was started with."""

from hmac import compare_digest
from typing import Any, cast

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import SecurityScheme

from audio_text.errors import OperatorDisabledError, UnauthorizedError
from audio_text.settings import Settings

SECURITY = "operator"

SECURITY_SCHEME = SecurityScheme(type="http", scheme="bearer", description="The service's AUDIO_TEXT_OPERATOR_TOKEN.")


def operators_only(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """Let an operator pass. Raises UnauthorizedError; OperatorDisabledError while there is no token to know."""
    token = cast("Settings", connection.app.state.settings).secrets.operator_token
    if not token:
        raise OperatorDisabledError
    scheme, _, given = connection.headers.get("Authorization", "").partition(" ")
    # As bytes, for a header may hold any: they are read as Latin-1, and a comparison of texts takes ASCII only.
    if scheme.lower() != "bearer" or not compare_digest(given.strip().encode("latin-1"), token.encode()):
        raise UnauthorizedError
