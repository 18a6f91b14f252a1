"""A route whose only input is its body, read without what FastAPI does for every request.

Making a list takes less time than FastAPI's reading of a body and solving of dependencies. A body
that is not valid goes to FastAPI after all, which finds what is wrong with it.
"""

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.types import Message

from warmstart.serve.api.access import GuardedRoute, caller_of
from warmstart.serve.api.problems import is_json

_LARGE = 2**16  # bytes of a body that is read outside of the event loop


class QuickRoute(GuardedRoute):
    """A route with an endpoint ``(body, request, caller)`` that returns a response."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        explained = super().get_route_handler()
        model = inspect.signature(self.endpoint).parameters["body"].annotation

        async def quick(request: Request) -> Response:
            content = await self.admitted(request).body()
            read = model.model_validate_json
            try:
                if not is_json(request.headers.get("content-type", "")):
                    raise ValueError
                body = read(content) if len(content) < _LARGE else await run_sync(read, content)
            except (ValidationError, ValueError, RecursionError):
                return await explained(Request(request.scope, _again(content)))
            return await self.endpoint(body, request, caller_of(request))

        return quick


def _again(content: bytes) -> Callable[[], Coroutine[Any, Any, Message]]:
    """Receive a body that was read already."""

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    return receive
