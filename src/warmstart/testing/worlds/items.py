"""Items of the worlds: each is even or odd, and its text and its genres tell so.

A text is made of words of one parity and of fillers ("even pair of six"). Genres are "Even" or
"Odd", which stands first, and for two thirds of the items a second one, "Long" or "Short", which
no user cares about.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import polars as pl

from warmstart.data.catalogue import Catalogue
from warmstart.data.ids import ExternalId, Ids

EVEN = ("even", "two", "four", "six", "eight", "pair", "couple")
ODD = ("odd", "one", "three", "five", "seven", "single", "lone")
FILLERS = ("a", "the", "of", "book", "story")
WORDS = (*EVEN, *ODD, *FILLERS)
PARITY_GENRES = ("Even", "Odd")
GENRES = ("Even", "Long", "Odd", "Short")

_SECOND_GENRES = ((), ("Long",), ("Short",))
_NAMES = {
    "str": {"user": "user {:03d}", "item": "item/{:03d}"},
    "int": {"user": "1{:03d}", "item": "70{:03d}"},
}
IdType: TypeAlias = Literal["str", "int"]


def parity_text(parity: int, rng: np.random.Generator) -> str:
    """Make a text that tells the parity of an item, 0 even or 1 odd."""
    words = rng.choice((EVEN, ODD)[parity], 3, replace=False)
    fillers = rng.choice(FILLERS, 2, replace=False)
    return " ".join(rng.permutation([*words, *fillers]))


def genres_of(parity: int, number: int) -> tuple[str, ...]:
    """The genres of the item of this parity and number, that of the parity first."""
    return (PARITY_GENRES[parity], *_SECOND_GENRES[number % 3])


def external_ids(kind: str, id_type: IdType, numbers: Sequence[int]) -> Ids:
    """Make ids of users or items from their numbers, such as "item/007"."""
    names = [_NAMES[id_type][kind].format(number) for number in numbers]
    values: list[ExternalId] = [int(name) if id_type == "int" else name for name in names]
    return Ids(values, kind)


def catalogue_of(
    item_ids: Ids, texts: Sequence[str], genres: Sequence[tuple[str, ...]]
) -> Catalogue:
    """Make a catalogue with the columns title, length and genres."""
    columns = pl.DataFrame(
        {
            "title": list(texts),
            "length": [str(len(text)) for text in texts],
            "genres": ["|".join(names) for names in genres],
        },
        schema={"title": pl.String, "length": pl.String, "genres": pl.String},
    )
    return Catalogue(item_ids, tuple(texts), None, columns, ("title",))


def numbered_items(numbers: np.ndarray, rng: np.random.Generator) -> Catalogue:
    """Make a catalogue of items with texts; the parity of an item is that of its number."""
    parities = (numbers % 2).tolist()
    return catalogue_of(
        external_ids("item", "str", numbers.tolist()),
        [parity_text(parity, rng) for parity in parities],
        [genres_of(p, number) for p, number in zip(parities, numbers.tolist(), strict=True)],
    )
