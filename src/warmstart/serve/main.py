"""Run the service under granian until it receives a signal to stop.

granian bounds the number of connections, and the time for headers to arrive and for a connection to
be idle. It starts the worker process, which loads the model; if that crashes, this one ends too.
"""

import asyncio
import logging
import multiprocessing
import os
import resource
import socket
import tempfile
import uuid
from functools import partial
from pathlib import Path

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

from warmstart.errors import ConfigError, WarmstartError
from warmstart.serve import logs
from warmstart.serve.settings import Settings
from warmstart.serve.storage.database import store_url
from warmstart.serve.worker import load_application

_GRACE_S = 30  # for requests in progress to finish after a stop signal
_SPARE_FILES = 100  # open files that are no connections
_LOGGING = {
    "loggers": {"_granian": {"propagate": True}}
}  # granian's lines are JSON like all others


class AddressError(WarmstartError):
    """The service cannot listen on its host and port."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Requests in progress get 30 seconds to finish; items waiting to be encoded stay in the store.

    Raises:
        AddressError: the host or the port cannot be used.
        ConfigError: the model, the store or a setting cannot be used; the message has the reason.
    """
    port = free_port(settings.host, settings.port)
    settings = settings.model_copy(update={"port": port})
    logs.set_up(settings.log_level)
    multiprocessing.set_start_method("spawn", force=True)  # a fork would break thread pools
    connections = _raise_open_files(settings.max_connections)
    with tempfile.TemporaryDirectory(prefix="warmstart-") as folder:
        failure, metrics = Path(folder) / "failure", Path(folder) / "metrics"
        settings = settings.model_copy(update={"index_folder": _index_folder(settings, folder)})
        if settings.workers > 1:  # each worker counts in a file; any of them reports the sums
            metrics.mkdir()
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
        server = Granian(
            "warmstart.serve.worker",
            address=settings.host,
            port=port,
            interface=Interfaces.ASGI,
            workers=settings.workers,
            websockets=False,
            http=HTTPModes.http1,
            backlog=max(128, connections),
            backpressure=connections,
            http1_settings=HTTP1Settings(
                header_read_timeout=round(1000 * settings.max_header_seconds)
            ),
            log_dictconfig=_LOGGING,
            log_level=LogLevels.warning,
            workers_kill_timeout=_GRACE_S,
        )
        # The reason is the error that is raised below, and enough.
        logging.getLogger("_granian").addFilter(lambda _: not failure.is_file())
        load = partial(load_application, settings.model_dump_json(), uuid.uuid4().hex, failure)
        try:
            server.serve(target_loader=load, wrap_loader=False)
        except SystemExit:
            if failure.is_file():
                raise ConfigError(failure.read_text()) from None
            raise


def _index_folder(settings: Settings, temporary: str) -> Path:
    """The folder of the settings; else one beside the file of an SQLite store, or a temporary one.

    Raises:
        ConfigError: the store is neither SQLite nor PostgreSQL.
    """
    store = store_url(settings.store)
    if settings.index_folder is not None:
        return settings.index_folder
    is_file = store.get_backend_name() == "sqlite" and store.database
    return Path(f"{store.database}.index" if is_file else f"{temporary}/index")


def free_port(host: str, port: int) -> int:
    """Check that the address can be listened on; return the port, or a free one for port 0.

    Raises:
        AddressError: the host is unknown or not of this machine, or the port is in use.
    """

    async def bound() -> int:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        async with server:
            return server.sockets[0].getsockname()[1]

    try:
        return asyncio.run(bound())
    except (OSError, UnicodeError) as error:
        reason = str(error)
        if isinstance(error, socket.gaierror):
            reason = error.strerror
        elif isinstance(error, OSError) and error.errno:
            reason = os.strerror(error.errno)  # asyncio's own message repeats the address
        message = f"cannot listen on host {host!r}, port {port}: {reason}"
        raise AddressError(message) from None


def _raise_open_files(connections: int) -> int:
    """Raise the limit of open files for so many connections; return how many it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(connections, soft - _SPARE_FILES))
