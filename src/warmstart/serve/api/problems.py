"""Errors of the API as problem details (RFC 9457).

``errors`` lists each wrong field: where it is, the value seen and what is allowed.
"""

import json
from collections.abc import Mapping
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
from warmstart.serve.api.invalid_requests import shown, wrong_fields
from warmstart.serve.engine.batcher import BusyError
from warmstart.serve.engine.conversations import ConversationLateError, ConversationsBusyError
from warmstart.serve.engine.encode_queue import QueueFullError
from warmstart.serve.engine.service import IndexFullError
from warmstart.serve.storage.database import StoreError
from warmstart.serve.storage.item_store import NotAllowedError
from warmstart.serve.storage.keys import AccessError

MEDIA = "application/problem+json"
TOO_MANY_WAITING = "too many requests of this kind are waiting"


class FieldError(BaseModel):
    """One wrong field: where it is, what is wrong, and the value as JSON, cut to 200 characters.

    ``pointer`` is a JSON pointer into the body, such as ``#/items/0/id``; for a parameter of the
    URL it is ``path.item`` or ``query.k``.
    """

    pointer: str
    detail: str
    seen: str


class ProblemDetails(BaseModel):
    """An error (RFC 9457); ``errors`` lists the wrong fields."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldError] = []


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe problem responses with these statuses, for the OpenAPI document of a route."""
    return {status: {"model": ProblemDetails, **_RESPONSES[status]} for status in statuses}


def _response(description: str, **headers: str) -> dict[str, Any]:
    schemas = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
    }
    return {"description": description, **({"headers": schemas} if schemas else {})}


_RETRY = {"Retry-After": "seconds to wait before the next attempt"}
_RESPONSES = {
    400: _response("The body is not JSON."),
    401: _response("The API key is missing, unknown or revoked.", **{"WWW-Authenticate": "Bearer"}),
    403: _response("The scope of the key does not allow this."),
    404: _response("There is no such item, user or key."),
    408: _response("The body took too long to arrive."),
    409: _response("An event id was used before for another user or item; nothing was done."),
    413: _response("The body has too many bytes."),
    415: _response("The body must be application/json."),
    422: _response("Fields are wrong or missing; `errors` lists them. Nothing was done."),
    429: _response(
        "Too many requests with this key, or too many items waiting to be encoded.", **_RETRY
    ),
    507: _response("There is no memory for more items; nothing was written."),
    503: _response(
        "The store cannot be reached or the service is not ready; nothing was written.", **_RETRY
    ),
    504: _response("The language model did not answer in time.", **_RETRY),
}


class Problem(Exception):
    """Raised to answer a request with an error.

    Args:
        status: HTTP status.
        detail: what is wrong, the value seen and what is allowed.
        pointer: the wrong field, ``#/items/0/id``, ``path.item`` or ``query.k``; None if the error
            is not about a field.
        seen: value of that field.
        headers: headers of the response.
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
    """Build one entry of ``errors``."""
    return {"pointer": pointer, "detail": detail, "seen": shown(seen)}


def respond(request: Request, problem: Problem) -> Response:
    """Build the response, in ASCII so that any value can be quoted."""
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
    """Register handlers that turn every error of the app into a problem response."""

    def handler(convert: Any) -> Any:
        async def handle(request: Request, error: Exception) -> Response:
            return respond(request, convert(request, error))

        return handle

    kinds = {
        Problem: lambda _, error: error,
        RequestValidationError: _invalid,
        HTTPException: _refused,
        AccessError: lambda _, error: denied(error),
        QueueFullError: _busy,
        IndexFullError: lambda _, error: Problem(507, str(error)),
        BusyError: lambda *_: Problem(503, TOO_MANY_WAITING, headers={"Retry-After": "1"}),
        ConversationsBusyError: _conversation_refused,
        StoreError: lambda _, e: Problem(503, str(e), headers={"Retry-After": "1"}),
        NotAllowedError: lambda _, e: Problem(403, str(e)),
        WarmstartError: lambda _, e: Problem(422, str(e)),
    }
    for kind, convert in kinds.items():
        app.add_exception_handler(kind, handler(convert))


def _invalid(request: Request, error: RequestValidationError) -> Problem:
    found = error.errors()
    if any(entry["loc"][0] == "body" for entry in found):
        kind = request.headers.get("content-type", "")
        if error.body and not is_json(kind):
            allowed = f"the body must be application/json, got {kind[:200] or 'no content type'}"
            return Problem(415, allowed)
        if found[0]["type"] == "json_invalid":
            reason, at = found[0]["ctx"]["error"], found[0]["loc"][1]
            return Problem(400, f"the body is not JSON: {reason} at character {at}")
    problem = Problem(422, "the request has wrong or missing fields")
    problem.errors = [field_error(*field) for field in wrong_fields(request, error)]
    return problem


def _refused(request: Request, error: HTTPException) -> Problem:
    headers, detail = dict(error.headers or {}), str(error.detail)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        detail = "the body cannot be read: it must be JSON in UTF-8, without deep nesting"
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = "the API has no such path; /docs lists all"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(_methods(request))
        headers["Allow"] = allowed  # the router names those of one route only
        detail = f"got the method {request.method}; allowed: {allowed}"
    return Problem(error.status_code, detail, headers=headers)


def _methods(request: Request) -> list[str]:
    """The HTTP methods that this path allows."""
    found = []
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            found.append(method)
    return found


def is_json(kind: str) -> bool:
    """Whether a content type is JSON."""
    kind = kind.partition(";")[0].strip().lower()
    return kind.startswith("application/") and kind.endswith(("/json", "+json"))


def denied(error: AccessError) -> Problem:
    """Convert the refusal of a key or a rate."""
    headers = {}
    if error.status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    if error.status == 429:
        headers = {"Retry-After": str(ceil(error.retry_after))}
    return Problem(error.status, error.detail, headers=headers)


def _conversation_refused(_: Request, error: ConversationsBusyError) -> Problem:
    status = 504 if isinstance(error, ConversationLateError) else 503
    return Problem(status, str(error), headers={"Retry-After": str(error.retry_after)})


def _busy(_: Request, error: QueueFullError) -> Problem:
    return Problem(429, str(error), headers={"Retry-After": str(ceil(error.retry_after))})
