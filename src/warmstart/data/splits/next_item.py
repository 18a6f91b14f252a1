"""``next-item``: predict the next interaction of a user from the history before it."""

from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from warmstart.arguments import whole_number
from warmstart.data.dataset import Dataset
from warmstart.data.splits.base import check_word
from warmstart.data.splits.candidates import negatives_of
from warmstart.data.splits.cross_domain import cross_domain_parts, joined
from warmstart.data.splits.cutoffs import Times
from warmstart.data.splits.event_parts import DrawnParts, build_event_split
from warmstart.data.splits.event_split import EventSplit
from warmstart.data.splits.leave_one_out import leave_one_out
from warmstart.data.splits.next_in_time import Targets, next_in_time
from warmstart.errors import ConfigError
from warmstart.process import check_process

By: TypeAlias = Literal["last", "time"]


def next_item(
    dataset: Dataset,
    *,
    by: By = "last",
    cutoffs: Times | None = None,
    fractions: tuple[float, float] | None = None,
    targets: Targets | None = None,
    cold_items: float | None = None,
    cold_users: int | None = None,
    few_shot: int | None = None,
    cross_domain: Dataset | None = None,
    candidates: str | None = None,
    seed: int = 42,
) -> EventSplit:
    """Split into histories and next items.

    ``by="last"`` is leave-one-out: each user's last interaction is the test, the one before it
    validation; users with fewer than 3 interactions stay in training. Training then knows what
    others did after a query, which real recommenders do not (docs/evaluation.md).

    ``by="time"`` cuts at two times for all users, train < t1 <= validation < t2 <= test, so nothing
    leaks. A query knows the whole history before its target, and is left out if there is none. In
    the slices "cold" and "all", items of the window are ranked besides those of training; one that
    appears in the validation window is not a candidate on test.

    Args:
        dataset: a data set with times or, for ``by="last"``, with positions.
        by: "last" or "time".
        cutoffs: by time: t1 and t2, or only t1; see ``time_cold``.
        fractions: by time, without ``cutoffs``: the fractions of the interactions before t1 and
            before t2; (0.8, 0.9) if None.
        targets: by time: "first", the first interaction of each user in each window, or "each", all
            of them in turn, each with the history up to it. None means "first".
        cold_items: by last: a share of the items to withhold from training, between 0 and 1, drawn
            at random, half of them for validation, half for test; histories of queries keep them.
            Queries for items that are then no candidates are left out.
        cold_users: by last: users with at most this many interactions are withheld from training
            and asked for by history. A-LLMRec takes 3.
        few_shot: by last: the number of users, drawn at random, who train and validate; all others
            are asked for by history, on test.
        cross_domain: by last: another data set, which trains nothing: on test its users are asked
            for by their histories, and its items ranked; see ``splits.cross_domain``.
        candidates: "uniN" or "popN": rank each target among N sampled items that the user never
            had, see ``draw_candidates``; None ranks in full.
        seed: of all draws.

    Raises:
        ConfigError: an argument is outside its limits or does not apply, or two of ``cold_items``,
            ``cold_users``, ``few_shot`` and ``cross_domain`` are given.
        DataError: the data have no order or, by time, no common clock; a part would be empty; or
            there are too few items for the candidates.
        UnsupportedError: this process was forked from one that had used warmstart.
    """
    check_process()
    check_word("by", by, get_args(By))
    rng = np.random.default_rng(whole_number("next-item", "seed", seed, low=0))
    if candidates is not None:
        negatives_of(candidates)
    other = None if cross_domain is None else _name_of(cross_domain)
    scenario: dict[str, Any] = {"cold_items": cold_items, "cold_users": cold_users}
    scenario |= {"few_shot": few_shot, "cross_domain": other}
    options: dict[str, Any] = {"cutoffs": cutoffs, "fractions": fractions, "targets": targets}
    if by == "time":
        _refuse(by, scenario)
        check_word("targets", targets or "first", get_args(Targets))
        drawn = next_in_time(dataset, cutoffs, fractions, targets or "first")
        scenario = {}
    else:
        _refuse(by, options)
        scenario = {name: value for name, value in scenario.items() if value is not None}
        if len(scenario) > 1:
            raise ConfigError(f"next-item: {' and '.join(scenario)} exclude each other; give one")
        if cross_domain is not None:
            dataset, drawn = _across(dataset, cross_domain, candidates)
        else:
            drawn = leave_one_out(dataset, cold_items, cold_users, few_shot, rng)
        drawn.manifest["slice_definitions"] = _definitions(drawn)
    drawn.manifest.update({"by": by, **scenario, "candidates": candidates, "seed": seed})
    return build_event_split(dataset, "next-item", drawn, candidates=candidates, rng=rng)


def _name_of(cross_domain: Dataset) -> str:
    if not isinstance(cross_domain, Dataset):
        raise ConfigError(
            f"next-item: cross_domain is {cross_domain!r}; allowed: a data set, such as "
            "read_dataset returns"
        )
    return cross_domain.name


def _across(dataset: Dataset, other: Dataset, candidates: str | None) -> tuple[Dataset, DrawnParts]:
    """Join two data sets and draw the parts."""
    if candidates is not None and candidates.startswith("pop"):
        raise ConfigError(
            f"next-item: candidates {candidates!r} are drawn by training interactions, and items "
            "of another domain have none; allowed: uniN"
        )
    together = joined(dataset, other)
    return together, cross_domain_parts(together, dataset.n_users, dataset.n_items)


def _refuse(by: str, options: dict[str, Any]) -> None:
    for name, value in options.items():
        if value is not None:
            raise ConfigError(f"next-item: {name} = {value!r} does not apply to by = {by!r}")


def _definitions(drawn: DrawnParts) -> dict[str, str]:
    if drawn.cold_candidates is not None:
        return {}
    return {
        "warm": "queries for the 35 % of the items with the most training interactions",
        "cold": "queries for the 35 % of the items with the fewest training interactions",
    }
