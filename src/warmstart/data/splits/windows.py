"""``windows``: predict the next items of a window of a history from its first items (DLCRec)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from warmstart.arguments import whole_number
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions
from warmstart.data.splits.event_parts import DrawnParts, build_event_split
from warmstart.data.splits.event_split import EventSplit
from warmstart.data.splits.part_codes import CODE_OF, HISTORY, LEFT_OUT, TRAIN
from warmstart.errors import ConfigError, DataError

WindowParts: TypeAlias = Mapping[str, np.ndarray]
"""Part ("train", "valid", "test") -> row numbers of the users that are its windows."""


def windows(
    dataset: Dataset,
    parts: WindowParts | None = None,
    *,
    n_history: int = 10,
    n_future: int | None = None,
    stride: int | None = None,
) -> EventSplit:
    """Split into windows: in a held-out window the first items ask for the others.

    Training windows train with all their items, as users. The whole catalogue is ranked. A wish for
    the list, such as a number of genres, is no part of the split: ``Queries.with_control`` adds it,
    so lists under different wishes are measured on the same split.

    Args:
        dataset: with ``parts``, a data set whose users are windows and whose times are positions in
            the window, from 0. Without, any data set with times or positions; see ``cut_windows``.
        parts: the published parts.
        n_history: items of a window that ask.
        n_future: items of a window that are asked for, if windows are cut here; 10 if None.
        stride: items between the starts of two training windows, if windows are cut here;
            ``n_future`` if None.

    Raises:
        ConfigError: a number is no whole number from 1, or does not apply to given parts.
        DataError: the data have no order, a part is empty, or a held-out window lacks a history or
            a future.
    """
    n_history = whole_number("windows", "n_history", n_history, low=1)
    published = parts is not None
    if parts is None:
        n_future = 10 if n_future is None else n_future
        dataset, parts = cut_windows(dataset, n_history=n_history, n_future=n_future, stride=stride)
    elif n_future is not None or stride is not None:
        raise ConfigError("windows: n_future and stride do not apply to given parts")
    events = dataset.interactions
    if events.times is None or dataset.clock != "position":
        raise DataError(f"{dataset.name}: windows with given parts need positions in each window")
    codes = np.full(len(events), LEFT_OUT, np.int8)
    codes[np.isin(events.users, parts["train"])] = TRAIN
    for part, code in CODE_OF.items():
        held = np.isin(events.users, parts[part])
        is_history = events.times < n_history
        codes[held & is_history], codes[held & ~is_history] = HISTORY, code
        for what, rows in (("history", is_history), ("future", ~is_history)):
            lacking = np.setdiff1d(parts[part], events.users[held & rows])
            if len(lacking):
                raise DataError(
                    f"{dataset.name}: window {dataset.user_ids.values[lacking[0]]!r} of {part} has "
                    f"no {what}; allowed: items before and from position {n_history}"
                )
    manifest = {
        "n_history": n_history,
        "published": published,
        "left_out": {"of_windows_in_no_part": int((codes == LEFT_OUT).sum())},
        "notes": {f"windows_of_{part}": len(rows) for part, rows in parts.items()},
    }
    return build_event_split(dataset, "windows", DrawnParts(codes, manifest))


def cut_windows(
    dataset: Dataset, *, n_history: int = 10, n_future: int = 10, stride: int | None = None
) -> tuple[Dataset, WindowParts]:
    """Cut the history of each user into windows, in time order, so that none trains on its future.

    The newest window of a user is the test, with the last ``n_future`` items to predict. The
    validation window ends before these. Training windows end before the items that the validation
    window predicts; they start at the user's first item and every ``stride`` items later. A user
    whose history has no room for all three has training windows only, or none.

    Args:
        dataset: a data set with times or positions.
        n_history: items of a window that ask.
        n_future: items of a window that are asked for.
        stride: items between the starts of two training windows; ``n_future`` if None.

    Returns:
        A data set with one user per window, called ``USER#NUMBER``, and the users of each part.

    Raises:
        ConfigError: a number is no whole number from 1.
        DataError: the data have no order.
    """
    n_history = whole_number("windows", "n_history", n_history, low=1)
    n_future = whole_number("windows", "n_future", n_future, low=1)
    stride = whole_number("windows", "stride", n_future if stride is None else stride, low=1)
    if dataset.interactions.times is None:
        raise DataError(
            f"{dataset.name} has neither times nor positions; windows need the order of each "
            "user's interactions"
        )
    histories, width = dataset.histories, n_history + n_future
    cut = [
        _starts(first, last, width, n_future, stride)
        for first, last in zip(histories.offsets[:-1], histories.offsets[1:], strict=True)
    ]
    starts = np.concatenate([np.zeros(0, np.int64), *(train + held for train, held in cut)])
    part_of = [code for train, held in cut for code in [0] * len(train) + [1, 2][: len(held)]]
    made = _windowed(dataset, histories, starts.astype(np.int64), width)
    rows = np.array(part_of, np.int8)
    return made, {
        "train": np.flatnonzero(rows == 0),
        "valid": np.flatnonzero(rows == 1),
        "test": np.flatnonzero(rows == 2),
    }


def _starts(
    first: int, last: int, width: int, n_future: int, stride: int
) -> tuple[list[int], list[int]]:
    """Where the windows of the history ``first .. last - 1`` start: in training, and held out."""
    end = last - 2 * n_future  # where the future of the validation window starts
    if end - width < first:
        return list(range(first, last - width + 1, stride)), []
    return list(range(first, end - width + 1, stride)), [last - n_future - width, last - width]


def _windowed(dataset: Dataset, histories: Histories, starts: np.ndarray, width: int) -> Dataset:
    """A data set with one user per window of ``width`` events from each start."""
    owners = histories.queries[starts]
    first_of_owner = np.searchsorted(owners, owners)
    numbers = np.arange(len(owners)) - first_of_owner + 1
    names = dataset.user_ids.take(owners)
    rows = starts[:, None] + np.arange(width)
    events = Interactions.from_arrays(
        np.repeat(np.arange(len(starts)), width),
        histories.items[rows].ravel(),
        times=np.tile(np.arange(width), len(starts)),
    )
    return replace(
        dataset,
        user_ids=Ids([f"{a}#{b}" for a, b in zip(names, numbers.tolist(), strict=True)], "user"),
        interactions=events,
        counts={
            "windows": len(starts),
            "users_with_windows": len(np.unique(owners)),
            "items": dataset.n_items,
        },
        clock="position",
        below_threshold=Interactions.from_arrays([], []),
        ratings=None,
        dialogues=None,
    )
