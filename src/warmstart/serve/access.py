"""What the routes depend on: the service, and a key that allows what is asked."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from warmstart.serve.keys import Holder
from warmstart.serve.service import Service


def service_of(request: Request) -> Service:
    """The service behind the application."""
    return request.app.state.service


TheService = Annotated[Service, Depends(service_of)]


_bearer = HTTPBearer(auto_error=False, description="An API key, as `warmstart keys` makes it.")
_Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def _needs(scope: str) -> Callable[[Request, _Bearer], Holder]:
    # async: a function without it would be sent to a thread for every request
    async def check(request: Request, _: _Bearer) -> Holder:
        address = request.client.host if request.client else ""
        keys = service_of(request).keys
        return keys.check(request.headers.get("Authorization"), scope, address)

    return check  # pyright: ignore[reportReturnType]


Reader = Annotated[Holder, Depends(_needs("read"))]
Writer = Annotated[Holder, Depends(_needs("write"))]
Admin = Annotated[Holder, Depends(_needs("admin"))]
