"""Run the service under uvicorn until it receives a signal to stop."""

import torch
import uvicorn

from warmstart.serve import logs
from warmstart.serve.api.app import create_app
from warmstart.serve.engine.service import Service
from warmstart.serve.settings import Settings

_KEEP_ALIVE_S = 75  # longer than proxies keep idle connections, so that the proxy closes first
_GRACE_S = 30  # for requests in progress to finish after a stop signal


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Requests in progress get 30 seconds to finish; items waiting to be encoded stay in the store.

    Raises:
        WarmstartError: the model or the store cannot be used.
    """
    logs.set_up(settings.log_level)
    torch.set_num_threads(1)  # encoding leaves the other cores to the lists
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
