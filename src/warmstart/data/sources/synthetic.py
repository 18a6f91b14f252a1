"""Synthetic data set: generated books with titles and texts, and one year of interactions.

It makes a first run possible without a download. Each book has a sub-topic and a level. Readers
prefer a few sub-topics, some levels, and popular books; books are released through the year. So the
text predicts much of who will read a new book, popularity predicts some of it, and neither predicts
all of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from warmstart.data.dataset import Dataset
from warmstart.data.readers.dataset_config import DatasetConfig
from warmstart.data.readers.frames import from_frames
from warmstart.data.sources.source import Source, SourceTables
from warmstart.data.sources.vocabulary import LEVELS, TOPICS
from warmstart.errors import ConfigError
from warmstart.process import check_process

_START = 1_704_067_200  # 2024-01-01, UTC
_DAY = 86_400
_DAYS = 366
_BACKLIST = 0.3  # fraction of the books released before the year begins
_MEAN_EVENTS = 15.0  # interactions per user
_MIN_EVENTS = 5
_POPULARITY_ONLY = 0.12  # fraction of choices that ignore the reader's preferences
SUBTOPICS = tuple((topic, name) for topic, names in TOPICS.items() for name in names)


@dataclass(frozen=True)
class Books:
    """Generated books: text, topic, popularity and release date.

    All arrays have shape (items,): ``subtopic`` and ``level`` int64, ``appeal`` float64 (log of
    popularity), ``day`` float64 (release, in days after the start; negative for the backlist).
    """

    titles: list[str]
    texts: list[str]
    subtopic: np.ndarray
    level: np.ndarray
    appeal: np.ndarray
    day: np.ndarray


def synthetic(n_users: int = 600, n_items: int = 900, *, rng: np.random.Generator) -> Dataset:
    """Generate the synthetic data set; generators in the same state give the same data.

    Args:
        n_users: number of readers, each with at least five interactions.
        n_items: number of books.
        rng: source of all random draws.

    Raises:
        ConfigError: fewer than 1 user or fewer than 50 items.
    """
    check_process()
    interactions, items = _tables(n_users, n_items, rng)
    return from_frames(
        interactions,
        items,
        time="timestamp",
        text=("title", "text"),
        name="synthetic",
    )


def synthetic_items(n_items: int, *, rng: np.random.Generator) -> pl.DataFrame:
    """Generate books without interactions: columns ``item`` ("new-001", ...), ``title``, ``text``.

    The books are the same for generators in the same state.
    """
    check_process()
    books = write_books(n_items, rng)
    ids = [f"new-{number:03d}" for number in range(1, n_items + 1)]
    return pl.DataFrame({"item": ids, "title": books.titles, "text": books.texts})


def _tables(
    n_users: int, n_items: int, rng: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    if n_users < 1 or n_items < 50:
        raise ConfigError(
            f"synthetic data of {n_users} users and {n_items} items; allowed: at least 1 and 50"
        )
    books = write_books(n_items, rng)
    users, items, seconds = [], [], []
    for user in range(n_users):
        read, days = _draw_reader(books, rng)
        users.append(np.full(len(read), user))
        items.append(read)
        seconds.append(days)
    # Random numbers, so that an id reveals neither the release date nor the topic.
    numbers = rng.permutation(n_items) + 1
    item_ids = np.array([f"book-{number:04d}" for number in numbers])
    user_ids = np.array([f"reader-{number:04d}" for number in range(1, n_users + 1)])
    interactions = pl.DataFrame(
        {
            "user": user_ids[np.concatenate(users)],
            "item": item_ids[np.concatenate(items)],
            "timestamp": _START + (np.concatenate(seconds) * _DAY).astype(np.int64),
        }
    )
    catalogue = pl.DataFrame(
        {
            "item": item_ids,
            "title": books.titles,
            "text": books.texts,
            "categories": ["|".join(SUBTOPICS[s]) for s in books.subtopic],
            "released": _START + (books.day * _DAY).astype(np.int64),
        }
    )
    return interactions, catalogue.sort("item")


def write_books(n_items: int, rng: np.random.Generator) -> Books:
    """Draw the books, each with a title of its own."""
    subtopic = rng.integers(len(SUBTOPICS), size=n_items)
    level = rng.choice(len(LEVELS), n_items, p=(0.3, 0.45, 0.25))
    titles: list[str] = []
    texts: list[str] = []
    taken: set[str] = set()
    for sub, grade in zip(subtopic, level, strict=True):
        title, text = _write_book(int(sub), int(grade), taken, rng)
        taken.add(title)
        titles.append(title)
        texts.append(text)
    backlist = rng.random(n_items) < _BACKLIST
    day = np.where(backlist, rng.uniform(-900, 0, n_items), rng.uniform(0, _DAYS, n_items))
    return Books(titles, texts, subtopic, level, rng.normal(0, 0.8, n_items), day)


def _write_book(sub: int, level: int, taken: set[str], rng: np.random.Generator) -> tuple[str, str]:
    topic, name = SUBTOPICS[sub]
    subjects, details = (words.split("|") for words in TOPICS[topic][name])
    forms, sentences = LEVELS[level]
    title = ""
    for volume in range(40):
        title = one_of(forms, rng).format(subject=one_of(subjects, rng))
        title = title[0].upper() + title[1:]
        if volume >= 20:  # the titles without a volume number are exhausted
            title = f"{title}, volume {int(rng.integers(2, 100))}"
        if title not in taken:
            break
    one, two = (details[number] for number in rng.permutation(len(details))[:2])
    return title, one_of(sentences, rng).format(one=one, two=two)


def one_of(words: Sequence[str], rng: np.random.Generator) -> str:
    """Draw one of some words."""
    return words[int(rng.integers(len(words)))]


def _draw_reader(books: Books, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one reader's interactions: item rows and days, shape (events,), in order of time."""
    preference = np.full(len(SUBTOPICS), -3.0)  # log-weight of each sub-topic
    favourites = rng.choice(len(SUBTOPICS), int(rng.integers(2, 5)), replace=False)
    preference[favourites] = rng.normal(1.5, 0.5, len(favourites))
    # The other sub-topics of a favourite's topic get a smaller boost.
    topics = [SUBTOPICS[f][0] for f in favourites]
    near = np.array([topic in topics for topic, _ in SUBTOPICS])
    preference[near & (preference < 0)] = -0.8
    levels = rng.normal(0, 0.7, len(LEVELS))
    personal = np.exp(preference[books.subtopic] + levels[books.level] + books.appeal)
    popularity = np.exp(1.5 * books.appeal)

    count = max(_MIN_EVENTS, int(rng.lognormal(np.log(_MEAN_EVENTS) - 0.125, 0.5)))
    days = np.sort(rng.uniform(0, _DAYS, count))
    unread = np.ones(len(books.day), bool)
    chosen = np.full(count, -1)
    for event, day in enumerate(days):
        age = day - books.day
        # A new book gets six times the attention, which decays with a time constant of 60 days.
        fresh = 1 + 5 * np.exp(-np.maximum(age, 0) / 60)
        base = popularity if rng.random() < _POPULARITY_ONLY else personal
        weight = base * fresh * unread * (age >= 0)
        total = np.cumsum(weight)
        if total[-1] > 0:
            # The first book whose cumulative weight exceeds the draw; never a book of weight 0.
            chosen[event] = np.searchsorted(total, rng.random() * total[-1], side="right")
            unread[chosen[event]] = False
    return chosen[chosen >= 0], days[chosen >= 0]


def _convert(_folder: Path) -> SourceTables:
    interactions, items = _tables(600, 900, np.random.default_rng(0))
    settings = DatasetConfig(name="synthetic", text=("title", "text"))
    return SourceTables(interactions, items, settings)


SYNTHETIC = Source(
    "synthetic",
    "600 readers, 900 books, about 9,000 interactions over a year; generated here",
    "made by this package; no restriction",
    (),
    _convert,
)
