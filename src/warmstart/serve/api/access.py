"""Who may do what: decided from the headers, before a byte of the body is read.

``AccessMiddleware`` identifies the caller of every request and counts it; a route declares the
permission that it needs by the type of its ``caller`` parameter, and ``GuardedRoute`` checks it.
"""

from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Annotated, Any

from anyio import current_time, fail_after
from fastapi import Depends, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from warmstart.serve.api.problems import denied, respond
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.keys import AccessError, Caller, Permission

_CALLER = "warmstart.caller"  # where the middleware leaves the caller for the route


def caller_of(request: Request) -> Caller:
    """Return the caller of a request."""
    return request.scope[_CALLER]


def service_of(request: Request) -> Service:
    """Return the service of the application."""
    return request.app.state.service


async def _service(request: Request) -> Service:  # a plain function would run in a thread
    return service_of(request)


TheService = Annotated[Service, Depends(_service)]


_bearer = HTTPBearer(
    auto_error=False,
    description="An API key, `ws_<id>_<secret>`, made with `warmstart keys create`.",
)


class _Needs:
    """A dependency that returns the caller; ``GuardedRoute`` has checked the permission."""

    def __init__(self, permission: Permission) -> None:
        self.permission: Permission = permission

    async def __call__(
        self,
        request: Request,
        _: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> Caller:
        return caller_of(request)


MayRecommend = Annotated[Caller, Depends(_Needs("recommend"))]
MayReadUsers = Annotated[Caller, Depends(_Needs("users"))]
MayReadItems = Annotated[Caller, Depends(_Needs("items"))]
MayWrite = Annotated[Caller, Depends(_Needs("write"))]
MayRecord = Annotated[Caller, Depends(_Needs("interactions"))]
MayErase = Annotated[Caller, Depends(_Needs("erase"))]
MayAdminister = Annotated[Caller, Depends(_Needs("admin"))]


class GuardedRoute(APIRoute):
    """A route that refuses callers without its permission before it reads the body.

    A body of more than ``max_body_size`` bytes, or of the setting ``max_body_bytes``, is refused:
    without reading it if its length is declared, otherwise at the limit.
    """

    def __init__(self, *arguments: Any, max_body_size: int | None = None, **options: Any) -> None:
        self._body_limit = max_body_size  # FastAPI's own limit would answer in plain text
        super().__init__(*arguments, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            return await handler(self.admitted(request))

        return guarded

    def admitted(self, request: Request) -> Request:
        """Return the request with a body that is bounded.

        Raises:
            AccessError: the caller lacks the permission.
            HTTPException: the declared length of the body is beyond the limit.
        """
        caller_of(request).require(self._permission)
        limit = service_of(request).settings.max_body_bytes
        if self._body_limit is not None:
            limit = min(limit, self._body_limit)
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise _too_large(limit)
        return Request(request.scope, _up_to(limit, request.receive))

    @cached_property
    def _permission(self) -> Permission:
        calls = [dependency.call for dependency in self.dependant.dependencies]
        (needs,) = [call for call in calls if isinstance(call, _Needs)]
        return needs.permission


class AccessMiddleware:
    """Identifies and counts the caller of every request except those of ``/health``.

    A request with a wrong key, or beyond the rate limit, is refused here, on every path. A body
    must arrive within ``body_seconds``.
    """

    def __init__(self, app: ASGIApp, service: Service, body_seconds: float) -> None:
        self.app, self._service, self._body_seconds = app, service, body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/health/"):
            await self.app(scope, receive, send)
            return
        authorization = dict(scope["headers"]).get(b"authorization")
        address = scope["client"][0] if scope.get("client") else ""
        try:
            caller = self._service.keys.identify(
                None if authorization is None else authorization.decode("latin-1"), address
            )
        except AccessError as error:
            await respond(Request(scope), denied(error))(scope, receive, send)
            return
        scope[_CALLER] = caller  # not in scope["state"], which servers may share
        await self.app(scope, _within(self._body_seconds, receive), send)


def _too_large(limit: int) -> HTTPException:
    detail = f"the body of this request may have at most {limit} bytes"
    return HTTPException(413, detail, {"Connection": "close"})


def _up_to(limit: int, receive: Receive) -> Receive:
    """Bound the size of the body."""
    left = limit

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _too_large(limit)
        return message

    return bounded


def _within(seconds: float, receive: Receive) -> Receive:
    """Bound the time from the first wait for the body to its end."""
    deadline, complete = float("inf"), False

    async def timed() -> Message:
        nonlocal deadline, complete
        if complete:
            return await receive()  # waits for the client to close the connection
        deadline = min(deadline, current_time() + seconds)
        try:
            with fail_after(max(deadline - current_time(), 0)):
                message = await receive()
        except TimeoutError:
            detail = f"the body did not arrive within {seconds:g} seconds"
            raise HTTPException(408, detail, {"Connection": "close"}) from None
        complete = not message.get("more_body")
        return message

    return timed
