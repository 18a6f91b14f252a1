"""Conversions between the API and the store: ids, texts, content hashes."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from warmstart.data.catalogue import compose_texts
from warmstart.data.ids import ExternalId
from warmstart.data.readers.assemble import item_texts
from warmstart.data.readers.tables import columns_table
from warmstart.errors import DataError
from warmstart.serve.api.problems import Problem
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.store import Item


def external_id(service: Service, kind: str = "item") -> Callable[[str], ExternalId]:
    """Return a function from internal names to external ids, int if the model's ids are.

    Args:
        service: service whose model has the ids.
        kind: "item" or "user".
    """
    fitted = service.deployment.model.fitted
    ids = fitted.user_ids if kind == "user" else fitted.catalogue.item_ids
    if not ids.is_integer:
        return lambda name: name
    return lambda name: int(name) if name.removeprefix("-").isdecimal() else name


def internal_name(service: Service, given: ExternalId, pointer: str) -> str:
    """Convert the external id of an item to its internal name.

    Raises:
        Problem: the id is malformed, or does not have the type of the model's ids.
    """
    try:
        return service.item_id(given)
    except DataError as error:
        raise Problem(422, str(error), pointer=pointer, seen=given) from None


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
