"""Errors as the API tells them: problem details (RFC 9457), one form for all.

``errors`` names each wrong field by a JSON pointer, with the value seen and what is allowed.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from warmstart.errors import WarmstartError
from warmstart.serve.keys import AccessError
from warmstart.serve.service import BusyError
from warmstart.serve.store import StoreError

MEDIA = "application/problem+json"
_SHOWN = 200  # characters of a value that was wrong


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


def told(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Problems with these statuses, for the description of routes that answer with them."""
    return {status: {"model": ProblemDetails, **_DESCRIBED[status]} for status in statuses}


def _described(description: str, **headers: str) -> dict[str, Any]:
    said = {name: {"description": d, "schema": {"type": "string"}} for name, d in headers.items()}
    return {"description": description, **({"headers": said} if said else {})}


_AGAIN = {"Retry-After": "seconds"}
_DESCRIBED = {
    400: _described("The body is no JSON."),
    401: _described("No API key, or one that is not known.", **{"WWW-Authenticate": "Bearer"}),
    403: _described("The key does not allow this."),
    404: _described("There is no such thing."),
    413: _described("The body is too long."),
    415: _described("The body must be application/json."),
    422: _described("Fields are wrong or missing; `errors` says which."),
    429: _described("Too many requests with one key, or too many items that wait.", **_AGAIN),
    503: _described("The store does not answer; nothing was written.", **_AGAIN),
}


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
            return respond(request, convert(request, error))

        return handle

    kinds = {
        Problem: lambda _, error: error,
        RequestValidationError: _invalid,
        HTTPException: _refused,
        AccessError: _denied,
        BusyError: _busy,
        StoreError: lambda _, e: Problem(503, str(e), headers={"Retry-After": "1"}),
        WarmstartError: lambda _, e: Problem(422, str(e)),
    }
    for kind, convert in kinds.items():
        app.add_exception_handler(kind, handler(convert))


def _invalid(request: Request, error: RequestValidationError) -> Problem:
    found = error.errors()
    if any(entry["loc"][0] == "body" for entry in found):
        kind = request.headers.get("content-type", "")
        if error.body and not _is_json(kind):
            allowed = f"the body must be application/json, got {kind[:_SHOWN] or 'no content type'}"
            return Problem(415, allowed)
        if found[0]["type"] == "json_invalid":
            reason, at = found[0]["ctx"]["error"], found[0]["loc"][1]
            return Problem(400, f"the body is no JSON: {reason} at character {at}")
    problem, fields = Problem(422, "the request has wrong or missing fields"), {}
    for entry in found:
        pointer = _pointer(entry, error.body)
        said, _ = fields.get(pointer, ([], None))
        fields[pointer] = ([*said, entry["msg"]], entry.get("input"))
    for pointer, (said, seen) in fields.items():
        problem.errors.append(field_error(pointer, "; or: ".join(dict.fromkeys(said)), seen))
    return problem


def _refused(request: Request, error: HTTPException) -> Problem:
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))  # the router tells those of one route only
    return Problem(error.status_code, str(error.detail), headers=headers)


def _methods(request: Request) -> list[str]:
    """What may be done with this path."""
    found = []
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            found.append(method)
    return found


def _is_json(kind: str) -> bool:
    kind = kind.partition(";")[0].strip().lower()
    return kind.startswith("application/") and kind.endswith(("/json", "+json"))


def _pointer(entry: Mapping[str, Any], body: Any) -> str:
    """Where it is wrong; behind the place in the body, pydantic names what it tried there."""
    place, *rest = entry["loc"]
    if place != "body":
        return "/".join([f"#{place}", *map(str, rest)])
    parts = ["#"]
    for part in rest:
        inside = isinstance(body, Mapping) or (
            isinstance(body, Sequence) and isinstance(part, int) and not isinstance(body, str)
        )
        if isinstance(body, Mapping) and part not in body:
            if entry["type"] == "missing":
                parts.append(str(part))
            break
        if not inside:
            break
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
        body = body[part]
    return "/".join(parts)


def _denied(_: Request, error: AccessError) -> Problem:
    headers = {}
    if error.status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    if error.status == 429:
        headers = {"Retry-After": str(ceil(error.retry_after))}
    return Problem(error.status, error.detail, headers=headers)


def _busy(_: Request, error: BusyError) -> Problem:
    return Problem(429, str(error), headers={"Retry-After": str(ceil(error.retry_after))})
