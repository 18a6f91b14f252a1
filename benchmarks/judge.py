"""How well the judge tells true from false inside given candidates, beside what it must beat.

    python benchmarks/judge.py SPLIT PAIRS.csv --run RUN [--set backbone.kind=lightgcn ...]

PAIRS has the columns item and user (ColdLLM's published answers: item_id, user_id, clk/no). Truth
is the split's held-out pairs of cold items. Fits coldllm on the split (stages are taken from RUN
where they are there), then prints the AUC of the published answers, the filter's score, the judge's
log-odds, the calibrated mixture and the activity of the user, first inside PAIRS, then inside the
filter's own candidates; and precision and user-macro recall of each item's best users, before and
after the judge.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer

from warmstart.config import read_settings
from warmstart.data.interactions import Interactions, concatenate
from warmstart.data.splits.cold import Split
from warmstart.data.splits.files import load_split
from warmstart.evaluation.simulation_quality import simulation_quality
from warmstart.lm import load_lm
from warmstart.methods.coldllm import ColdLLM, ColdLLMConfig
from warmstart.run import Run
from warmstart.simulate.funnel.judge import auc
from warmstart.simulate.funnel.select import SelectConfig, Shortlist, probabilities, select


def main(
    split: Path,
    pairs: Path,
    run: Annotated[Path, typer.Option()],
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
    seed: int = 0,
) -> None:
    """Print the tables."""
    parts = load_split(split)
    truth = concatenate([parts.cold_valid, parts.cold_test])
    model = ColdLLM(ColdLLMConfig.build(read_settings(None, settings)))
    model.fit(parts.train, valid=parts.validation(), lm=load_lm(), rng=seed, run=Run(run))
    refine = model.chosen.refine  # pyright: ignore[reportAttributeAccessIssue]

    table = pl.read_csv(pairs)
    table = table.rename({"item_id": "item", "user_id": "user"}, strict=False)
    items = parts.dataset.catalogue.item_ids.known_rows(table["item"].to_list())
    users = parts.dataset.user_ids.known_rows(table["user"].to_list())
    print("inside the given pairs")
    answers = None
    if "clk/no" in table.columns:
        answers = (table["clk/no"] == "Yes").to_numpy().astype(float)
    _aucs(model, refine, items, users, truth, parts, answers)

    cold = np.flatnonzero(~parts.train.warm)
    found = model.candidates
    print("\ninside the filter's own candidates")
    rows = np.repeat(cold, found.users.shape[1])
    _aucs(model, refine, rows, found.users.ravel(), truth, parts, None, found.log_odds.ravel())

    budget = min(20, found.users.shape[1])
    print(f"\nthe best {budget} users an item: precision, user-macro recall, mean degree")
    alone = SelectConfig(rank_by="filter", filter=1.0, judge=0.0)
    for name, config in (("filter", alone), ("filter and judge", refine)):
        for count in (5, 10, budget):
            events = select(config, found, name, count)
            quality = simulation_quality(
                Interactions.of(events.users, cold[events.items], provenance=name),
                truth,
                parts.train,
            ).simulated
            print(
                f"  {name:<18}{count:>4}  {quality.precision:.4f}  {quality.user_recall:.4f}  "
                f"{quality.user_degree:.1f}"
            )


def _aucs(
    model: ColdLLM,
    refine: SelectConfig,
    items: np.ndarray,
    users: np.ndarray,
    truth: Interactions,
    split: Split,
    answers: np.ndarray | None,
    log_odds: np.ndarray | None = None,
) -> None:
    known = np.isin(users.astype(np.int64) << 32 | items.astype(np.int64), truth.keys)
    distinct, place = np.unique(items, return_inverse=True)
    catalogue = split.dataset.catalogue
    vectors = load_lm().encode([catalogue.texts[row] for row in distinct])
    texts = [catalogue.texts[row] for row in distinct]
    scores = model.filter_scores(vectors)[place, users]
    if log_odds is None:
        log_odds = model.judge_pairs(place.astype(np.int32), users, vectors, texts)
    every = Shortlist(users[None], scores[None], log_odds[None])
    lines = {
        "filter": scores,
        "judge": log_odds,
        "mixture": probabilities(refine, every)[0],
        "activity of the user": split.train.matrix.getnnz(axis=1)[users],
    }
    if answers is not None:
        lines["given answers"] = answers
    print(f"  {len(known)} pairs, {known.mean():.4f} true; AUC:")
    for name, values in lines.items():
        print(f"  {name:<24}{auc(values, known):.4f}")


if __name__ == "__main__":
    typer.run(main)
