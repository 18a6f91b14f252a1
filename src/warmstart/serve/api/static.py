"""The static files of the console, served with security headers."""

from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

_HEADERS = {
    # The page may load only these files and the API; no inline scripts, no HTML from strings.
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "object-src 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # files of different releases must not be mixed
}


class Console(StaticFiles):
    """Serves the console with headers that keep displayed texts from running as scripts."""

    def __init__(self) -> None:
        super().__init__(packages=[("warmstart.serve", "console")], html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response
