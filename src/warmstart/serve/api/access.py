"""FastAPI dependencies of the routes: the service, and a key with the required scope."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from warmstart.serve.engine.service import Service
from warmstart.serve.storage.keys import Caller


def service_of(request: Request) -> Service:
    """Return the service of the application."""
    return request.app.state.service


TheService = Annotated[Service, Depends(service_of)]


_bearer = HTTPBearer(
    auto_error=False,
    description="An API key, `ws_<id>_<secret>`, made with `warmstart keys create`.",
)
_Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def _needs(scope: str) -> Callable[[Request, _Bearer], Caller]:
    # async, because FastAPI would run a plain function in a thread for every request
    async def check(request: Request, _: _Bearer) -> Caller:
        address = request.client.host if request.client else ""
        keys = service_of(request).keys
        return keys.check(request.headers.get("Authorization"), scope, address)

    return check  # pyright: ignore[reportReturnType]


Reader = Annotated[Caller, Depends(_needs("read"))]
Writer = Annotated[Caller, Depends(_needs("write"))]
Admin = Annotated[Caller, Depends(_needs("admin"))]
