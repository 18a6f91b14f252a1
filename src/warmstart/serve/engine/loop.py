"""A thread that repeats a step, and knows for how long the step has not succeeded."""

import threading
import time
from collections.abc import Callable

import structlog

from warmstart.serve.storage.database import StoreError

log = structlog.get_logger("warmstart.serve")

_LONGEST_PAUSE_S = 10.0


class Loop:
    """Repeats a step in a daemon thread until it is stopped.

    A failure is logged, and the step repeated after a pause, which doubles with every failure in
    a row up to ten seconds.

    Args:
        name: name of the thread, used in log lines and health reports.
        step: the step; it returns after a short while even if there is nothing to do.
        pause_seconds: pause after the first failure.
        stop: set when the service stops.
    """

    def __init__(
        self, name: str, step: Callable[[], object], pause_seconds: float, stop: threading.Event
    ) -> None:
        self.name, self._step, self._pause, self._stop = name, step, pause_seconds, stop
        self._advanced = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._advanced = time.monotonic()
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread, at most some seconds."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    @property
    def is_alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    @property
    def stalled_seconds(self) -> float:
        """Seconds since the step last succeeded; infinity if the thread has ended."""
        return time.monotonic() - self._advanced if self.is_alive else float("inf")

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._step()
            except Exception as error:
                if isinstance(error, StoreError):
                    log.warning(f"{self.name}: the store cannot be used", error=str(error))
                else:
                    log.exception(f"{self.name}: failed")
                self._stop.wait(min(self._pause * 2**failures, _LONGEST_PAUSE_S))
                failures = min(failures + 1, 30)
            else:
                failures = 0
                self._advanced = time.monotonic()
