"""Logging of the service: one JSON object per line, on stderr."""

import logging
import sys
import threading
import time
from typing import Any

import structlog

_MAX_KIND = 200  # characters of a message that tell its kind
_MAX_KINDS = 1000


class OncePerSecond(logging.Filter):
    """Passes warnings and errors of one kind, by logger and message, at most once a second.

    A client that provokes errors could fill the disk otherwise. The next line of the kind has the
    number of those left out, as ``left_out``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._passed: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to pass a line."""
        if record.levelno < logging.WARNING:
            return True
        message: Any = record.msg
        is_event = isinstance(message, dict)  # of structlog
        kind = (record.name, str(message.get("event") if is_event else message)[:_MAX_KIND])
        now = time.monotonic()
        with self._lock:
            last, left_out = self._passed.get(kind, (float("-inf"), 0))
            if now - last < 1.0:
                self._passed[kind] = (last, left_out + 1)
                return False
            if len(self._passed) >= _MAX_KINDS:
                self._passed.clear()
            self._passed[kind] = (now, 0)
        if left_out:
            record.msg = (
                {**message, "left_out": left_out}
                if is_event
                else (f"{message} ({left_out} lines left out)")
            )
        return True


def set_up(level: str) -> None:
    """Configure structlog and ``logging`` to write JSON, from this level on (such as "INFO")."""
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(OncePerSecond())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    for verbose in ("alembic", "httpx"):
        logging.getLogger(verbose).setLevel(logging.WARNING)
