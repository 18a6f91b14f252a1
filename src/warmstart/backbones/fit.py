"""Fit a backbone as a stage of a method: resumable, shared between methods, stopped early."""

import numpy as np

from warmstart.backbones import Backbone, BackboneConfig, build
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.rank import by_user, mean_metric
from warmstart.run import stage_key

METRIC = "ndcg@20"
"""Metric for early stopping, on the warm validation slice."""


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
