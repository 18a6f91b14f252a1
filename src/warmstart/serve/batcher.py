"""Requests for lists that come while one batch is made are the next batch.

One matrix product for many users is far cheaper than as many products; and the event loop stays
free while it runs in its thread.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from warmstart.serve import metrics
from warmstart.serve.lists import Ask, Hit
from warmstart.serve.service import Service

_MOST = 64


class Batcher:
    """Answers asks of one event loop.

    Args:
        service: whose index is asked.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._asks: list[tuple[Ask, asyncio.Future[list[Hit]]]] = []
        self._worker = ThreadPoolExecutor(1, "lists")
        self._task: asyncio.Task[None] | None = None

    async def recommend(self, ask: Ask) -> list[Hit]:
        """The list.

        Raises:
            NothingKnownError: nothing is known of the user, nor of the history.
        """
        future: asyncio.Future[list[Hit]] = asyncio.get_running_loop().create_future()
        self._asks.append((ask, future))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await future

    def close(self) -> None:
        """Let go of the thread."""
        self._worker.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._asks:
            batch, self._asks = self._asks[:_MOST], self._asks[_MOST:]
            metrics.BATCH.observe(len(batch))
            index = self._service.deployment.index
            try:
                asks = [ask for ask, _ in batch]
                answers = await loop.run_in_executor(self._worker, index.recommend, asks)
            except Exception as error:  # noqa: BLE001 - handed to everyone who asked
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.cancelled():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        self._task = None
