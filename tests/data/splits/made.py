"""Hand-made data sets whose splits can be written down."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy import sparse

from warmstart.data.dataset import Dataset
from warmstart.data.dialogues import SPEAKERS, Dialogues
from warmstart.data.histories import Histories
from warmstart.data.interactions import Interactions
from warmstart.data.ratings import Ratings
from warmstart.data.readers.frames import from_frames
from warmstart.data.tasks import RankingTask


def ordered(histories: Mapping[str, str], items: str = "", name: str = "made") -> Dataset:
    """Users with histories of one-letter items, oldest first; ``items`` are more of the catalogue.

    The rows of users and items follow the alphabet.
    """
    rows = [
        (user, item, place)
        for user, history in histories.items()
        for place, item in enumerate(history)
    ]
    users, clicked, places = (list(column) for column in zip(*rows, strict=True))
    catalogue = sorted({*clicked, *items})
    return from_frames(
        {"user": users, "item": clicked, "position": places},
        {"item": catalogue, "title": [f"title {item}" for item in catalogue]},
        position="position",
        name=name,
    )


def clocked(events: str, items: str = "") -> Dataset:
    """Events such as "u a 3": user, one-letter item, unix second."""
    rows = [event.split() for event in events.split(",")]
    users, clicked, times = (list(column) for column in zip(*rows, strict=True))
    catalogue = sorted({*clicked, *items})
    return from_frames(
        {"user": users, "item": clicked, "time": [int(time) for time in times]},
        {"item": catalogue, "title": [f"title {item}" for item in catalogue]},
        time="time",
        name="clocked",
    )


def rated(events: str, threshold: float | None = 4) -> Dataset:
    """Ratings such as "u a 5 3": user, one-letter item, rating, unix second; in order of time."""
    rows = [event.split() for event in events.split(",")]
    users, rated_items, values, times = (list(column) for column in zip(*rows, strict=True))
    data = from_frames(
        {
            "user": users,
            "item": rated_items,
            "rating": [float(value) for value in values],
            "time": [int(time) for time in times],
        },
        time="time",
        rating="rating",
        positive_rating=0 if threshold is None else threshold,
        name="rated",
    )
    rows_of_users = data.user_ids.rows(users)
    order = np.lexsort((np.array(times, np.int64), rows_of_users))
    ratings = Ratings(
        rows_of_users[order],
        data.catalogue.item_ids.rows(rated_items)[order],
        np.array(values, np.float32)[order],
        np.array(times, np.int64)[order],
    )
    return replace(data, ratings=ratings, positive_rating=threshold)


def spoken(dialogues: Mapping[str, tuple[str | None, list[str]]], items: str = "") -> Dataset:
    """Dialogues, each with a part and turns such as "u ab" or "s c": speaker and items.

    The text of turn n of dialogue d is "d says n".
    """
    turns = [turn.split() for _, lines in dialogues.values() for turn in lines]
    mentioned = [list(turn[1]) if len(turn) > 1 else [] for turn in turns]
    catalogue = sorted({item for turn in mentioned for item in turn} | set(items))
    data = from_frames(
        {"user": ["somebody"], "item": [catalogue[0]]},
        {"item": catalogue, "title": [f"title {item}" for item in catalogue]},
        name="spoken",
    )
    lengths = [len(lines) for _, lines in dialogues.values()]
    column = Dialogues(
        ids=tuple(dialogues),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        speakers=np.array(
            [SPEAKERS.index({"u": "user", "s": "system"}[turn[0]]) for turn in turns], np.int8
        ),
        texts=tuple(
            f"{name} says {number}"
            for name, (_, lines) in dialogues.items()
            for number in range(len(lines))
        ),
        items=Histories.from_lists([data.catalogue.item_ids.rows(turn) for turn in mentioned]),
        parts=tuple(part for part, _ in dialogues.values()),
    )
    return replace(data, dialogues=column)


def words(data: Dataset, items: np.ndarray) -> str:
    """Item rows as a word of one-letter ids, in their order."""
    return "".join(str(item) for item in data.catalogue.item_ids.take(items))


def letters(data: Dataset, pairs: sparse.csr_matrix) -> list[str]:
    """The items of each row of a matrix as a word, in the order of the alphabet."""
    return [words(data, pairs[row].indices) for row in range(pairs.shape[0])]


def by_user(data: Dataset, events: Interactions) -> dict[str, str]:
    """The items of each user with events, in their order."""
    names = data.user_ids.take(np.unique(events.users))
    return {
        str(name): words(data, events.items[events.users == data.user_ids.rows([name])[0]])
        for name in names
    }


def asked(data: Dataset, task: RankingTask) -> list[tuple[str, str, str, str]]:
    """Each query: owner ("?" before an unknown one), history, truth and masked items."""
    assert task.groups is not None
    assert task.queries.histories is not None
    names = data.user_ids.take(task.groups)
    known = task.queries.users >= 0
    assert (task.queries.users[known] == task.groups[known]).all()
    return [
        (
            str(name) if known[row] else f"?{name}",
            words(data, task.queries.histories[row]),
            letters(data, task.relevance)[row],
            letters(data, task.masked)[row],
        )
        for row, name in enumerate(names)
    ]
