"""Batching: requests that arrive while one batch of lists is computed form the next batch.

One matrix product for many users is far faster than one per user. It runs in its own thread, so the
event loop stays free.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from warmstart.serve.engine import metrics
from warmstart.serve.engine.lists import Hit, ListRequest
from warmstart.serve.engine.service import Service

_MAX_BATCH = 64


class Batcher:
    """Computes lists for the requests of one event loop, in batches.

    Args:
        service: service whose index computes the lists.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._requests: list[tuple[ListRequest, asyncio.Future[list[Hit]]]] = []
        self._worker = ThreadPoolExecutor(1, "lists")
        self._task: asyncio.Task[None] | None = None

    async def recommend(self, request: ListRequest) -> list[Hit]:
        """Compute one list, in a batch with other requests.

        Raises:
            UnknownUserError: there are no interactions from which to make a list.
        """
        future: asyncio.Future[list[Hit]] = asyncio.get_running_loop().create_future()
        self._requests.append((request, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await future

    def close(self) -> None:
        """Shut down the thread without waiting for it."""
        self._worker.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._requests:
            batch, self._requests = self._requests[:_MAX_BATCH], self._requests[_MAX_BATCH:]
            metrics.BATCH.observe(len(batch))
            index = self._service.deployment.index
            try:
                requests = [request for request, _ in batch]
                lists = await loop.run_in_executor(self._worker, index.recommend, requests)
            except Exception as error:  # noqa: BLE001 - passed on to every request
                lists = [error] * len(batch)
            for (_, future), found in zip(batch, lists, strict=True):
                if future.cancelled():
                    continue
                if isinstance(found, Exception):
                    future.set_exception(found)
                else:
                    future.set_result(found)
        self._task = None
