"""Around every request: an id, a line in the log, a measurement, a bound on the body."""

import time
import uuid
from collections.abc import MutableMapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from warmstart.serve import metrics
from warmstart.serve.problems import Problem, respond

log = structlog.get_logger("warmstart.access")


class Observed:
    """Gives each request an id (the client's X-Request-Id if it is a sane one), logs and measures.

    Nothing of the query, the headers or the body is logged: they may hold secrets.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name, started, status = _request_id(scope), time.perf_counter(), _NONE
        structlog.contextvars.bind_contextvars(request=name)

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", name.encode())]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except Exception:
            log.exception("request failed")  # here, where the line still has the request's id
            if status != _NONE:
                raise  # half of an answer is sent
            problem = Problem(500, "the service failed at this request; the log says where")
            await respond(Request(scope), problem)(scope, receive, noted)
        finally:
            seconds, route = time.perf_counter() - started, _route(scope)
            metrics.REQUESTS.labels(route, status).observe(seconds)
            tell = log.debug if route in _QUIET else log.info
            ms = round(1000 * seconds, 2)
            tell("request", method=scope["method"], route=route, status=status, ms=ms)
            structlog.contextvars.clear_contextvars()


_NONE = 499  # no answer: the client has gone
_QUIET = {"/health/live", "/health/ready", "/metrics"}


class Bounded:
    """Refuses a body that is longer than allowed, also one whose length was not told."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = dict(scope["headers"]).get(b"content-length", b"0")
        body, length = [], 0
        if told.isdigit() and int(told) <= self.limit:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return
                body.append(message.get("body", b""))
                length += len(body[-1])
                if length > self.limit or not message.get("more_body"):
                    break
        if not told.isdigit() or int(told) > self.limit or length > self.limit:
            problem = Problem(413, f"a request may have {self.limit} bytes")
            await respond(Request(scope), problem)(scope, receive, send)
            return
        whole: Message | None = {"type": "http.request", "body": b"".join(body), "more_body": False}

        async def replay() -> Message:
            nonlocal whole
            if whole is None:
                return await receive()
            message, whole = whole, None
            return message

        await self.app(scope, replay, send)


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    sane = 0 < len(given) <= 64 and given.replace("-", "").isascii()
    return given if sane and given.replace("-", "").isalnum() else uuid.uuid4().hex


def _route(scope: MutableMapping[str, Any]) -> str:
    """The path as it is declared: with ids in it, every item would be a series of its own."""
    declared = getattr(scope.get("route"), "path", None)
    if declared is None:
        return "other"
    prefix = "/v1" if scope["path"].startswith("/v1/") else ""
    return declared if declared.startswith(prefix) else prefix + declared
