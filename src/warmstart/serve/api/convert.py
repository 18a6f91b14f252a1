"""Conversions between the API and the store: ids, texts, content hashes."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from warmstart.data.catalogue import compose_texts
from warmstart.data.ids import ExternalId
from warmstart.errors import DataError
from warmstart.serve.api.problems import Problem
from warmstart.serve.engine.service import Service
from warmstart.serve.storage.store import Item


def external_id(service: Service, kind: str = "item") -> Callable[[str], ExternalId]:
    """A converter from internal names to external ids (integers if the model's ids are)."""
    fitted = service.deployment.model.fitted
    ids = fitted.user_ids if kind == "user" else fitted.catalogue.item_ids
    if not ids.is_integer:
        return lambda name: name
    return lambda name: int(name) if name.removeprefix("-").isdecimal() else name


def internal_name(service: Service, given: ExternalId, pointer: str) -> str:
    """Convert the external id of an item to its internal name.

    Raises:
        Problem: it is not of the type of the model's ids.
    """
    if "\0" in str(given):
        raise Problem(422, "must not contain the character NUL", pointer=pointer, seen=given)
    try:
        return service.item_id(given)
    except DataError as error:
        raise Problem(422, str(error), pointer=pointer, seen=given) from None


def composed_text(service: Service, columns: Mapping[str, Any], pointer: str) -> str:
    """The text of an item, composed as in the training data.

    Raises:
        Problem: the item has no text, or too much of it.
    """
    wanted = service.deployment.model.fitted.catalogue.text_columns
    length = sum(len(str(value)) for value in columns.values())
    if length > service.settings.max_text_chars:
        allowed = f"an item may have {service.settings.max_text_chars} characters"
        raise Problem(422, allowed, pointer=pointer, seen=f"{length} characters")
    row = {name: columns.get(name) for name in wanted}
    (text,) = compose_texts(pl.DataFrame([row], strict=False), wanted)
    if not text:
        allowed = f"an item needs a text: at least one of the columns {list(wanted)}"
        raise Problem(422, allowed, pointer=pointer, seen=dict(columns))
    return text


def as_item(service: Service, name: str, columns: dict[str, Any], owner: str, at: str) -> Item:
    """The item to write to the store.

    Raises:
        Problem: it has no text, or too much of it.
    """
    text = composed_text(service, columns, at)
    content = hashlib.sha256(json.dumps([text, columns], sort_keys=True).encode()).hexdigest()
    return Item(name, columns, text, content, owner)
