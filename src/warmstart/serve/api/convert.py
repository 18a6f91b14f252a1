"""Conversions between the API and the store: ids, texts, content hashes."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from warmstart.data.catalogue import compose_texts
from warmstart.data.ids import ExternalId
from warmstart.data.readers.assemble import item_texts
from warmstart.data.readers.tables import columns_table
from warmstart.errors import DataError
from warmstart.serve.api.problems import Problem
from warmstart.serve.engine.service import IdKind, Service
from warmstart.serve.storage.store import Item


def external_id(service: Service, kind: IdKind = "item") -> Callable[[str], ExternalId]:
    """Return a function from internal names to external ids, int if the model's ids are.

    Args:
        service: service whose model has the ids.
        kind: "item" or "user".
    """
    if not service.ids(kind).is_integer:
        return lambda name: name
    return lambda name: int(name) if name.removeprefix("-").isdecimal() else name


def internal_name(service: Service, given: ExternalId, pointer: str, kind: IdKind = "item") -> str:
    """Convert an external id to its internal name.

    Args:
        service: service whose model decides the type of the id.
        given: a number or text of a JSON body; text of a path.
        pointer: its place in the request.
        kind: "item" or "user".

    Raises:
        Problem: the id is malformed, or does not have the type of the model's ids.
    """
    try:
        return service.id_name(given, kind)
    except DataError as error:
        raise Problem(422, str(error), pointer=pointer, seen=given) from None


def internal_names(service: Service, given: Sequence[ExternalId], pointer: str) -> tuple[str, ...]:
    """Convert the ids of items in a list of a JSON body, like ``internal_name``."""
    of_model = int if service.ids("item").is_integer else str
    if all(type(item) is of_model for item in given):  # a shortcut for long lists
        return tuple(map(str, given))  # the schema has checked them
    return tuple(
        internal_name(service, item, f"{pointer}/{position}") for position, item in enumerate(given)
    )


def composed_text(service: Service, columns: Mapping[str, Any], pointer: str) -> str:
    """Compose the text of an item as in the training data.

    Raises:
        Problem: the item has no text, or more than ``max_text_chars`` characters.
    """
    text_columns = service.deployment.model.fitted.catalogue.text_columns
    length = sum(len(str(value)) for value in columns.values())
    if length > service.settings.max_text_chars:
        allowed = f"an item may have at most {service.settings.max_text_chars} characters"
        raise Problem(422, allowed, pointer=pointer, seen=f"{length} characters")
    row = [(name, [columns.get(name)]) for name in text_columns]
    try:
        (text,) = compose_texts(item_texts(columns_table(row, "the item")), text_columns)
    except DataError as error:
        raise Problem(422, str(error), pointer=pointer, seen=dict(columns)) from None
    if not text:
        allowed = f"an item needs a text in at least one of the columns {list(text_columns)}"
        raise Problem(422, allowed, pointer=pointer, seen=dict(columns))
    return text


def as_item(service: Service, name: str, columns: dict[str, Any], owner: str, at: str) -> Item:
    """Build the item to write to the store.

    Raises:
        Problem: the item has no text, or more than ``max_text_chars`` characters.
    """
    text = composed_text(service, columns, at)
    content = hashlib.sha256(json.dumps([text, columns], sort_keys=True).encode()).hexdigest()
    return Item(name, columns, text, content, owner)
