"""The OpenAPI document's address, and the two pages that show it; both render without asking any other host."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from string import Template

import msgspec
from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from audio_text.api.access import Access
from audio_text.api.document import openapi_document

ASSETS = Path(__file__).parent / "assets"

# Names of the package's own files only: what is asked for never becomes a path.
_MEDIA_TYPES = {
    "redoc.js": "text/javascript",
    "redoc.standalone.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "swagger.js": "text/javascript",
}
PATHS = frozenset({"/docs", "/redoc", "/openapi.json", *(f"/docs/assets/{name}" for name in _MEDIA_TYPES)})
"""Where all of it is."""

_HEADERS = {
    "Cache-Control": "public, max-age=3600",
    # Should a new version of a page want something from elsewhere, the browser does not fetch it.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>audio-text API</title>
<link rel="icon" href="data:,">
$style</head>
<body style="margin: 0">
<div id="page"></div>
<script src="/docs/assets/$library"></script>
<script src="/docs/assets/$start"></script>
</body>
</html>
""")
_STYLE = '<link rel="stylesheet" href="/docs/assets/swagger-ui.css">\n'


def routes(described: Callable[[], Sequence[ControllerRouterHandler]], version: str) -> list[ControllerRouterHandler]:
    """Give the routes of the document and its pages; `described` makes the handlers that it is about."""

    @cache
    def document() -> bytes:
        return msgspec.json.encode(openapi_document(described(), version))

    @get("/openapi.json", opt={"access": Access.public}, include_in_schema=False, sync_to_thread=True)
    def openapi() -> Response[bytes]:
        return Response(document(), media_type="application/vnd.oai.openapi+json")

    return [openapi, _swagger, _redoc, _asset]


@get("/docs", opt={"access": Access.public}, include_in_schema=False, sync_to_thread=False)
def _swagger() -> Response[str]:
    page = _PAGE.substitute(style=_STYLE, library="swagger-ui-bundle.js", start="swagger.js")
    return Response(page, media_type="text/html", headers=_HEADERS)


@get("/redoc", opt={"access": Access.public}, include_in_schema=False, sync_to_thread=False)
def _redoc() -> Response[str]:
    page = _PAGE.substitute(style="", library="redoc.standalone.js", start="redoc.js")
    return Response(page, media_type="text/html", headers=_HEADERS)


@get("/docs/assets/{name:str}", opt={"access": Access.public}, include_in_schema=False, sync_to_thread=True)
def _asset(name: FromPath[str]) -> Response[bytes]:
    if name not in _MEDIA_TYPES:
        raise NotFoundException
    return Response((ASSETS / name).read_bytes(), media_type=_MEDIA_TYPES[name], headers=_HEADERS)
