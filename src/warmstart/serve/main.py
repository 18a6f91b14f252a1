"""Runs the service under uvicorn until it is told to stop."""

import torch
import uvicorn

from warmstart.serve import logs
from warmstart.serve.app import create_app
from warmstart.serve.service import Service
from warmstart.serve.settings import Settings

_KEPT_ALIVE = 75  # seconds that an idle connection stays open: longer than proxies keep theirs
_GRACE = 30  # seconds that requests under way have when the service is stopped


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are finished, what waits is in the store.

    Raises:
        WarmstartError: the model or the store cannot be used.
    """
    logs.set_up(settings.log_level)
    torch.set_num_threads(1)  # lists are made beside the language model
    service = Service(settings)
    uvicorn.run(
        create_app(service),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEPT_ALIVE,
        timeout_graceful_shutdown=_GRACE,
    )
