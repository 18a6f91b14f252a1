"""Run the service under uvicorn until it receives a signal to stop."""

import asyncio
import contextlib
import os
import socket

import structlog
import torch
import uvicorn

from warmstart.errors import WarmstartError
from warmstart.serve import logs
from warmstart.serve.api.app import create_app
from warmstart.serve.engine.service import Service
from warmstart.serve.settings import Settings

log = structlog.get_logger("warmstart.serve")

_KEEP_ALIVE_S = 75  # longer than proxies keep idle connections, so that the proxy closes first
_GRACE_S = 30  # for requests in progress to finish after a stop signal


class AddressError(WarmstartError):
    """The service cannot listen on its host and port."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Requests in progress get 30 seconds to finish; items waiting to be encoded stay in the store.

    Raises:
        AddressError: the host or the port cannot be used.
        WarmstartError: the model or the store cannot be used.
    """
    sockets = bind(settings.host, settings.port)  # first: loading a model takes long
    logs.set_up(settings.log_level)
    torch.set_num_threads(1)  # encoding leaves the other cores to the lists
    server = Server(
        uvicorn.Config(
            create_app(Service(settings)),
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
    )
    with contextlib.suppress(KeyboardInterrupt):  # raised again after the shutdown
        server.run(sockets=sockets)


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind the address. Connections are refused until the service listens on it.

    Raises:
        AddressError: the host is unknown or not of this machine, or the port is in use.
    """

    async def bound() -> list[socket.socket]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, host, port, start_serving=False)
        with contextlib.closing(server):
            return [opened.dup() for opened in server.sockets]

    try:
        return asyncio.run(bound())
    except (OSError, UnicodeError) as error:
        raise _address_error(host, port, error) from None


class Server(uvicorn.Server):
    """Logs the address and reports its errors, as uvicorn does only for sockets of its own."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except OSError as error:  # another process may bind it too and listen on it first
            raise _address_error(self.config.host, self.config.port, error) from None
        log.info("listening", addresses=[opened.getsockname()[:2] for opened in sockets or ()])


def _address_error(host: str, port: int, error: OSError | UnicodeError) -> AddressError:
    reason = str(error)
    if isinstance(error, socket.gaierror):
        reason = error.strerror
    elif isinstance(error, OSError) and error.errno:
        reason = os.strerror(error.errno)  # asyncio's own message repeats the address
    return AddressError(f"cannot listen on host {host!r}, port {port}: {reason}")
