"""A worker process of the service: loads the model and builds the application."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from warmstart.errors import WarmstartError
from warmstart.serve import logs
from warmstart.serve.settings import Settings

log = structlog.get_logger("warmstart.serve")

_SWITCH_SECONDS = 0.0005  # for which a busy thread keeps the interpreter from the event loop


def load_application(settings_json: str, run: str, failure: Path) -> Any:
    """Build the application in a worker process.

    Args:
        settings_json: settings of the service.
        run: names this run of the service.
        failure: file to write the reason into if the service cannot start; the process then ends.
    """
    settings = Settings.model_validate_json(settings_json)
    logs.set_up(settings.log_level)
    try:
        import torch

        from warmstart.serve.api.app import create_app
        from warmstart.serve.engine.service import Service

        torch.set_num_threads(1)  # encoding leaves the other cores to the lists
        sys.setswitchinterval(_SWITCH_SECONDS)
        app = create_app(Service(settings, run))
    except WarmstartError as error:
        failure.write_text(str(error))
        sys.exit(1)
    serving = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with serving(app):
            tasks = [
                asyncio.create_task(_stop_without(os.getppid())),
                asyncio.create_task(_announce(settings.host, settings.port)),
            ]
            yield
            for task in tasks:
                task.cancel()

    app.router.lifespan_context = lifespan
    if settings.trusted_proxies:
        from granian.utils.proxies import wrap_asgi_with_proxy_headers

        return wrap_asgi_with_proxy_headers(app, list(settings.trusted_proxies))
    return app


async def _stop_without(parent: int) -> None:
    """Stop this process if the one that started it is killed."""
    while os.getppid() == parent:
        await asyncio.sleep(0.5)
    log.warning("the parent process is gone")
    os.kill(os.getpid(), signal.SIGTERM)


async def _announce(host: str, port: int) -> None:
    """Log the address as soon as it accepts connections."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, port)
            address = writer.get_extra_info("peername")[:2]
            writer.close()
            log.info("listening", addresses=[address])
            return
        await asyncio.sleep(0.01)
