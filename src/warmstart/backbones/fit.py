"""Fit a backbone as a stage of a method: resumable, shared between methods, stopped early."""

import numpy as np

from warmstart.backbones import Backbone, BackboneConfig, build
from warmstart.backbones.sequence import SequenceBackbone, SequenceConfig, build_sequence
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.data.queries import Queries
from warmstart.rank import by_user, mean_metric
from warmstart.run import stage_key

METRIC = "ndcg@20"
"""Metric for early stopping, on the warm validation slice."""
NEXT_ITEM_METRIC = "ndcg@10"
"""The same for sequence backbones, on the validation slice with all queries."""


def fit_backbone(config: BackboneConfig, data: Dataset, context: FitContext) -> Backbone:
    """Train a backbone; the number of epochs is chosen on the warm validation slice, if given.

    ``chosen_config`` of the result holds that number. The random stream is the first child of the
    method's stream, so two methods with the same seed share one backbone.
    """
    rng = context.rng.spawn(1)[0]
    seed = int(rng.integers(2**63))
    validate, validated_on, task = None, None, context.task("warm", "all")
    if task is not None:
        validated_on = task.hash
        validate = lambda score: mean_metric(by_user(score), task, METRIC)  # noqa: E731
    # Texts are not part of the key: the backbone does not use them.
    events = (data.n_users, data.n_items, data.interactions.hash)
    key = stage_key([config, *events, seed, validated_on])
    with context.run.stage(f"backbone-{config.kind}", key, code=__name__) as folder:
        backbone = build(config)
        backbone.read_inputs(data.user_ids, data.catalogue.item_ids)
        return backbone.fit(
            data.matrix, validate=validate, rng=np.random.default_rng(seed), run_folder=folder
        )


def fit_sequence(config: SequenceConfig, data: Dataset, context: FitContext) -> SequenceBackbone:
    """Train a sequence backbone, as ``fit_backbone``; epochs are chosen on the slice "all"."""
    seed = int(context.rng.spawn(1)[0].integers(2**63))
    task, validate, validated_on = context.task("all", "warm"), None, None
    backbone = build_sequence(config)

    def score(queries: Queries, items: np.ndarray) -> np.ndarray:
        states = backbone.encode(queries.histories_or(data.histories))
        return states @ backbone.item_vectors[items].T

    if task is not None:
        validated_on = task.hash
        validate = lambda: mean_metric(score, task, NEXT_ITEM_METRIC)  # noqa: E731
    key = stage_key([config, data.n_items, data.interactions.order_hash, seed, validated_on])
    with context.run.stage(f"backbone-{config.kind}", key, code=__name__) as folder:
        return backbone.fit(
            data.histories,
            data.n_items,
            validate=validate,
            rng=np.random.default_rng(seed),
            run_folder=folder,
        )
