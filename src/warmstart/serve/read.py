"""Questions: lists, audiences, items, users."""

from dataclasses import asdict
from typing import Annotated, Any

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from starlette.convertors import Convertor, register_url_convertor

from warmstart.serve.access import Reader, TheService
from warmstart.serve.items import composed, external, name_of
from warmstart.serve.lists import Ask, NothingKnownError
from warmstart.serve.problems import Problem, told
from warmstart.serve.reading import take_in
from warmstart.serve.schemas import (
    ItemInfo,
    ItemList,
    ModelInfo,
    Recommend,
    Recommendations,
    Similar,
    Simulate,
    Simulation,
    Status,
    UserInfo,
)
from warmstart.serve.service import Service
from warmstart.serve.store import Item, StoreError


class _Id(Convertor[str]):
    """The rest of a path, whatever it is; that of Starlette ends at a line break."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("id", _Id())
routes = APIRouter()

_CALIBRATION = {
    True: "fitted to the users of held-out items that nobody had seen",
    False: "not fitted to held-out items: the model was fitted without a validation part",
}
ItemPath = Annotated[str, Path(min_length=1, max_length=256, description="item id")]
UserPath = Annotated[str, Path(min_length=1, max_length=256, description="user id")]


@routes.post(
    "/recommend",
    response_model=Recommendations,
    responses=told(400, 404, 413, 415, 422),
    tags=["recommend"],
)
async def recommend(body: Recommend, request: Request, _: Reader) -> Response:
    """The best items for a user, or for a history of a user that the model does not know."""
    service: Service = request.app.state.service
    if body.k > service.settings.max_k:
        allowed = f"k may be at most {service.settings.max_k}"
        raise Problem(422, allowed, pointer="#/k", seen=body.k)
    ask = Ask(
        user=None if body.user is None else str(body.user),
        history=None if body.history is None else tuple(map(str, body.history)),
        k=body.k,
        exclude_seen=body.exclude_seen,
        allow=None if body.allow is None else tuple(map(str, body.allow)),
        deny=tuple(map(str, body.deny)),
        cold_share_min=body.cold_share_min,
        cold_share_max=body.cold_share_max,
        explain=body.explain,
    )
    try:
        hits = await request.app.state.batcher.recommend(ask)
    except NothingKnownError as error:
        raise Problem(404, _unknown(ask), pointer=_asked(ask), seen=_seen(body)) from error
    index = service.deployment.index
    give = external(service)
    answer = {
        "known_user": ask.user is not None and index.knows_user(ask.user),
        "items": [{**asdict(hit), "item": give(hit.item)} for hit in hits],
    }
    return Response(orjson.dumps(answer), media_type="application/json")


def _asked(ask: Ask) -> str:
    return "#/user" if ask.history is None else "#/history"


def _seen(body: Recommend) -> Any:
    return body.user if body.history is None else body.history


def _unknown(ask: Ask) -> str:
    if ask.history is None:
        return (
            "the user is not in the training data and no interaction of theirs was recorded: "
            "record some, or give a history"
        )
    return "no user of the model has interacted with any of these items: give others"


@routes.post("/simulate", responses=told(400, 413, 415, 422), tags=["simulate"])
async def simulate(body: Simulate, service: TheService, request: Request, _: Reader) -> Simulation:
    """Whom a text would interest, were it an item; nothing is stored."""
    text = composed(service, body.columns, "#/columns")

    def work() -> dict[str, Any]:
        deployment = service.deployment
        with deployment.reading:
            (reading,) = take_in(deployment.model, [text])
        calibration = _CALIBRATION[deployment.model.calibrated]
        return {**deployment.index.preview(reading, body.k), "calibration": calibration}

    found = await run_sync(work, limiter=request.app.state.simulations)
    give, give_user = external(service), external(service, "user")
    users = [{**row, "user": give_user(row["user"])} for row in found["users"]]
    nearest = [{**row, "item": give(row["item"])} for row in found["nearest"]]
    return Simulation(**{**found, "users": users, "nearest": nearest})


@routes.get("/similar/{item:id}", responses=told(404, 422), tags=["items"])
async def similar(
    item: ItemPath,
    service: TheService,
    _: Reader,
    k: Annotated[int, Query(ge=1, le=1000)] = 10,
) -> Similar:
    """Items whose texts are most like this one's."""
    name = name_of(service, item, "#path/item")
    try:
        pairs = await run_sync(service.deployment.index.similar, name, k)
    except KeyError:
        raise Problem(404, "no such item", pointer="#path/item", seen=item) from None
    give = external(service)
    return Similar(items=[{"item": give(other), "similarity": value} for other, value in pairs])


@routes.get("/items", responses=told(422, 503), tags=["items"])
async def list_items(
    service: TheService,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> ItemList:
    """Items that were written, the newest first."""

    def work() -> ItemList:
        found = service.store.newest(limit, offset)
        return ItemList(items=[_described(service, stored.item, stored) for stored in found])

    return await run_sync(work)


@routes.get("/items/{item:id}", responses=told(404, 422, 503), tags=["items"])
async def look_up_item(item: ItemPath, service: TheService, _: Reader) -> ItemInfo:
    """An item as it stands: its state, its clicks, who it was simulated to interest."""
    name = name_of(service, item, "#path/item")
    entry = service.deployment.index.entry(name)
    try:
        stored = await run_sync(service.store.item, name)
    except StoreError:
        if entry is None:
            raise
        stored = entry.item  # the store is away; the index knows
    if entry is None and stored is None:
        raise Problem(404, "no such item", pointer="#path/item", seen=item)
    return _described(service, name, stored)


def _described(service: Service, name: str, stored: Item | None) -> ItemInfo:
    index, fitted = service.deployment.index, service.deployment.model.fitted
    entry = index.entry(name)
    ids = fitted.catalogue.item_ids
    rows = ids.rows([external(service)(name)])
    trained = bool(rows[0] >= 0)
    columns = None if stored is None else stored.columns
    if not columns and trained:
        columns = fitted.catalogue.columns.row(int(rows[0]), named=True)
    state = "trained" if trained else "ready"
    if stored is not None and stored.deleted:
        state = "deleted"
    elif stored is not None and stored.error:
        state = "failed"
    elif entry is None:
        state = "waiting"
    audience = []
    if entry is not None and entry.audience is not None and entry.chances is not None:
        users = fitted.user_ids.take(entry.audience)
        audience = [
            {"user": user, "probability": chance}
            for user, chance in zip(users, entry.chances.tolist(), strict=True)
        ]
    return ItemInfo(
        id=external(service)(name),
        state=state,
        columns=columns,
        owner=stored.owner if stored is not None and stored.owner else None,
        clicks=0 if entry is None else len(entry.users),
        warmth=0.0 if entry is None else index.warmth(entry),
        claim_cut=0.0 if entry is None else index.shift(entry),
        error=None if stored is None else stored.error,
        simulated_users=audience,
    )


@routes.get("/users/{user:id}", responses=told(404, 422), tags=["users"])
async def look_up_user(user: UserPath, service: TheService, _: Reader) -> UserInfo:
    """A user's history, as trained on and as recorded since."""
    index = service.deployment.index
    known, history = index.knows_user(user), await run_sync(index.history, user)
    if not known and not history:
        raise Problem(404, "no such user", pointer="#path/user", seen=user)
    give = external(service)
    return UserInfo(
        id=external(service, "user")(user), known=known, history=[give(name) for name in history]
    )


@routes.get("/model", tags=["operations"])
async def model(service: TheService, _: Reader) -> ModelInfo:
    """The model that is served."""
    deployment = service.deployment
    fitted = deployment.model.fitted
    return ModelInfo(
        method=deployment.model.name,
        hash=deployment.name,
        folder=deployment.folder.name,
        config=deployment.model.config.model_dump(mode="json"),
        text_columns=list(fitted.catalogue.text_columns),
        language_model=None if fitted.lm_spec is None else str(fitted.lm_spec.get("source")),
        id_type="integer" if fitted.catalogue.item_ids.is_integer else "string",
        load_seconds=deployment.warm_up,
        swapping=service.swapping,
    )


@routes.get("/status", tags=["operations"])
async def status(service: TheService, _: Reader) -> Status:
    """Health of index and queue."""
    deployment = service.deployment
    try:
        behind = max(0, await run_sync(service.store.latest) - deployment.last)
    except StoreError:
        behind = None
    return Status(
        **await run_sync(deployment.index.counts),
        waiting=service.waiting,
        last_change=deployment.last,
        behind=behind,
        store="postgresql" if service.store.is_postgres else "sqlite",
        store_answers=behind is not None,
    )
