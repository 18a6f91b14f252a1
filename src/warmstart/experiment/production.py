"""Settings for production: chosen on an inner split, for a fit on all interactions."""

import logging
from typing import Any

from warmstart.config import Config
from warmstart.core import Recommender
from warmstart.data.dataset import Dataset
from warmstart.data.splits.cold import Split
from warmstart.data.splits.random_cold import random_cold
from warmstart.data.splits.time_cold import time_cold
from warmstart.errors import ConfigError, DataError
from warmstart.run import Run

logger = logging.getLogger(__name__)


def choose_settings(
    model: Recommender, data: Dataset, *, lm: Any | None, seed: int, run: Run
) -> Config:
    """Fit ``model`` on the training part of an inner split; what its validation part chose.

    Args:
        model: fitted here; build another one with the result and fit that on all of ``data``.
        data: all that is known.
        lm: the language model, where the method needs one.
        seed: of the fit, and of an inner split drawn at random.
        run: checkpoints and timings.

    Raises:
        DataError: there are too few interactions for an inner split.
    """
    split = _inner_split(data, seed)
    logger.info("choosing on an inner %s split", split.protocol)
    model.fit(split.train, valid=split.validation(), lm=lm, rng=seed, run=run)
    return model.chosen


def _inner_split(data: Dataset, seed: int) -> Split:
    """By time where times exist; at random where they do not or the windows are too thin."""
    if data.interactions.times is not None and data.clock == "unix":
        try:
            return time_cold(data)
        except (ConfigError, DataError) as error:
            logger.warning("no inner split by time, items are drawn at random: %s", error)
    return random_cold(data, seed=seed)
