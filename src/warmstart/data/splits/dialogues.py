"""``dialogues``: predict the items that a turn of the system recommends, from the turns before."""

from dataclasses import replace

import numpy as np

from warmstart.arguments import whole_number
from warmstart.data.dataset import Dataset
from warmstart.data.dialogues import Dialogues
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions
from warmstart.data.splits.base import versions
from warmstart.data.splits.check import check_split
from warmstart.data.splits.dialogue_split import DialogueSplit, mentions
from warmstart.data.splits.event_parts import refuse_empty
from warmstart.data.splits.part_codes import TEST, TRAIN, VALID, part_codes
from warmstart.errors import DataError

_SHARE = 0.1  # of the dialogues in a part that the data do not give, as in ReDial's own split


def dialogues(dataset: Dataset, *, seed: int = 42) -> DialogueSplit:
    """Split dialogues by their published parts; a part that is not published is drawn.

    Without any published part, a tenth of the dialogues is validation and a tenth test. If only the
    training part is missing, the validation part trains. If then no validation part remains, a
    tenth of the training dialogues is taken for it.

    Args:
        dataset: a data set with dialogues. Its other interactions are not used: nothing says which
            of them belong to held-out dialogues.
        seed: of the draw.

    Raises:
        ConfigError: ``seed`` is not a whole number from 0.
        DataError: there are no dialogues, some have a published part and others not, no test part
            is published beside others, or a part would be empty.
    """
    rng = np.random.default_rng(whole_number("dialogues", "seed", seed, low=0))
    if dataset.dialogues is None:
        raise DataError(f"{dataset.name} has no dialogues")
    spoken = dataset.dialogues
    parts = part_codes(spoken.parts)
    published = sorted({part for part in spoken.parts if part is not None})
    if published:
        lacking = sum(part is None for part in spoken.parts)
        if lacking:
            raise DataError(
                f"{dataset.name}: {lacking} of {len(spoken)} dialogues have no part; allowed: a "
                "part for all of them, or for none"
            )
        if not (parts == TRAIN).any():
            parts[parts == VALID] = TRAIN
        pool = np.flatnonzero(parts == TRAIN)
        if not (parts == VALID).any():
            parts[rng.permutation(pool)[: round(_SHARE * len(pool))]] = VALID
    else:
        order, held = rng.permutation(len(spoken)), round(_SHARE * len(spoken))
        parts = np.full(len(spoken), TRAIN, np.int8)
        parts[order[:held]], parts[order[held : 2 * held]] = VALID, TEST
    made = dialogues_as_users(dataset, spoken)
    refuse_empty(made, "dialogues", parts)
    manifest = {
        "seed": seed,
        "published_parts": published,
        "left_out": {},
        "notes": {"interactions_of_the_data_not_used": len(dataset.interactions)},
        "versions": versions(),
    }
    split = DialogueSplit(made, parts, manifest)
    check_split(split)
    return split


def dialogues_as_users(dataset: Dataset, spoken: Dialogues) -> Dataset:
    """Return a data set whose users are the dialogues, and whose interactions are their mentions.

    A repeated item counts at its first mention; times are the places among the mentions.
    """
    mentioned, _ = mentions(spoken)
    places = np.arange(len(mentioned.items)) - mentioned.offsets[mentioned.queries]
    events = Interactions.from_arrays(mentioned.queries, mentioned.items, times=places)
    _, first = np.unique(events.keys, return_index=True)
    events = events.where(np.sort(first))
    return replace(
        dataset,
        user_ids=Ids(spoken.ids, "user"),
        interactions=events,
        below_threshold=Interactions.from_arrays([], []),
        ratings=None,
        positive_rating=None,
        counts={
            "dialogues": len(spoken),
            "turns": len(spoken.texts),
            "mentions": len(mentioned.items),
            "interactions": len(events),
            "items": dataset.n_items,
            "items_mentioned": len(np.unique(mentioned.items)),
        },
        clock="position",
    )
