"""Batching: requests that arrive while one batch of lists is computed form the next batch.

One matrix product for many users is far faster than one per user. Requests that may take long have
a lane of their own, so that plain ones never wait for them, and those under a control another one:
they may take far longer, and gain nothing from a batch.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from warmstart.serve.engine import metrics
from warmstart.serve.engine.lists import Hit, ListRequest
from warmstart.serve.engine.service import Service

_MAX_BATCH = 64
_MAX_WAITING = 1000  # requests of a lane
_MAX_CONTROLLED = 100  # requests under a control that wait: they are computed one by one
_PLAIN_K = 100  # length of a list up to which it is plain
_PLAIN_IDS = 1000  # in allow and deny together
_PAUSE = 0.05  # after a batch of several requests, as a fraction of its time
_SHORT_SECONDS = 0.003  # a batch that is as short is computed in the event loop


class BusyError(Exception):
    """Too many requests are waiting, or the service stops."""


class Batcher:
    """Computes lists for the requests of one event loop, in batches.

    Args:
        service: service whose index computes the lists.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._plain = _Lane(service, "lists", _MAX_WAITING, may_be_short=True)
        self._dear = _Lane(service, "dear-lists", _MAX_WAITING)
        self._controlled = _Lane(service, "controlled-lists", _MAX_CONTROLLED, max_batch=1)

    async def recommend(self, request: ListRequest) -> list[Hit]:
        """Compute one list, in a batch with other requests.

        Raises:
            UnknownUserError: there are no interactions from which to make a list.
            ControlError: no list is as the control asks.
            BusyError: too many such requests are waiting.
        """
        return await self._lane_of(request).recommend(request)

    def _lane_of(self, request: ListRequest) -> "_Lane":
        if request.control is not None:
            return self._controlled
        return self._plain if self._is_plain(request) else self._dear

    def _is_plain(self, request: ListRequest) -> bool:
        """Whether a list for a known user takes no longer than usual."""
        if request.explain or request.k > _PLAIN_K or request.user is None:
            return False
        if len(request.allow or ()) + len(request.deny) > _PLAIN_IDS:
            return False
        return self._service.deployment.index.scores_as_known(request.user)

    def close(self) -> None:
        """Refuse what is waiting, and shut down the threads without waiting for them."""
        for lane in (self._plain, self._dear, self._controlled):
            lane.close()


class _Lane:
    """Requests that are computed one batch after the other.

    Args:
        service: service whose index computes the lists.
        name: name of the thread.
        max_waiting: number of requests that may wait.
        may_be_short: whether short batches are computed in the event loop.
        max_batch: number of requests that are computed together.

    Attributes:
        seconds: how long a batch takes at present, a running average.
    """

    def __init__(
        self,
        service: Service,
        name: str,
        max_waiting: int,
        *,
        may_be_short: bool = False,
        max_batch: int = _MAX_BATCH,
    ) -> None:
        self._service, self._may_be_short, self._max_batch = service, may_be_short, max_batch
        self._max_waiting, self._is_closed = max_waiting, False
        self._requests: list[tuple[ListRequest, asyncio.Future[list[Hit]]]] = []
        self._thread = ThreadPoolExecutor(1, name)
        self._task: asyncio.Task[None] | None = None
        self.seconds = 1.0

    async def recommend(self, request: ListRequest) -> list[Hit]:
        if self._is_closed or len(self._requests) >= self._max_waiting:
            raise BusyError
        future: asyncio.Future[list[Hit]] = asyncio.get_running_loop().create_future()
        self._requests.append((request, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await future

    def close(self) -> None:
        self._is_closed = True
        waiting, self._requests = self._requests, []
        for _, future in waiting:
            if not future.done():
                future.set_exception(BusyError())
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._requests:
            size = self._max_batch
            batch, self._requests = self._requests[:size], self._requests[size:]
            metrics.BATCH.observe(len(batch))
            index, requests = self._service.deployment.index, [request for request, _ in batch]
            started = time.perf_counter()
            try:
                if self._may_be_short and self.seconds < _SHORT_SECONDS:
                    lists = index.recommend(requests)
                else:
                    lists = await loop.run_in_executor(self._thread, index.recommend, requests)
            except Exception as error:  # noqa: BLE001 - passed on to every request
                lists = [error] * len(batch)
            self.seconds = 0.9 * self.seconds + 0.1 * (time.perf_counter() - started)
            for (_, future), found in zip(batch, lists, strict=True):
                if future.cancelled():
                    continue
                if isinstance(found, Exception):
                    future.set_exception(found)
                else:
                    future.set_result(found)
            # Clients that just got their lists ask for the next ones: they form one batch.
            await asyncio.sleep(0 if len(batch) == 1 else _PAUSE * (time.perf_counter() - started))
        self._task = None
