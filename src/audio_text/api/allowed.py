"""What an address allows, for whoever asks by OPTIONS."""

from typing import Any

from litestar import Request, Response
from litestar.routes import HTTPRoute


def allowed(request: Request[Any, Any, Any]) -> Response[None] | None:
    """Answer OPTIONS; None: it is another method.

    The framework's own answer names only the methods of the handler that was registered first.
    """
    if request.method != "OPTIONS":
        return None
    template = request.scope["path_template"]
    routes = [route for route in request.app.routes if isinstance(route, HTTPRoute) and route.path_format == template]
    methods = sorted({method for route in routes for method in route.methods})
    return Response(None, status_code=204, headers={"Allow": ", ".join(methods)})
