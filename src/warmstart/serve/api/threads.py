"""Threads outside of the event loop, apart for each kind of work: none can use up all others'."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Depends, Request

from warmstart.serve.api.problems import TOO_MANY_WAITING, Problem
from warmstart.serve.storage.database import CONNECTIONS

_Found = TypeVar("_Found")


class _Pool:
    """Some threads, and a bound on the requests that wait for one."""

    def __init__(self, threads: int, waiting: int) -> None:
        self._limiter, self._waiting = CapacityLimiter(threads), waiting

    async def run(self, work: Callable[[], _Found]) -> _Found:
        """Run a function in a thread.

        Raises:
            Problem: too many requests of this kind are waiting already.
        """
        if self._limiter.statistics().tasks_waiting >= self._waiting:
            raise Problem(503, TOO_MANY_WAITING, headers={"Retry-After": "1"})
        return await run_sync(work, limiter=self._limiter)


class Threads:
    """The threads of an application, created in its event loop.

    Attributes:
        store: for what waits for the store; one less than its connections, which leaves one to the
            threads of the service.
        index: for what waits for the index, beside the lists.
        encoder: for what waits for the language model.
    """

    def __init__(self) -> None:
        self.store = _Pool(CONNECTIONS - 1, 200)
        self.index = _Pool(2, 200)
        self.encoder = _Pool(2, 100)
        self.trial = _Pool(1, 1)


async def _threads_of(request: Request) -> Threads:  # a plain function would run in a thread
    return request.app.state.threads


TheThreads = Annotated[Threads, Depends(_threads_of)]
