"""Admin routes: API keys, and swapping the served model."""

from typing import Annotated

from fastapi import APIRouter, Path

from warmstart.serve.api.access import GuardedRoute, MayAdminister, TheService
from warmstart.serve.api.problems import Problem, error_responses
from warmstart.serve.api.schemas import Health, KeyInfo, MadeKey, NewKey, SwapModel
from warmstart.serve.api.threads import TheThreads
from warmstart.serve.storage.keys import make_key

routes = APIRouter(prefix="/admin", tags=["admin"], route_class=GuardedRoute)
_MAX_BODY_BYTES = 2**14
_BODY = error_responses(400, 408, 413, 415, 422)
KeyPath = Annotated[str, Path(min_length=1, max_length=256, description="id of the key")]


@routes.get("/keys")
async def list_keys(service: TheService, threads: TheThreads, _: MayAdminister) -> list[KeyInfo]:
    """List all API keys, including revoked ones, without their secrets."""
    found = await threads.store.run(service.store.keys.all)
    return [KeyInfo(key=k.key, name=k.name, scope=k.scope, revoked=k.revoked) for k in found]


@routes.post("/keys", status_code=201, responses=_BODY, max_body_size=_MAX_BODY_BYTES)
async def add_key(
    body: NewKey, service: TheService, threads: TheThreads, _: MayAdminister
) -> MadeKey:
    """Create an API key; only this response contains its token."""
    token = await threads.store.run(lambda: make_key(service.store, body.name, body.scope))
    return MadeKey(key=token.split("_")[1], token=token)


@routes.delete("/keys/{key}", status_code=204, responses=error_responses(404, 422))
async def revoke_key(
    key: KeyPath, service: TheService, threads: TheThreads, _: MayAdminister
) -> None:
    """Revoke an API key; every replica rejects it within ``poll_seconds``."""
    if "\0" in key or not await threads.store.run(lambda: service.store.keys.revoke(key)):
        raise Problem(404, "no such key", pointer="path.key", seen=key)


@routes.post("/model", status_code=202, responses=_BODY, max_body_size=_MAX_BODY_BYTES)
async def swap_model(
    body: SwapModel, service: TheService, threads: TheThreads, _: MayAdminister
) -> Health:
    """Swap in another model on every replica; the old model serves until the new one is loaded.

    ``folder`` is a path relative to the service's ``models_folder``. The response comes once the
    model was tried in a process of its own, which takes as long as loading it; it does not wait for
    the swap. ``GET /v1/model`` shows which model is served.
    """
    served = service.deployment
    await threads.trial.run(lambda: service.swapper.announce(body.folder, served))
    return Health(status="ok")
