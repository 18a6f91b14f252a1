"""Requests, the policy for sending them again, and reading their responses; sends nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from warmstart.client.errors import ServiceError
from warmstart.errors import DataError

Result = TypeVar("Result")

_FIRST_PAUSE = 0.2  # seconds; doubled with each attempt
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_MAX_ID = 256  # characters
_MAX_QUOTED = 200  # characters of a response that is not JSON


Outcome = httpx.Response | httpx.TransportError


def json_of(outcome: Outcome) -> Any:
    """The JSON of a response; None without content (status 204).

    Raises:
        ServiceError: there is no response, or it is an error response or not JSON.
    """
    if isinstance(outcome, httpx.TransportError):
        reason = str(outcome) or type(outcome).__name__
        raise ServiceError(f"the service does not answer: {reason}") from outcome
    if not outcome.is_success:
        raise _problem(outcome)
    if outcome.status_code == httpx.codes.NO_CONTENT:
        return None
    try:
        return outcome.json()
    except ValueError:
        text = outcome.text[:_MAX_QUOTED]
        raise ServiceError(
            f"the response is not JSON, so this may be another service: {text!r}",
            status=outcome.status_code,
        ) from None


def readiness_of(outcome: Outcome) -> bool:
    """Whether the service answers that it is ready; False if it does not answer.

    Raises:
        ServiceError: it is another error response, or not JSON.
    """
    if isinstance(outcome, httpx.TransportError):
        return False
    if outcome.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return False
    json_of(outcome)
    return True


@dataclass(frozen=True)
class Request(Generic[Result]):
    """A request, generic in what ``parse`` makes of its response.

    Attributes:
        method: of HTTP.
        path: as in the API's description; ends with a name in braces if there is a ``path_id``.
        path_id: the id that replaces the name in braces.
        query: parameters after the path.
        body: sent as JSON.
        idempotent: whether it may be sent again if its outcome is unknown.
        retried: whether it may be sent again at all.
        min_timeout: seconds that its response may take, whatever the client's timeout.
        parse: turns a response, or the error that prevented one, into the result.

    Raises:
        DataError: the id in the path is empty or too long.
    """

    method: str
    path: str
    path_id: str | int | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    idempotent: bool = True
    retried: bool = True
    min_timeout: float = 0.0
    parse: Callable[[Outcome], Any] = json_of

    def __post_init__(self) -> None:
        if self.path_id is not None and not 0 < len(str(self.path_id)) <= _MAX_ID:
            seen = str(self.path_id)[:_MAX_QUOTED]
            raise DataError(f"an id in a path: got {seen!r}; allowed: 1 to {_MAX_ID} characters")

    @property
    def url(self) -> str:
        """The path with the quoted id; an id may have any characters, slashes and dots too."""
        if self.path_id is None:
            return self.path
        place = quote(str(self.path_id), safe="")
        if not place.strip("."):  # clients normalise "." and ".." away
            place = place.replace(".", "%2E")
        return self.path[: self.path.index("{")] + place

    def build(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request as httpx sends it."""
        timeout = httpx.Timeout(http.timeout)
        timeout.read = max(timeout.read or 0.0, self.min_timeout)
        return http.build_request(
            self.method, self.url, params=self.query or None, json=self.body, timeout=timeout
        )


@dataclass(frozen=True)
class RetryPolicy:
    """When a request is sent again, and after how long.

    Attributes:
        retries: attempts beyond the first.
        max_wait: seconds; if the service asks for a longer wait, its response is an error.
    """

    retries: int
    max_wait: float

    def delay(self, request: Request[Any], outcome: Outcome, attempts: int) -> float | None:
        """Seconds until the next attempt; None if there is none.

        Args:
            request: the one that was sent.
            outcome: its response, or the error that prevented one.
            attempts: attempts before this one.
        """
        if attempts >= self.retries or not _may_repeat(request, outcome):
            return None
        seconds = _FIRST_PAUSE * 2**attempts
        if isinstance(outcome, httpx.Response):
            requested = _retry_after(outcome)
            seconds = seconds if requested is None else requested
        return seconds if seconds <= self.max_wait else None


def _may_repeat(request: Request[Any], outcome: Outcome) -> bool:
    if not request.retried:
        return False
    if isinstance(outcome, httpx.TransportError):
        return request.idempotent or isinstance(outcome, _NEVER_SENT)
    if outcome.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return True  # it was refused before it had any effect
    return outcome.status_code == httpx.codes.SERVICE_UNAVAILABLE and request.idempotent


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None


def _problem(response: httpx.Response) -> ServiceError:
    try:
        body = response.json()
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    errors = body.get("errors")
    return ServiceError(
        str(body.get("detail") or response.reason_phrase or "no reason was given"),
        status=response.status_code,
        errors=errors if isinstance(errors, list) else (),
        request_id=response.headers.get("X-Request-Id"),
        retry_after=_retry_after(response),
    )
