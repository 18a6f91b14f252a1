"""Encodings of texts, for tests of items that have no other columns."""

from warmstart.data.readers.item_records import catalogue_of_records
from warmstart.serve.engine.encodings import encode_items


def encode_texts(model, texts):
    """Encode items that have a text only."""
    return encode_items(
        model, catalogue_of_records([{}] * len(texts), texts, model.fitted.catalogue)
    )
