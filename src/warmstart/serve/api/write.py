"""Write routes: items and interactions."""

import uuid

from anyio.to_thread import run_sync
from fastapi import APIRouter

from warmstart.serve.api.access import TheService, Writer
from warmstart.serve.api.convert import as_item, external_id, internal_name
from warmstart.serve.api.invalid_requests import shown
from warmstart.serve.api.problems import Problem, error_responses
from warmstart.serve.api.read import ItemPath
from warmstart.serve.api.schemas import (
    ItemColumns,
    NewEvents,
    NewItem,
    NewItems,
    Recorded,
    WrittenItem,
    WrittenItems,
)
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.store import Event, Item

routes = APIRouter()
_BODY = error_responses(400, 413, 415, 422)


async def _write(
    service: Service, given: list[NewItem], owner: str, pointers: list[tuple[str, str]]
) -> WrittenItems:
    """Store items; ``pointers`` locate the id and the columns of each in the request."""
    if len(given) > service.settings.max_items_per_request:
        allowed = f"one request may have at most {service.settings.max_items_per_request} items"
        raise Problem(422, allowed, pointer="#/items", seen=f"{len(given)} items")

    def work() -> WrittenItems:
        items, to_external = [], external_id(service)
        for new, (id_at, columns_at) in zip(given, pointers, strict=True):
            name = internal_name(service, new.id, id_at)
            items.append(as_item(service, name, dict(new.columns), owner, columns_at))
        outcomes = service.write_items(items)
        written = [
            WrittenItem(id=to_external(item.item), outcome=outcome)
            for item, outcome in zip(items, outcomes, strict=True)
        ]
        return WrittenItems(items=written, waiting=service.waiting)

    return await run_sync(work)


@routes.post("/items", status_code=202, responses=_BODY, tags=["items"])
async def write_items(body: NewItems, service: TheService, caller: Writer) -> WrittenItems:
    """Add or update items, all or none; unchanged items are left as they are.

    The response is sent once they are stored. They are recommended once they are encoded.
    """
    places = [f"#/items/{position}" for position in range(len(body.items))]
    pointers = [(f"{at}/id", f"{at}/columns") for at in places]
    return await _write(service, body.items, caller.key, pointers)


@routes.put("/items/{item:id}", status_code=202, responses=_BODY, tags=["items"])
async def write_item(
    item: ItemPath, body: ItemColumns, service: TheService, caller: Writer
) -> WrittenItems:
    """Add or update one item; the body may repeat its id, to have the type checked too."""
    name = internal_name(service, item, "path.item")
    if body.id is not None and internal_name(service, body.id, "#/id") != name:
        detail = f"got {shown(body.id)}; allowed: the id in the path, {shown(item)}"
        raise Problem(422, detail, pointer="#/id", seen=body.id)
    new = NewItem(id=external_id(service)(name), columns=body.columns)
    return await _write(service, [new], caller.key, [("path.item", "#/columns")])


@routes.delete(
    "/items/{item:id}", status_code=204, responses=error_responses(404, 422), tags=["items"]
)
async def delete_item(item: ItemPath, service: TheService, caller: Writer) -> None:
    """Exclude an item from all lists; it may be an item of the training data."""
    name = internal_name(service, item, "path.item")

    def work() -> None:
        stored = service.store.item(name)
        if stored is None:
            if service.deployment.index.entry(name) is None:
                raise Problem(404, "no such item", pointer="path.item", seen=item)
            stored = Item(name, {}, "", "", caller.key)
        service.store.delete_item(stored)

    await run_sync(work)


@routes.post("/interactions", status_code=202, responses=_BODY, tags=["interactions"])
async def record(body: NewEvents, service: TheService, caller: Writer) -> Recorded:
    """Record interactions, all or none.

    They move cold items towards their observed scores and remove the items from the lists of their
    users. Every item must be in the training data or written before.
    """
    if len(body.interactions) > service.settings.max_items_per_request:
        limit = service.settings.max_items_per_request
        allowed = f"one request may have at most {limit} interactions"
        seen = f"{len(body.interactions)} interactions"
        raise Problem(422, allowed, pointer="#/interactions", seen=seen)

    def work() -> Recorded:
        events = []
        for position, new in enumerate(body.interactions):
            at = f"#/interactions/{position}"
            user = internal_name(service, new.user, f"{at}/user", "user")
            name = internal_name(service, new.item, f"{at}/item")
            known = service.deployment.index.entry(name) is not None
            if not known and service.store.item(name) is None:
                raise Problem(422, "no such item", pointer=f"{at}/item", seen=new.item)
            events.append(Event(new.event or uuid.uuid4().hex, user, name, caller.key))
        return Recorded(new=service.store.record_events(events))

    return await run_sync(work)
