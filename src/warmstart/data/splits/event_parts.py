"""Build a checked EventSplit from the part of each interaction."""

from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions
from warmstart.data.splits.base import Part, Protocol, versions
from warmstart.data.splits.candidates import Candidates, draw_candidates
from warmstart.data.splits.check import check_split
from warmstart.data.splits.event_split import EventSplit
from warmstart.data.splits.part_codes import PART_NAMES, TEST, TRAIN, VALID
from warmstart.data.tasks import RankingTask
from warmstart.errors import DataError


@dataclass(frozen=True)
class DrawnParts:
    """The part of each interaction, as a protocol draws it.

    Attributes:
        parts: int8, shape (interactions,); see ``part_codes``.
        manifest: how they were drawn, with ``left_out`` and ``notes``; see ``Split``.
        cold_candidates: see ``EventSplit``.
    """

    parts: np.ndarray
    manifest: dict[str, Any]
    cold_candidates: dict[Part, np.ndarray] | None = None


def build_event_split(
    dataset: Dataset,
    protocol: Protocol,
    drawn: DrawnParts,
    *,
    candidates: str | None = None,
    rng: np.random.Generator | None = None,
) -> EventSplit:
    """Build an EventSplit, draw its frozen candidates and check it.

    Args:
        dataset: the data set to split.
        protocol: the protocol that drew the parts.
        drawn: the parts; ``versions`` and the share of cold targets are added to the manifest.
        candidates: name of frozen candidates, such as "uni19"; None ranks in full.
        rng: source of their draw; needed with ``candidates``.

    Raises:
        DataError: a part is empty, the candidates cannot be drawn, or the split breaks a rule.
    """
    events, parts = dataset.interactions, drawn.parts.astype(np.int8)
    refuse_empty(dataset, protocol, parts)
    asking = events.users[np.isin(parts, (VALID, TEST))]
    trained = np.isin(events.items[parts == TEST], events.items[parts == TRAIN])
    notes = {"share_of_test_targets_without_training": float(1 - trained.mean())}
    split = EventSplit(
        dataset,
        protocol,
        parts,
        np.setdiff1d(asking, events.users[parts == TRAIN]).astype(np.int32),
        drawn.cold_candidates,
        manifest={
            **drawn.manifest,
            "notes": {**drawn.manifest["notes"], **notes},
            "versions": versions(),
        },
    )
    if candidates is not None:
        assert rng is not None
        items = {part: _draw(split, part, candidates, rng) for part in get_args(Part)}
        split = replace(split, candidates=Candidates(candidates, items))
    check_split(split)
    return split


def refuse_empty(dataset: Dataset, protocol: str, parts: np.ndarray) -> None:
    """Check that no part is empty, since no metric could be computed on it.

    Raises:
        DataError: training, validation or test has no event.
    """
    empty = [PART_NAMES[code] for code in (TRAIN, VALID, TEST) if not (parts == code).any()]
    if empty:
        raise DataError(
            f"{dataset.name}: {protocol} leaves {', '.join(empty)} empty, of {len(parts)} events"
        )


def places_in_history(events: Interactions, n_users: int) -> tuple[np.ndarray, np.ndarray]:
    """Number the interactions of each user in their order.

    Returns:
        Each interaction's place in its user's history, from 0, and the number of interactions of
        its user; int64, shape (interactions,).
    """
    order = np.argsort(events.users, kind="stable")
    counts = np.bincount(events.users, minlength=n_users)
    starts = np.cumsum(counts) - counts
    places = np.empty(len(events), np.int64)
    places[order] = np.arange(len(events)) - starts[events.users[order]]
    return places, counts[events.users]


def _draw(split: EventSplit, part: Part, name: str, rng: np.random.Generator) -> np.ndarray:
    task = split.tasks(part)["all"]
    assert isinstance(task, RankingTask)
    assert task.groups is not None
    return draw_candidates(
        name,
        task.relevance.indices,
        task.groups,
        task.candidates,
        known=split.dataset.interactions,
        clicks=split.clicks,
        rng=rng,
    )
