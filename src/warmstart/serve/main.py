"""Run the service under uvicorn until it receives a signal to stop."""

import torch
import uvicorn

from warmstart.serve import logs
from warmstart.serve.api.app import create_app
from warmstart.serve.engine.service import Service
from warmstart.serve.settings import Settings

_KEEP_ALIVE_S = 75  # an idle connection stays open longer than proxies keep theirs
_GRACE_S = 30  # for requests in progress when the service is stopped


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests in progress are finished, waiting items are stored.

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
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
    )
