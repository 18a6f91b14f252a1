"""Batching: requests that arrive while one batch of lists is made are the next batch.

One matrix product for many users is far cheaper than one each, and the event loop stays free while
it runs in its thread.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from warmstart.serve.engine import metrics
from warmstart.serve.engine.lists import Hit, ListRequest
from warmstart.serve.engine.service import Service

_MAX_BATCH = 64


class Batcher:
    """Makes lists for the requests of one event loop.

    Args:
        service: its index makes the lists.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._requests: list[tuple[ListRequest, asyncio.Future[list[Hit]]]] = []
        self._worker = ThreadPoolExecutor(1, "lists")
        self._task: asyncio.Task[None] | None = None

    async def recommend(self, request: ListRequest) -> list[Hit]:
        """The list.

        Raises:
            UnknownUserError: neither the user nor the history is known.
        """
        future: asyncio.Future[list[Hit]] = asyncio.get_running_loop().create_future()
        self._requests.append((request, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await future

    def close(self) -> None:
        """Release the thread."""
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
