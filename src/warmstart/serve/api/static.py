"""The pages of the service: the console, and the description of the API.

All their files come from installed packages. The console keeps an API key in the browser, so no
page of this origin may run a script from anywhere else.
"""

from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

_NO_SCRIPTS_FROM_TEXTS = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'; "
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # files of different releases must not be mixed
}
# The console may load only its files and the API; no inline scripts, no HTML from strings.
_CONSOLE_POLICY = _NO_SCRIPTS_FROM_TEXTS + "require-trusted-types-for 'script'"
# Swagger UI has inline styles and images, and builds HTML from the description of the API.
_DOCS_POLICY = _NO_SCRIPTS_FROM_TEXTS + "style-src 'self' 'unsafe-inline'; img-src 'self' data:"


class PackageFiles(StaticFiles):
    """Serves the files of a package with headers that keep displayed texts from running as scripts.

    Args:
        package: name of the package.
        folder: folder of the files in it.
    """

    def __init__(self, package: str, folder: str) -> None:
        super().__init__(packages=[(package, folder)], html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        is_docs = path == "docs.html"
        policy = _DOCS_POLICY if is_docs else _CONSOLE_POLICY
        response.headers.update({**_HEADERS, "Content-Security-Policy": policy})
        return response
