"""Middleware for every request: request id, log line, metrics."""

import time
import uuid
from collections.abc import MutableMapping
from typing import Any

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from warmstart.serve.api.problems import Problem, respond
from warmstart.serve.engine import metrics

log = structlog.get_logger("warmstart.access")


class ObservabilityMiddleware:
    """Gives each request an id, logs it and measures its duration.

    The id is the client's X-Request-Id if it has 1 to 64 ASCII letters, digits and hyphens, else a
    new one. Query, headers and body are never logged: they may contain secrets.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        name, started, status = _request_id(scope), time.perf_counter(), _CLIENT_GONE
        structlog.contextvars.bind_contextvars(request=name)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (b"x-request-id", name.encode())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("request failed")  # logged here, while the log context has the id
            if status != _CLIENT_GONE:
                raise  # a part of the response is already sent
            problem = Problem(
                500, "internal error; the service logged it with the id of this request"
            )
            await respond(Request(scope), problem)(scope, receive, send_with_id)
        finally:
            seconds, route = time.perf_counter() - started, _route(scope)
            metrics.REQUESTS.labels(route, status).observe(seconds)
            write = log.debug if route in _DEBUG_ROUTES else log.info
            ms = round(1000 * seconds, 2)
            write("request", method=scope["method"], route=route, status=status, ms=ms)
            structlog.contextvars.clear_contextvars()


_CLIENT_GONE = 499  # no response was sent
_DEBUG_ROUTES = {"/health/live", "/health/ready", "/metrics"}  # frequent: logged at DEBUG only


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    well_formed = 0 < len(given) <= 64 and given.replace("-", "").isascii()
    return given if well_formed and given.replace("-", "").isalnum() else uuid.uuid4().hex


def _route(scope: MutableMapping[str, Any]) -> str:
    """The declared path: with ids in it, metrics would have a time series for every item."""
    declared = getattr(scope.get("route"), "path", None)
    if declared is None:
        return "other"
    prefix = "/v1" if scope["path"].startswith("/v1/") else ""
    return declared if declared.startswith(prefix) else prefix + declared
