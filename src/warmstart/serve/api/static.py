"""The console's files."""

from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

_HEADERS = {
    # Nothing but these files and the API, no inline script, no HTML from strings.
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "object-src 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # the files of one release belong together
}


class Console(StaticFiles):
    """The console's files, with headers that keep a shown text from running as a script."""

    def __init__(self) -> None:
        super().__init__(packages=[("warmstart.serve", "console")], html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response
