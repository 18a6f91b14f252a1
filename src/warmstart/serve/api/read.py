"""Read routes: lists, simulated users, items, users, model, status."""

from dataclasses import replace
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from starlette.convertors import Convertor, register_url_convertor

from warmstart.abilities import Simulates, require
from warmstart.data.readers.item_records import catalogue_of_records
from warmstart.serve.api.access import (
    GuardedRoute,
    MayReadItems,
    MayReadUsers,
    MayRecommend,
    TheService,
)
from warmstart.serve.api.convert import composed_text, external_id, internal_name
from warmstart.serve.api.description import operation_id
from warmstart.serve.api.list_options import check_k, list_options, uncontrolled
from warmstart.serve.api.problems import Problem, error_responses
from warmstart.serve.api.quick_route import QuickRoute
from warmstart.serve.api.schemas import (
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
from warmstart.serve.api.shown import Shown, recommended
from warmstart.serve.api.threads import TheThreads, Threads
from warmstart.serve.engine.conversations import model_abilities
from warmstart.serve.engine.encodings import encode_items
from warmstart.serve.engine.ids import MAX_ID
from warmstart.serve.engine.index import Entry
from warmstart.serve.engine.list_maker import MAX_HISTORY
from warmstart.serve.engine.lists import ControlError, ListRequest, UnknownUserError
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.database import StoreError
from warmstart.serve.storage.keys import Caller
from warmstart.serve.storage.records import Item


class _Id(Convertor[str]):
    """The rest of a path, including line breaks, at which Starlette's converter stops."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("id", _Id())
routes = APIRouter(route_class=GuardedRoute)

_MAX_BODY_BYTES = 2**20
_MANY_IDS = 1000  # more of them are converted outside the event loop
ItemPath = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="id of the item")]
WithQuery = Annotated[
    list[str],
    Query(alias="with", max_length=64, description="name of an item column to return; repeatable"),
]
UserPath = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="id of the user")]


async def recommend(body: Recommend, request: Request, _: MayRecommend) -> Response:
    """Recommend the best items for a user, or for a history of items."""
    service: Service = request.app.state.service
    check_k(service, body)
    n_ids = len(body.history or ()) + len(body.allow or ()) + len(body.deny)
    if n_ids > _MANY_IDS:
        wanted = await request.app.state.threads.index.run(lambda: _list_request(service, body))
    else:
        wanted = _list_request(service, body)
    if wanted.user is not None and service.deployment.index.may_have_forgotten(wanted.user):
        recorded = await _recorded(service, request.app.state.threads, wanted.user)
        wanted = replace(wanted, recorded=tuple(recorded))
    try:
        hits = await request.app.state.batcher.recommend(wanted)
    except ControlError as error:
        raise uncontrolled(body, error) from error
    except UnknownUserError as error:
        pointer, seen = (
            ("#/user", body.user) if body.history is None else ("#/history", body.history)
        )
        raise Problem(404, str(error), pointer=pointer, seen=seen) from error
    index = service.deployment.index
    shown = Shown(service, body.with_columns)
    content = {
        "known_user": wanted.user is not None and index.knows_user(wanted.user),
        "items": [recommended(hit, shown) for hit in hits],
    }
    return Response(orjson.dumps(content), media_type="application/json")


recommend_route = QuickRoute(
    "/v1/recommend",
    recommend,
    methods=["POST"],
    response_model=Recommendations,
    responses=error_responses(400, 401, 404, 408, 413, 415, 422, 429),
    tags=["recommend"],
    max_body_size=_MAX_BODY_BYTES,
    generate_unique_id_function=operation_id,
)


async def _recorded(service: Service, threads: Threads, user: str) -> list[str]:
    """The last items of a user whom the index may have forgotten, the last one last."""
    return await threads.store.run(lambda: service.store.events.last_items(user, MAX_HISTORY))


def _list_request(service: Service, body: Recommend) -> ListRequest:
    return ListRequest(
        user=None if body.user is None else internal_name(service, body.user, "#/user", "user"),
        exclude_seen=body.exclude_seen,
        **list_options(service, body),
    )


@routes.post(
    "/simulate",
    responses=error_responses(400, 408, 413, 415, 422),
    tags=["simulate"],
    max_body_size=_MAX_BODY_BYTES,
)
async def simulate(
    body: Simulate, service: TheService, threads: TheThreads, caller: MayReadItems
) -> Simulation:
    """Predict the likely users of a new item from its text; nothing is stored.

    A key of scope owner is told no users.
    """
    require(service.deployment.model, Simulates, "simulate users")
    text = composed_text(service, body.columns, "#/columns")

    def work() -> dict[str, Any]:
        deployment = service.deployment
        with deployment.encode_lock:
            like = deployment.model.fitted.catalogue
            new = catalogue_of_records([body.columns], [text], like)
            (encoded,) = encode_items(deployment.model, new)
        calibration = deployment.model.audience_calibration
        return {**deployment.index.simulate(encoded, body.k), "calibration": calibration}

    found = await threads.encoder.run(work)
    to_external_user, shown = external_id(service, "user"), Shown(service, body.with_columns)
    told = [] if caller.is_owner else found["users"]
    users = [{**row, "user": to_external_user(row["user"])} for row in told]
    nearest = [shown.item(row) for row in found["nearest"]]
    return Simulation(**{**found, "users": users, "nearest": nearest})


@routes.get("/similar/{item:id}", responses=error_responses(404, 422), tags=["items"])
async def similar(
    item: ItemPath,
    service: TheService,
    threads: TheThreads,
    _: MayRecommend,
    k: Annotated[int, Query(ge=1, le=1000, description="maximum number of items")] = 10,
    with_columns: WithQuery = [],  # noqa: B006 - FastAPI copies it
) -> Similar:
    """List the items with the most similar texts."""
    name = internal_name(service, item, "path.item")
    try:
        pairs = await threads.index.run(lambda: service.deployment.index.similar(name, k))
    except KeyError:
        raise Problem(404, "no such item", pointer="path.item", seen=item) from None
    shown = Shown(service, with_columns)
    return Similar(
        items=[shown.item({"item": other, "similarity": value}) for other, value in pairs]
    )


@routes.get("/items", responses=error_responses(422, 503), tags=["items"])
async def list_items(
    service: TheService,
    threads: TheThreads,
    caller: MayReadItems,
    limit: Annotated[int, Query(ge=1, le=1000, description="maximum number of items")] = 100,
    offset: Annotated[int, Query(ge=0, le=2**31, description="number of items to skip")] = 0,
    search: Annotated[
        str, Query(max_length=MAX_ID, description="words in the id or the text of an item")
    ] = "",
) -> ItemList:
    """List the written items, the newest first; with a key of scope owner, its own.

    With ``search``, items of the training data follow, unless the key is an owner's.
    """
    owner = caller.key if caller.is_owner else None
    words = search.strip().replace("\0", "")

    def work() -> ItemList:
        found = service.store.items.newest(limit, offset, owner=owner, search=words)
        listed: dict[str, Item | None] = {stored.item: stored for stored in found}
        if words and owner is None:
            trained = service.deployment.index.search(words, limit)
            written = service.store.items.among(trained)
            listed |= {name: written.get(name) for name in trained if name not in listed}
        shown = list(listed.items())[:limit]
        return ItemList(items=[_item_info(service, *one, caller) for one in shown])

    return await threads.store.run(work)


@routes.get("/items/{item:id}", responses=error_responses(404, 422, 503), tags=["items"])
async def look_up_item(
    item: ItemPath, service: TheService, threads: TheThreads, caller: MayReadItems
) -> ItemInfo:
    """Look up the state, columns, clicks and simulated users of an item.

    A key of scope owner sees its own items only, and no users.
    """
    name = internal_name(service, item, "path.item")
    entry = service.deployment.index.entry(name)
    try:
        stored = await threads.store.run(lambda: service.store.items.get(name))
    except StoreError:
        if entry is None:
            raise
        stored = _as_known(entry)  # the store cannot be reached, but the index has the item
    hidden = caller.is_owner and (stored is None or stored.owner != caller.key)
    if hidden or (entry is None and stored is None):
        raise Problem(404, "no such item", pointer="path.item", seen=item)
    return _item_info(service, name, stored, caller)


def _as_known(entry: Entry) -> Item | None:
    """The item as the index knows it; None if it was never written."""
    if entry.owner is None:
        return None
    columns, deleted = entry.columns or {}, entry.is_deleted
    return Item(entry.name, columns, "", "", entry.owner, deleted=deleted)


def _item_info(service: Service, name: str, stored: Item | None, caller: Caller) -> ItemInfo:
    index, fitted = service.deployment.index, service.deployment.model.fitted
    entry, trained = index.entry(name), index.is_trained(name)
    deleted = stored is not None and stored.deleted
    columns = None if stored is None else stored.columns
    if not columns and trained and not deleted:
        columns = index.trained_columns(name)
    state = "trained" if trained else "ready"
    if deleted:
        state = "deleted"
    elif stored is not None and stored.error:
        state = "failed"
    elif entry is None:
        state = "waiting"
    elif not trained and not entry.is_scored:
        state = "unscored"
    audience = []
    shown = entry if caller.may("users") else None
    if shown is not None and shown.audience is not None and shown.probabilities is not None:
        users = fitted.user_ids.take(shown.audience)
        audience = [
            {"user": user, "probability": probability}
            for user, probability in zip(users, shown.probabilities.tolist(), strict=True)
        ]
    return ItemInfo(
        id=external_id(service)(name),
        state=state,
        columns=columns,
        owner=stored.owner if stored is not None and stored.owner else None,
        clicks=index.clicks_of(name),
        click_weight=0.0 if entry is None else entry.click_weight,
        exposure_penalty=0.0 if entry is None else entry.exposure_penalty,
        error=None if stored is None else stored.error,
        simulated_users=audience,
    )


@routes.get("/users/{user:id}", responses=error_responses(404, 422), tags=["users"])
async def look_up_user(
    user: UserPath,
    service: TheService,
    threads: TheThreads,
    _: MayReadUsers,
    with_columns: WithQuery = [],  # noqa: B006 - FastAPI copies it
) -> UserInfo:
    """Look up the positive interactions of a user, in the training data and recorded since."""
    index, name = service.deployment.index, internal_name(service, user, "path.user", "user")
    known, history = index.knows_user(name), await threads.index.run(lambda: index.history(name))
    if index.may_have_forgotten(name):
        history = [*dict.fromkeys(await _recorded(service, threads, name))]
    if not known and not history:
        raise Problem(404, "no such user", pointer="path.user", seen=user)
    to_external, shown = external_id(service), Shown(service, with_columns)
    return UserInfo(
        id=external_id(service, "user")(name),
        known=known,
        history=[to_external(name) for name in history],
        columns=[shown.columns(name) for name in history] if with_columns else None,
    )


@routes.get("/model", tags=["operations"])
async def model(service: TheService, _: MayReadItems) -> ModelInfo:
    """Describe the served model."""
    deployment = service.deployment
    fitted = deployment.model.fitted
    return ModelInfo(
        method=deployment.model.name,
        hash=deployment.model_hash,
        folder=deployment.folder.name,
        config=deployment.model.config.model_dump(mode="json"),
        text_columns=list(fitted.catalogue.text_columns),
        title_column=fitted.catalogue.title_column,
        genre_column=fitted.catalogue.genre_column,
        prior_strength=service.settings.prior_strength,
        language_models={role: str(spec.get("source")) for role, spec in fitted.lms.items()},
        id_type="integer" if fitted.catalogue.item_ids.is_integer else "string",
        load_seconds=deployment.load_seconds,
        swapping=service.swapper.swapping,
        abilities=model_abilities(deployment.model),
    )


@routes.get("/status", tags=["operations"])
async def status(service: TheService, threads: TheThreads, _: MayReadItems) -> Status:
    """Report the state of index, queue and store."""
    deployment = service.deployment
    try:
        behind = await threads.store.run(
            lambda: (
                max(0, service.store.changes.latest() - deployment.last_change)
                + max(0, service.store.events.latest() - deployment.last_event)
            )
        )
    except StoreError:
        behind = None
    return Status(
        **await threads.index.run(deployment.index.counts),
        waiting=service.waiting,
        last_change=deployment.last_change,
        behind=behind,
        store="postgresql" if service.store.is_postgres else "sqlite",
        store_reachable=behind is not None,
    )
