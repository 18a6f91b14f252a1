"""How well the judge of coldllm separates true from false pairs, beside the filter.

    python benchmarks/judge.py SPLIT PAIRS.csv --run RUN [--set backbone.kind=lightgcn ...]

PAIRS has the columns item and user (ColdLLM's published answers: item_id, user_id, clk/no). The
true pairs are the split's held-out interactions of cold items. Fits coldllm on the split, reusing
the stages that are complete in RUN. Then prints the AUC of the published answers, the filter's
score, the judge's log-odds, the probability stacked from both, and the user's activity: first on
PAIRS, then on the filter's shortlists. At last it prints precision, user-macro recall and users'
degree of each item's best users, by the filter alone and with the judge.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
import typer

from warmstart.config import read_settings
from warmstart.data.interactions import Interactions, concatenate
from warmstart.data.splits.base import Split
from warmstart.data.splits.files import load_split
from warmstart.evaluation.simulation_quality import simulation_quality
from warmstart.lm import load_causal_lm, load_encoder
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
    sample: int = 0,
) -> None:
    """Print the tables; ``--sample N``: on the given pairs of N items alone."""
    parts = load_split(split)
    truth = concatenate([parts.cold_valid, parts.cold_test])
    model = ColdLLM(ColdLLMConfig.build(read_settings(None, settings)))
    model.fit(
        parts.train,
        valid=parts.validation(),
        encoder=load_encoder(),
        lm=load_causal_lm() if "causal" in model.needs else None,
        rng=seed,
        run=Run(run),
    )

    table = pl.read_csv(pairs)
    table = table.rename({"item_id": "item", "user_id": "user"}, strict=False)
    if sample:
        drawn = np.random.default_rng(0).permutation(table["item"].unique().sort().to_numpy())
        table = table.filter(pl.col("item").is_in(drawn[:sample].tolist()))
    items = parts.dataset.catalogue.item_ids.known_rows(table["item"].to_list())
    users = parts.dataset.user_ids.known_rows(table["user"].to_list())
    print("on the given pairs")
    published = None
    if "clk/no" in table.columns:
        published = (table["clk/no"] == "Yes").to_numpy().astype(float)
    _print_aucs(model, items, users, truth, parts, published)

    cold = np.flatnonzero(~parts.train.warm)
    shortlist = model.shortlist
    k = shortlist.users.shape[1]
    print("\non the filter's shortlists")
    rows, log_odds = np.repeat(cold, k), shortlist.log_odds.ravel()
    _print_aucs(model, rows, shortlist.users.ravel(), truth, parts, None, log_odds)

    most = min(20, k)
    print(f"\nthe best {most} users of each item: precision, user-macro recall, users' degree")
    alone = SelectConfig(rank_by="filter", filter_coefficient=1.0, judge_coefficient=0.0)
    for name, config in (("filter", alone), ("filter and judge", model.funnel.select)):
        for count in (5, 10, most):
            events = select(config, shortlist, name, count)
            quality = simulation_quality(
                Interactions.from_arrays(events.users, cold[events.items], provenance=name),
                truth,
                parts.train,
            ).simulated
            print(
                f"  {name:<18}{count:>4}  {quality.precision:.4f}  {quality.user_recall:.4f}  "
                f"{quality.user_degree:.1f}"
            )


def _print_aucs(
    model: ColdLLM,
    items: np.ndarray,
    users: np.ndarray,
    truth: Interactions,
    split: Split,
    published: np.ndarray | None,
    log_odds: np.ndarray | None = None,
) -> None:
    is_true = np.isin(users.astype(np.int64) << 32 | items.astype(np.int64), truth.keys)
    distinct, positions = np.unique(items, return_inverse=True)
    texts = [split.dataset.catalogue.texts[row] for row in distinct]
    vectors = load_encoder().encode(texts)
    scores = model.funnel.coupled.user_scores(vectors)[positions, users]
    if log_odds is None:
        log_odds = model.funnel.judge_pairs(positions.astype(np.int32), users, vectors, texts)
    every = Shortlist(users[None], scores[None], log_odds[None])
    lines = {
        "filter": scores,
        "judge": log_odds,
        "filter and judge": probabilities(model.funnel.select, every)[0],
        "activity of the user": split.train.matrix.getnnz(axis=1)[users],
    }
    if published is not None:
        lines["published answers"] = published
    print(f"  {len(is_true)} pairs, {is_true.mean():.4f} true; AUC:")
    for name, values in lines.items():
        print(f"  {name:<24}{auc(values, is_true):.4f}")


if __name__ == "__main__":
    typer.run(main)
