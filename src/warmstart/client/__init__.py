"""A client of the service, sync and async. It needs httpx and no heavy part of warmstart.

from warmstart.client import Client

with Client("https://shop.example", token="ws_...") as client:
    client.recommend("u42", k=10)
"""

from warmstart.errors import missing_extra

try:
    import httpx  # noqa: F401
except ImportError:
    raise missing_extra("httpx", "client") from None

from warmstart.client.clients import AsyncClient, Client
from warmstart.client.errors import ServiceError

__all__ = ["AsyncClient", "Client", "ServiceError"]
