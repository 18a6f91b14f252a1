import logging
from dataclasses import replace

import numpy as np
import pytest

from warmstart.core import LanguageModels
from warmstart.data.sources.synthetic import synthetic
from warmstart.experiment.choose_settings import choose_settings
from warmstart.methods.cf_only import CFOnly
from warmstart.methods.rta import RTA
from warmstart.run import Run
from warmstart.testing.worlds.checkerboard import world_encoder
from warmstart.testing.worlds.dialogues import dialogue_world

BACKBONE = {"kind": "ials", "width": 8, "epochs": 12, "patience": 1}


@pytest.fixture(scope="module")
def data():
    return synthetic(80, 120, rng=np.random.default_rng(0))


def chosen_on(data, caplog):
    with caplog.at_level(logging.INFO, "warmstart"):
        run = Run()
        chosen = choose_settings(
            CFOnly(backbone=BACKBONE), data, models=LanguageModels(), seed=0, run=run
        )
    assert "backbone-ials" in run.seconds
    return chosen, caplog.text


def test_epochs_are_chosen_by_time_where_there_are_times(data, caplog):
    chosen, log = chosen_on(data, caplog)
    assert "inner time-cold split" in log
    assert 1 <= chosen.backbone.epochs <= 12


def test_without_times_items_are_drawn(data, caplog):
    events = replace(data.interactions, times=None)
    _, log = chosen_on(data.with_interactions(events), caplog)
    assert "inner random-cold split" in log


def test_windows_that_are_too_thin_are_said_and_replaced(data, caplog):
    same = replace(data.interactions, times=np.zeros(len(data.interactions), np.int64))
    _, log = chosen_on(data.with_interactions(same), caplog)
    assert "no inner split by time" in log
    assert "inner random-cold split" in log


def test_a_method_that_reads_dialogues_chooses_on_dialogues(tmp_path, caplog):
    data = dialogue_world().split.dataset
    models = LanguageModels(encoder=world_encoder(tmp_path))
    with caplog.at_level(logging.INFO, "warmstart"):
        chosen = choose_settings(RTA(lm=None), data, models=models, seed=0, run=Run())
    assert "inner dialogues split" in caplog.text
    assert isinstance(chosen.mentioned.epochs, int)
