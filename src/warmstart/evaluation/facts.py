"""Facts that a metric depends on: data, split, protocol, mask, user set, item content, defects."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from warmstart.data.control import Control
from warmstart.data.splits.base import Mask, Part, Protocol, Split
from warmstart.data.splits.cold import ColdSplit

# Manifest note in which ``random_cold`` records defect R9 if the interactions have dates.
_OLDER = "share_of_cold_items_older_than_the_end_of_training"


_KNOWN_DEFECTS: Mapping[Protocol, tuple[str, ...]] = {
    "next-item": (
        "Leave-one-out: training knows what other users did after the query; by time it does not.",
    ),
    "user-random": ("Held-out items are drawn at random, not by time.",),
}


@dataclass(frozen=True)
class DataFacts:
    """Facts printed with every table; reports with different facts cannot share a table.

    Attributes:
        name: name of the data set.
        hash: sha256 of ids, texts and interactions.
        protocol: name of the protocol, such as "time-cold".
        split_hash: sha256 of the data hash, all parts of the split and the cold candidates.
        part: "valid" or "test".
        mask: "all", "train" or "none".
        overall_users: "any" or "both", see ``ColdSplit``; "" for protocols without cold items.
        item_content: the item columns that form the item text.
        defects: known defects of the protocol that apply to this evaluation.
        control: what every list was asked to be like, as JSON; "" if nothing.
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
    control: str = ""

    @property
    def title(self) -> str:
        """What is measured: data set, protocol, part, mask and control."""
        parts = [self.name, self.protocol, self.part, f"mask {self.mask}"]
        return ", ".join([*parts, *([f"control {self.control}"] if self.control else [])])


def data_facts(split: Split, part: Part, mask: Mask, control: Control | None = None) -> DataFacts:
    """Collect the facts of evaluating one part of a split under one mask and one control."""
    return DataFacts(
        name=split.dataset.name,
        hash=split.dataset.hash,
        protocol=split.protocol,
        split_hash=split.hash,
        part=part,
        mask=mask,
        overall_users=split.overall_users if isinstance(split, ColdSplit) else "",
        item_content=split.dataset.catalogue.text_columns,
        defects=tuple(_defects(split, part, mask)),
        control="" if control is None else control.model_dump_json(exclude_defaults=True),
    )


def _defects(split: Split, part: Part, mask: Mask) -> list[str]:
    if isinstance(split, ColdSplit):
        return _cold_defects(split, part, mask)
    known = _KNOWN_DEFECTS.get(split.protocol, ())
    if split.protocol == "next-item" and split.manifest.get("by") == "time":
        known = ()
    sampled = split.metric_suffix.removeprefix("~")
    if sampled:
        known = (*known, f"Ranked among sampled items only ({sampled}), not in full.")
    return list(known)


def _cold_defects(split: ColdSplit, part: Part, mask: Mask) -> list[str]:
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
