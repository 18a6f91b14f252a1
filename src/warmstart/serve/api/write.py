"""Routes that write: items and interactions."""

import uuid

from anyio.to_thread import run_sync
from fastapi import APIRouter

from warmstart.serve.api.access import TheService, Writer
from warmstart.serve.api.convert import as_item, external_id, internal_name
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


async def _write(service: Service, given: list[NewItem], owner: str) -> WrittenItems:
    if len(given) > service.settings.max_items_per_request:
        allowed = f"one request may have {service.settings.max_items_per_request} items"
        raise Problem(422, allowed, pointer="#/items", seen=f"{len(given)} items")

    def work() -> WrittenItems:
        items, to_external = [], external_id(service)
        for position, new in enumerate(given):
            at = f"#/items/{position}"
            name = internal_name(service, new.id, f"{at}/id")
            items.append(as_item(service, name, dict(new.columns), owner, f"{at}/columns"))
        outcomes = service.write_items(items)
        written = [
            WrittenItem(id=to_external(item.item), outcome=outcome)
            for item, outcome in zip(items, outcomes, strict=True)
        ]
        return WrittenItems(items=written, waiting=service.waiting)

    return await run_sync(work)


@routes.post("/items", status_code=202, responses=_BODY, tags=["items"])
async def write_items(body: NewItems, service: TheService, holder: Writer) -> WrittenItems:
    """Add or update items, all or none; an unchanged item is left as it is.

    They are stored when this returns, and recommended a moment later.
    """
    return await _write(service, body.items, holder.key)


@routes.put("/items/{item:id}", status_code=202, responses=_BODY, tags=["items"])
async def write_item(
    item: ItemPath, body: ItemColumns, service: TheService, holder: Writer
) -> WrittenItems:
    """Add or update one item."""
    given = external_id(service)(internal_name(service, item, "#path/item"))
    return await _write(service, [NewItem(id=given, columns=body.columns)], holder.key)


@routes.delete(
    "/items/{item:id}", status_code=204, responses=error_responses(404, 422), tags=["items"]
)
async def delete_item(item: ItemPath, service: TheService, holder: Writer) -> None:
    """Stop recommending an item; it may be one of the training data."""
    name = internal_name(service, item, "#path/item")

    def work() -> None:
        stored = service.store.item(name)
        if stored is None:
            if service.deployment.index.entry(name) is None:
                raise Problem(404, "no such item", pointer="#path/item", seen=item)
            stored = Item(name, {}, "", "", holder.key)
        service.store.delete_item(stored)

    await run_sync(work)


@routes.post("/interactions", status_code=202, responses=_BODY, tags=["interactions"])
async def record(body: NewEvents, service: TheService, holder: Writer) -> Recorded:
    """Record interactions, all or none: cold items warm up by them, users' lists leave them out.

    Every item must be known: from the training data, or written before.
    """
    if len(body.interactions) > service.settings.max_items_per_request:
        allowed = f"one request may have {service.settings.max_items_per_request} interactions"
        seen = f"{len(body.interactions)} interactions"
        raise Problem(422, allowed, pointer="#/interactions", seen=seen)

    def work() -> Recorded:
        events = []
        for position, new in enumerate(body.interactions):
            at = f"#/interactions/{position}/item"
            name = internal_name(service, new.item, at)
            known = service.deployment.index.entry(name) is not None
            if not known and service.store.item(name) is None:
                raise Problem(422, "no such item", pointer=at, seen=new.item)
            events.append(Event(new.event or uuid.uuid4().hex, str(new.user), name, holder.key))
        return Recorded(new=service.store.record_events(events))

    return await run_sync(work)
