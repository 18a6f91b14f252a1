"""Choose settings for production on an inner split, for a fit on all interactions."""

import logging

from warmstart.config import Config
from warmstart.core import LanguageModels, Recommender
from warmstart.data.dataset import Dataset
from warmstart.data.splits.base import Split
from warmstart.data.splits.dialogues import dialogues
from warmstart.data.splits.random_cold import random_cold
from warmstart.data.splits.time_cold import time_cold
from warmstart.errors import ConfigError, DataError
from warmstart.run import Run

logger = logging.getLogger(__name__)


def choose_settings(
    model: Recommender, data: Dataset, *, models: LanguageModels, seed: int, run: Run
) -> Config:
    """Fit ``model`` on an inner split and return the settings that its validation part chose.

    Args:
        model: the model to fit here. For production, build another one with the returned settings
            and fit it on all of ``data``.
        data: the data set with all interactions.
        models: the language models that the method needs.
        seed: random seed of the fit, and of the inner split if it is random.
        run: keeps checkpoints and timings.

    Raises:
        DataError: there are too few interactions or dialogues for an inner split.
    """
    if "dialogues" in model.traits.reads and data.dialogues is not None:
        split: Split = dialogues(data, seed=seed)
    else:
        split = _inner_split(data, seed)
    logger.info("choosing settings on an inner %s split", split.protocol)
    model.fit(
        split.train,
        valid=split.validation(),
        encoder=models.encoder,
        lm=models.causal,
        rng=seed,
        run=run,
    )
    return model.chosen


def _inner_split(data: Dataset, seed: int) -> Split:
    """Split by time; at random if the data have no times or a time window would be empty."""
    if data.interactions.times is not None and data.clock == "unix":
        try:
            return time_cold(data)
        except (ConfigError, DataError) as error:
            logger.warning("no inner split by time; drawing cold items at random: %s", error)
    return random_cold(data, seed=seed)
