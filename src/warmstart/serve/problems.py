"""Errors as the API tells them: problem details (RFC 9457), one form for all.

``errors`` names each wrong field by a JSON pointer, with the value seen and what is allowed.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from warmstart.errors import ConfigError, DataError, WarmstartError
from warmstart.serve.keys import AccessError
from warmstart.serve.service import BusyError
from warmstart.serve.store import StoreError

MEDIA = "application/problem+json"
_SHOWN = 200  # characters of a value that was wrong

log = structlog.get_logger("warmstart.serve")


class FieldError(BaseModel):
    """One wrong field: where, what was seen, what is allowed."""

    pointer: str
    detail: str
    seen: str


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldError] = []


class Problem(Exception):
    """A request that cannot be answered.

    Args:
        status: of HTTP.
        detail: what is wrong, with the value seen and what is allowed.
        pointer: the field, as a JSON pointer.
        seen: its value.
        headers: to send along.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        pointer: str | None = None,
        seen: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})
        self.errors = [] if pointer is None else [field_error(pointer, detail, seen)]


def field_error(pointer: str, detail: str, seen: Any) -> dict[str, str]:
    """One entry of ``errors``; a long value is cut."""
    shown = repr(seen)
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
    return {"pointer": pointer, "detail": detail, "seen": shown}


def respond(request: Request, problem: Problem) -> Response:
    """The answer; plain ASCII, so that whatever was sent can be quoted."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.url.path,
        "errors": problem.errors,
    }
    return Response(json.dumps(body), problem.status, problem.headers, MEDIA)


def install(app: FastAPI) -> None:
    """Answer every error of the app as a problem."""

    def handler(convert: Any) -> Any:
        async def handle(request: Request, error: Exception) -> Response:
            return respond(request, convert(error))

        return handle

    kinds = {
        Problem: lambda error: error,
        RequestValidationError: _invalid,
        HTTPException: lambda e: Problem(e.status_code, str(e.detail), headers=e.headers),
        AccessError: _denied,
        BusyError: _busy,
        StoreError: lambda e: Problem(503, str(e), headers={"Retry-After": "1"}),
        DataError: lambda e: Problem(422, str(e)),
        ConfigError: lambda e: Problem(422, str(e)),
        WarmstartError: lambda e: Problem(422, str(e)),
    }
    for kind, convert in kinds.items():
        app.add_exception_handler(kind, handler(convert))
    app.add_exception_handler(Exception, handler(_unexpected))


def _invalid(error: RequestValidationError) -> Problem:
    problem = Problem(422, "the request has wrong or missing fields")
    for entry in error.errors():
        place, *rest = entry["loc"]
        pointer = "/".join(["#" if place == "body" else f"#{place}", *map(str, rest)])
        problem.errors.append(field_error(pointer, entry["msg"], entry.get("input")))
    return problem


def _denied(error: AccessError) -> Problem:
    headers = {}
    if error.status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    if error.status == 429:
        headers = {"Retry-After": str(ceil(error.retry_after))}
    return Problem(error.status, error.detail, headers=headers)


def _busy(error: BusyError) -> Problem:
    return Problem(429, str(error), headers={"Retry-After": str(ceil(error.retry_after))})


def _unexpected(error: Exception) -> Problem:
    log.error("request failed", exc_info=error)
    return Problem(500, "the service failed at this request; the log says where")
