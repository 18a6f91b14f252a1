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
from warmstart.serve.engine.ids import IdKind, WrongIdError, id_names
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.records import Item


def external_id(service: Service, kind: IdKind = "item") -> Callable[[str], ExternalId]:
    """Return a function from internal names to external ids, int if the model's ids are.

    Args:
        service: service whose model has the ids.
        kind: "item" or "user".
    """
    if not service.deployment.ids(kind).is_integer:
        return lambda name: name
    return lambda name: int(name) if name.removeprefix("-").isdecimal() else name


def internal_names(
    service: Service, given: Sequence[Any], pointer: str, kind: IdKind = "item"
) -> list[str]:
    """Convert ids of a request to internal names, all at once.

    Args:
        service: service whose model decides the type of the ids.
        given: values of a JSON body; text of a path.
        pointer: their place in the request, with "{}" for the position of each.
        kind: "item" or "user".

    Raises:
        Problem: an id is malformed, or does not have the type of the model's ids.
    """
    try:
        return id_names(given, service.deployment.ids(kind))
    except WrongIdError as error:
        at = error.position
        problem = Problem(422, str(error), pointer=pointer.format(at), seen=given[at])
        raise problem from None


def internal_name(service: Service, given: Any, pointer: str, kind: IdKind = "item") -> str:
    """Convert one id, like ``internal_names``."""
    (name,) = internal_names(service, [given], pointer, kind)
    return name


def composed_text(service: Service, columns: Mapping[str, Any], pointer: str) -> str:
    """Compose the text of an item as in the training data.

    Raises:
        Problem: the item has more than ``max_text_chars`` characters, or no text although the
            method reads texts.
    """
    model = service.deployment.model
    text_columns = model.fitted.catalogue.text_columns
    length = sum(len(str(value)) for value in columns.values())
    if length > service.settings.max_text_chars:
        allowed = f"an item may have at most {service.settings.max_text_chars} characters"
        raise Problem(422, allowed, pointer=pointer, seen=f"{length} characters")
    row, text = [(name, [columns.get(name)]) for name in text_columns], ""
    if row:
        try:
            (text,) = compose_texts(item_texts(columns_table(row, "the item")), text_columns)
        except DataError as error:
            raise Problem(422, str(error), pointer=pointer, seen=dict(columns)) from None
    if not text and "texts" in model.traits.reads:
        allowed = f"an item needs a text in at least one of the columns {list(text_columns)}"
        raise Problem(422, allowed, pointer=pointer, seen=dict(columns))
    return text


def as_item(service: Service, name: str, columns: dict[str, Any], owner: str, at: str) -> Item:
    """Build the item to write to the store.

    Raises:
        Problem: see ``composed_text``.
    """
    text = composed_text(service, columns, at)
    content = hashlib.sha256(json.dumps([text, columns], sort_keys=True).encode()).hexdigest()
    return Item(name, columns, text, content, owner)
