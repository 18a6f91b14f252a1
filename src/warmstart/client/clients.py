"""The sync and the async client; ``operations`` makes the requests of both."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from functools import update_wrapper
from math import inf
from numbers import Integral, Real
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from warmstart.client import operations
from warmstart.client.errors import ServiceError
from warmstart.client.request import Request, Result, RetryPolicy
from warmstart.errors import ConfigError

P = ParamSpec("P")
Method = TypeVar("Method", bound=Callable[..., Any])


def _sync(make: Callable[P, Request[Result]]) -> "Callable[Concatenate[Client, P], Result]":
    def send(self: "Client", *args: P.args, **kwargs: P.kwargs) -> Result:
        return self._send(make(*args, **kwargs))

    return _described(send, make)


def _async(
    make: Callable[P, Request[Result]],
) -> "Callable[Concatenate[AsyncClient, P], Awaitable[Result]]":
    async def send(self: "AsyncClient", *args: P.args, **kwargs: P.kwargs) -> Result:
        return await self._send(make(*args, **kwargs))

    return _described(send, make)


def _described(send: Method, make: Callable[..., Request[Any]]) -> Method:
    """``send`` with the name, the docstring and the signature of ``make``, as a method."""
    signature = inspect.signature(make)
    receiver = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    (content,) = signature.return_annotation.__args__
    update_wrapper(send, make)
    vars(send)["__signature__"] = signature.replace(
        parameters=[receiver, *signature.parameters.values()], return_annotation=content
    )
    return send


def _options(url: str, token: str | None, timeout: float) -> dict[str, Any]:
    """Options of httpx; refuses what httpx would refuse only with the first request."""
    _check_url(url)
    _check_token(token)
    _check_number("timeout", timeout, "a number of seconds above 0", lambda value: 0 < value < inf)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return {"base_url": url, "headers": headers, "timeout": timeout}


def _policy(retries: int, max_retry_wait: float) -> RetryPolicy:
    right = isinstance(retries, Integral)
    _check_number("retries", retries, "a whole number from 0", lambda value: right and value >= 0)
    allowed = "a number of seconds from 0"
    _check_number("max_retry_wait", max_retry_wait, allowed, lambda value: value >= 0)
    return RetryPolicy(retries, max_retry_wait)


def _check_url(url: Any) -> None:
    try:
        parsed = httpx.URL(url)
        right = parsed.scheme in ("http", "https") and bool(parsed.host)
        right = right and (parsed.port or 0) < 2**16
    except (httpx.InvalidURL, TypeError, UnicodeError):
        right = False
    if not right:
        raise ConfigError(
            f"url {url!r}; allowed: http://HOST or https://HOST, such as http://localhost:8000"
        )


def _check_token(token: Any) -> None:
    if token is None:
        return
    right = isinstance(token, str) and token.isascii() and token.isprintable()
    if not right or not token or " " in token:
        raise ConfigError(  # without the token, which is secret
            "token: it is empty, no text, or has spaces, line breaks or characters other than "
            "ASCII; allowed: ws_..., or None"
        )


def _check_number(name: str, value: Any, allowed: str, right: Callable[[Any], bool]) -> None:
    if not isinstance(value, Real) or isinstance(value, bool) or not right(value):
        raise ConfigError(f"{name} {value!r}; allowed: {allowed}")


def _check_open(http: httpx.Client | httpx.AsyncClient) -> None:
    if http.is_closed:
        raise ServiceError("the client is closed, so it sends no requests; make a new one")


class Client:
    """Sends requests to a service; safe to use from several threads.

    A request is sent again after status 429 or 503, or if its response is lost, unless a repetition
    could have a second effect. The wait is what the service's ``Retry-After`` says, else 0.2
    seconds, doubled with each attempt.

    Every method raises DataError for a wrong argument, before it sends anything.

    Args:
        url: of the service, such as ``http://localhost:8000``.
        token: the API key; None reads without a key, if the service allows it.
        timeout: seconds until one attempt fails without a response.
        retries: attempts beyond the first.
        max_retry_wait: seconds; if the service asks for a longer wait, its response is an error.
        transport: an httpx transport, for tests or special TLS settings.

    Raises:
        ConfigError: the URL, the token or a number is malformed.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 10.0,
        retries: int = 3,
        max_retry_wait: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._retry_policy = _policy(retries, max_retry_wait)
        self._http = httpx.Client(**_options(url, token, timeout), transport=transport)

    def _send(self, request: Request[Result]) -> Result:
        attempts = 0
        while True:
            _check_open(self._http)
            try:
                outcome = self._http.send(request.build(self._http))
            except httpx.TransportError as error:
                outcome = error
            seconds = self._retry_policy.delay(request, outcome, attempts)
            if seconds is None:
                return request.parse(outcome)
            time.sleep(seconds)
            attempts += 1

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    write_items = _sync(operations.write_items)
    write_item = _sync(operations.write_item)
    delete_item = _sync(operations.delete_item)
    erase_user = _sync(operations.erase_user)
    item = _sync(operations.item)
    items = _sync(operations.items)
    similar = _sync(operations.similar)
    recommend = _sync(operations.recommend)
    converse = _sync(operations.converse)
    simulate = _sync(operations.simulate)
    record = _sync(operations.record)
    user = _sync(operations.user)
    model = _sync(operations.model)
    status = _sync(operations.status)
    keys = _sync(operations.keys)
    make_key = _sync(operations.make_key)
    revoke_key = _sync(operations.revoke_key)
    swap_model = _sync(operations.swap_model)
    ready = _sync(operations.ready)


class AsyncClient:
    """The same methods as ``Client``, for asyncio.

    Args:
        url: of the service, such as ``http://localhost:8000``.
        token: the API key; None reads without a key, if the service allows it.
        timeout: seconds until one attempt fails without a response.
        retries: attempts beyond the first.
        max_retry_wait: seconds; if the service asks for a longer wait, its response is an error.
        transport: an httpx transport, for tests or special TLS settings.

    Raises:
        ConfigError: the URL, the token or a number is malformed.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout: float = 10.0,
        retries: int = 3,
        max_retry_wait: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._retry_policy = _policy(retries, max_retry_wait)
        self._http = httpx.AsyncClient(**_options(url, token, timeout), transport=transport)

    async def _send(self, request: Request[Result]) -> Result:
        attempts = 0
        while True:
            _check_open(self._http)
            try:
                outcome = await self._http.send(request.build(self._http))
            except httpx.TransportError as error:
                outcome = error
            seconds = self._retry_policy.delay(request, outcome, attempts)
            if seconds is None:
                return request.parse(outcome)
            await asyncio.sleep(seconds)
            attempts += 1

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    write_items = _async(operations.write_items)
    write_item = _async(operations.write_item)
    delete_item = _async(operations.delete_item)
    erase_user = _async(operations.erase_user)
    item = _async(operations.item)
    items = _async(operations.items)
    similar = _async(operations.similar)
    recommend = _async(operations.recommend)
    converse = _async(operations.converse)
    simulate = _async(operations.simulate)
    record = _async(operations.record)
    user = _async(operations.user)
    model = _async(operations.model)
    status = _async(operations.status)
    keys = _async(operations.keys)
    make_key = _async(operations.make_key)
    revoke_key = _async(operations.revoke_key)
    swap_model = _async(operations.swap_model)
    ready = _async(operations.ready)
