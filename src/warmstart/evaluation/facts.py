"""Facts that a metric depends on: data, split, protocol, mask, user set, item content, defects."""

from dataclasses import dataclass

import numpy as np

from warmstart.data.splits.base import Mask, Part, Split

# Manifest note in which ``random_cold`` records defect R9 if the interactions have dates.
_OLDER = "share_of_cold_items_older_than_the_end_of_training"


@dataclass(frozen=True)
class DataFacts:
    """Facts printed with every table; reports with different facts cannot share a table.

    Attributes:
        name: name of the data set.
        hash: sha256 of ids, texts and interactions.
        protocol: "time-cold" or "random-cold".
        split_hash: sha256 of the data hash, all parts of the split and the cold candidates.
        part: "valid" or "test".
        mask: "all" or "train".
        overall_users: "any" or "both"; see ``Split``.
        item_content: the item columns that form the item text.
        defects: known defects of the protocol that apply to this evaluation.
    """

    name: str
    hash: str
    protocol: str
    split_hash: str
    part: str
    mask: str
    overall_users: str
    item_content: tuple[str, ...]
    defects: tuple[str, ...]


def data_facts(split: Split, part: Part, mask: Mask) -> DataFacts:
    """Collect the facts of evaluating one part of a split under one mask."""
    return DataFacts(
        name=split.dataset.name,
        hash=split.dataset.hash,
        protocol=split.protocol,
        split_hash=split.hash,
        part=part,
        mask=mask,
        overall_users=split.overall_users,
        item_content=split.dataset.catalogue.text_columns,
        defects=tuple(_defects(split, part, mask)),
    )


def _defects(split: Split, part: Part, mask: Mask) -> list[str]:
    defects = []
    if mask == "all" and part == "valid":
        defects.append("Mask all on validation masks test positives, so it reads test labels.")
    if split.protocol != "random-cold":
        return defects
    if mask == "train" and part == "test":
        defects.append(
            "R2: validation positives are not masked; they stay candidates and count as misses."
        )
    if split.overall_users == "both":
        defects.append(
            "R3: the overall slice keeps only users with a cold and a warm positive; "
            "overall_any is over all users with a positive."
        )
    shared = np.intersect1d(split.cold_candidates["valid"], split.cold_candidates["test"])
    if len(shared):
        defects.append(
            f"R4: {len(shared)} cold items are candidates on validation and on test alike."
        )
    defects.append(
        "R5: published 'hit ratio' figures of this protocol are micro recall over pairs; "
        "here hit is the hit rate and micro_recall is named so."
    )
    older = split.manifest.get("notes", {}).get(_OLDER)
    known = "unknown, the data have no dates" if older is None else f"{older:.1%}"
    defects.append(
        "R9: cold items are drawn at random, not by time; share of cold items older than the end "
        f"of training: {known}."
    )
    return defects
