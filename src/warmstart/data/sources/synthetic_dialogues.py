"""Synthetic dialogues: readers ask for books, and a librarian recommends.

Each dialogue is about one sub-topic and one occasion of reading. The librarian recommends books
that fit both, and popular ones more often. Three kinds of words tell what fits: the sub-topic's
words, which the texts of its books have as well; titles of books that the reader liked, which fit
too; and the words of the occasion, which no book has, so that only other dialogues tell what they
stand for. So content, items mentioned together, similar requests and popularity each predict a
part. Some books are new: only dialogues of the test part name them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from warmstart.data.dataset import Dataset
from warmstart.data.readers.dataset_config import DatasetConfig
from warmstart.data.readers.frames import from_frames
from warmstart.data.sources.source import Source, SourceTables
from warmstart.data.sources.synthetic import SUBTOPICS, Books, one_of, write_books
from warmstart.data.sources.vocabulary import TOPICS
from warmstart.errors import ConfigError
from warmstart.process import check_process

# What readers say of each occasion; the texts of books have none of these words.
_OCCASIONS = (
    ("to fall asleep over", "calm enough for bedtime", "for quiet nights in bed"),
    ("as a present for my father", "to give to a relative", "a birthday gift, really"),
    ("for my daily commute", "short chapters, I read on the bus", "to fit into lunch breaks"),
    ("for our reading circle", "to discuss with my club", "that my friends will argue about"),
)
_GREETINGS = ("Hello,", "Hi there,", "Good morning,", "Hey,")
_WISHES = (
    "I am looking for a book about {wish}, {occasion}.",
    "could you suggest something on {wish}? It should be {occasion}.",
    "I need a book, {occasion}. Perhaps about {wish}?",
)
_LIKED = ("I really liked {title}.", "My favourite so far is {title}.", "I enjoyed {title}.")
_FIRST = ("Have you read {title}?", "{title} may be right for you.", "What about {title}?")
_ANSWERS = (
    "Not yet, but it sounds good. I would also like {wish}.",
    "I know that one. Is there more about {wish}?",
    "I will look at it. Anything with {wish}?",
)
_SECOND = ("Then try {title}.", "I can recommend {title}.", "People like you read {title}.")
_PARTS, _SHARES = ("train", "valid", "test"), (0.7, 0.85)  # where validation and test begin
_NEW = 0.12  # fraction of the books that are new
_NEW_RECOMMENDED = 0.3  # fraction of the recommendations of the test part that are new books
_POPULAR_RECOMMENDED = 0.15  # fraction of the recommendations that ignore the wish
# Logarithms of weights.
_SAME_SUBTOPIC, _SAME_TOPIC, _SAME_OCCASION, _APPEAL = 4.5, 1.5, 2.0, 1.0
_POPULAR = 3.0  # of appeal, where the wish is ignored


@dataclass(frozen=True)
class _Library:
    """Books, the occasion of each, and which are new: int64 and bool, shape (items,)."""

    books: Books
    occasion: np.ndarray
    new: np.ndarray
    ids: list[str]


def synthetic_dialogues(
    n_dialogues: int = 400, n_items: int = 300, *, rng: np.random.Generator
) -> Dataset:
    """Generate dialogues about books; generators in the same state give the same data.

    Args:
        n_dialogues: number of dialogues: 70 % train, 15 % validate, 15 % test.
        n_items: number of books, with title, text and categories; 12 % are new.
        rng: source of all random draws.

    Returns:
        Dialogues with parts; every dialogue is a user, who had the items that it mentions.

    Raises:
        ConfigError: fewer than 20 dialogues or fewer than 100 items.
    """
    check_process()
    records, items = _tables(n_dialogues, n_items, rng)
    return from_frames(
        None, items, dialogues=records, text=("title", "text"), name="synthetic-dialogues"
    )


def _tables(
    n_dialogues: int, n_items: int, rng: np.random.Generator
) -> tuple[list[dict[str, Any]], pl.DataFrame]:
    if n_dialogues < 20 or n_items < 100:
        raise ConfigError(
            f"synthetic dialogues: {n_dialogues} dialogues about {n_items} items; allowed: at "
            "least 20 and 100"
        )
    books = write_books(n_items, rng)
    new = np.zeros(n_items, bool)
    new[rng.choice(n_items, int(_NEW * n_items), replace=False)] = True
    ids = [f"book-{number:04d}" for number in rng.permutation(n_items) + 1]
    library = _Library(books, rng.integers(len(_OCCASIONS), size=n_items), new, ids)
    records = []
    for number in range(n_dialogues):
        part = _PARTS[int(np.searchsorted(_SHARES, number / n_dialogues, side="right"))]
        turns = _draw_turns(library, part == "test", rng)
        records.append({"dialogue": f"talk-{number + 1:04d}", "part": part, "turns": turns})
    items = pl.DataFrame(
        {
            "item": ids,
            "title": books.titles,
            "text": books.texts,
            "categories": ["|".join(SUBTOPICS[subtopic]) for subtopic in books.subtopic],
        }
    )
    return records, items.sort("item")


def _draw_turns(
    library: _Library, with_new: bool, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Draw one dialogue: a wish, a recommendation, an answer, another recommendation."""
    subtopic, occasion = int(rng.integers(len(SUBTOPICS))), int(rng.integers(len(_OCCASIONS)))
    fit = _fit_of(library, subtopic, occasion)
    unused = np.ones(len(fit), bool)

    def draw(allowed: np.ndarray, weights: np.ndarray) -> int:
        share = weights * (allowed & unused)
        chosen = int(rng.choice(len(weights), p=share / share.sum()))
        unused[chosen] = False
        return chosen

    def said(speaker: str, text: str, *books: int) -> dict[str, Any]:
        return {"speaker": speaker, "text": text, "items": [library.ids[book] for book in books]}

    def recommended(sentences: Sequence[str]) -> dict[str, Any]:
        kind = rng.random()
        if with_new and kind < _NEW_RECOMMENDED:
            book = draw(library.new, fit)
        elif kind > 1 - _POPULAR_RECOMMENDED:
            book = draw(~library.new, np.exp(_POPULAR * library.books.appeal))
        else:
            book = draw(~library.new, fit)
        title = library.books.titles[book]
        return said("system", one_of(sentences, rng).format(title=title), book)

    wish = one_of(_WISHES, rng).format(
        wish=_wish(subtopic, rng), occasion=one_of(_OCCASIONS[occasion], rng)
    )
    liked = [draw(~library.new, fit) for _ in range(int(rng.integers(3)))]
    opinions = [one_of(_LIKED, rng).format(title=library.books.titles[book]) for book in liked]
    opening = " ".join([one_of(_GREETINGS, rng), wish, *opinions])
    turns = [said("user", opening, *liked), recommended(_FIRST)]
    answer = one_of(_ANSWERS, rng).format(wish=_wish(subtopic, rng))
    return [*turns, said("user", answer), recommended(_SECOND), said("user", "Thank you!")]


def _fit_of(library: _Library, subtopic: int, occasion: int) -> np.ndarray:
    """The weight with which each book is chosen: float64, shape (items,)."""
    books, topic = library.books, SUBTOPICS[subtopic][0]
    same_topic = np.array([SUBTOPICS[other][0] == topic for other in books.subtopic])
    return np.exp(
        _APPEAL * books.appeal
        + _SAME_SUBTOPIC * (books.subtopic == subtopic)
        + _SAME_TOPIC * same_topic
        + _SAME_OCCASION * (library.occasion == occasion)
    )


def _wish(subtopic: int, rng: np.random.Generator) -> str:
    topic, name = SUBTOPICS[subtopic]
    subjects, details = (words.split("|") for words in TOPICS[topic][name])
    return one_of((name, one_of(subjects, rng), one_of(details, rng)), rng)


def _convert(_folder: Path) -> SourceTables:
    records, items = _tables(400, 300, np.random.default_rng(0))
    settings = DatasetConfig(name="synthetic-dialogues", text=("title", "text"))
    return SourceTables(None, items, settings, dialogues=records)


SYNTHETIC_DIALOGUES = Source(
    "synthetic-dialogues",
    "400 dialogues in which readers ask for some of 300 books; generated here",
    "made by this package; no restriction",
    (),
    _convert,
)
