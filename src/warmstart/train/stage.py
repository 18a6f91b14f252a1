"""A training as a stage of a fit: with a key, checkpoints and resume."""

from collections.abc import Callable, Sequence

import numpy as np

from warmstart.run import Dependency, Run, stage_key
from warmstart.train.loop import Schedule, Trainee, TrainResult, run_epochs


def train_stage(
    run: Run,
    name: str,
    trainee: Trainee,
    schedule: Schedule,
    rng: np.random.Generator,
    *,
    depends_on: Sequence[Dependency],
    validate: Callable[[], float] | None = None,
    validated_on: str | None = None,
    code: str,
) -> TrainResult:
    """Train by ``run_epochs`` as a stage of a run.

    The key of the stage consists of ``depends_on``, ``validated_on``, the schedule and the state of
    ``rng``. An interrupted stage with an equal key is resumed, a finished one is loaded, also by
    another method that shares the run folder.

    Args:
        run: the run of the fit.
        name: name of the stage.
        trainee: a freshly initialised trainee.
        schedule: epochs, validation interval, patience.
        rng: one draw from it seeds all epochs.
        depends_on: all else that the result depends on: settings, hash of the data, random seed or
            arrays of the initial parameters, fingerprint of a language model.
        validate: returns the metric of the trainee's current parameters; bigger is better.
        validated_on: hash of the data that ``validate`` uses; given if and only if ``validate`` is.
        code: name of the calling module (``__name__``); see ``Run.stage``.

    Raises:
        ConfigError: the training diverges.
        ArtefactError: the checkpoint is damaged.
        TypeError: a part of ``depends_on`` cannot be hashed; see ``run.stage_key``.
        UnsupportedError: this process was forked from one that had used warmstart.
    """
    assert (validate is None) == (validated_on is None), "give both or neither"
    rng_state = str(rng.bit_generator.state)
    key = stage_key([*depends_on, validated_on, str(schedule), rng_state])
    with run.stage(name, key, code=code) as folder:
        return run_epochs(trainee, schedule, rng, validate=validate, folder=folder, settings=key)
