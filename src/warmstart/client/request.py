"""One request: what is sent, when it is sent again, what its answer means. Nothing is sent here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from warmstart.client.errors import ServiceError
from warmstart.errors import DataError

Answer = TypeVar("Answer")

_FIRST_PAUSE = 0.2  # seconds; doubled from one attempt to the next
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_QUOTED = 200  # characters of an answer that is not of the service


def answer_of(response: httpx.Response) -> Any:
    """The JSON of an answer; None where it has none.

    Raises:
        ServiceError: it is a problem, or no answer of the service at all.
    """
    if not response.is_success:
        raise _problem(response)
    if response.status_code == httpx.codes.NO_CONTENT:
        return None
    try:
        return response.json()
    except ValueError:
        text = response.text[:_QUOTED]
        raise ServiceError(
            f"the answer is no JSON, so this may be another service: {text!r}",
            status=response.status_code,
        ) from None


@dataclass(frozen=True)
class Request(Generic[Answer]):
    """A request, and the type of its answer.

    Attributes:
        method: of HTTP.
        path: as the API describes it, with a name in braces where ``place`` comes.
        place: the id in the path.
        query: parameters behind the path.
        body: sent as JSON.
        again: it may be sent again where nobody knows what became of it: twice is as once.
        read: makes the answer of a response.
    """

    method: str
    path: str
    place: str | int | None = None
    query: Mapping[str, int] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    again: bool = True
    read: Callable[[httpx.Response], Any] = answer_of

    def __post_init__(self) -> None:
        if self.place == "":
            raise DataError("an id must not be empty")

    @property
    def url(self) -> str:
        """The path with the id in it; an id may hold anything, slashes and dots too."""
        if self.place is None:
            return self.path
        place = quote(str(self.place), safe="")
        if not place.strip("."):  # "." and ".." would be taken for folders
            place = place.replace(".", "%2E")
        return self.path[: self.path.index("{")] + place

    def build(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """As httpx sends it."""
        return http.build_request(self.method, self.url, params=self.query or None, json=self.body)


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long a request is tried again.

    Attributes:
        retries: attempts beyond the first.
        longest: seconds; where the service asks for more, its answer is an error at once.
    """

    retries: int
    longest: float

    def pause(
        self, request: Request[Any], outcome: httpx.Response | httpx.TransportError, tried: int
    ) -> float | None:
        """Seconds until the next attempt; None if there shall be none.

        Args:
            request: that was sent.
            outcome: what became of it.
            tried: attempts before this one.
        """
        if tried >= self.retries or not _may_repeat(request, outcome):
            return None
        seconds = _FIRST_PAUSE * 2**tried
        if isinstance(outcome, httpx.Response):
            told = _retry_after(outcome)
            seconds = seconds if told is None else told
        return seconds if seconds <= self.longest else None


def finish(request: Request[Answer], outcome: httpx.Response | httpx.TransportError) -> Answer:
    """The answer.

    Raises:
        ServiceError: there is none, or it is a problem.
    """
    if isinstance(outcome, httpx.TransportError):
        reason = str(outcome) or type(outcome).__name__
        raise ServiceError(f"the service does not answer: {reason}") from outcome
    return request.read(outcome)


def _may_repeat(request: Request[Any], outcome: httpx.Response | httpx.TransportError) -> bool:
    if isinstance(outcome, httpx.UnsupportedProtocol):
        return False  # a wrong URL stays wrong
    if isinstance(outcome, httpx.TransportError):
        return request.again or isinstance(outcome, _NEVER_SENT)
    if outcome.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return True  # refused before anything was done
    return outcome.status_code == httpx.codes.SERVICE_UNAVAILABLE and request.again


def _retry_after(response: httpx.Response) -> float | None:
    told = response.headers.get("Retry-After", "")
    return float(told) if told.isascii() and told.isdigit() else None


def _problem(response: httpx.Response) -> ServiceError:
    try:
        body = response.json()
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    errors = body.get("errors")
    return ServiceError(
        str(body.get("detail") or response.reason_phrase or "no reason given"),
        status=response.status_code,
        errors=errors if isinstance(errors, list) else (),
        request_id=response.headers.get("X-Request-Id"),
        retry_after=_retry_after(response),
    )
