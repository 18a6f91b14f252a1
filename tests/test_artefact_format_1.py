"""Artefacts that warmstart 0.1 wrote, before settings and arrays were renamed.

``tests/artefacts_of_format_1`` was made by that release on the checkerboard of the contract; beside
each artefact lie the scores that it gave there.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from warmstart.artefact import FORMAT_VERSION, read_manifest
from warmstart.methods import load_model
from warmstart.testing.case import all_scores
from warmstart.testing.worlds.checkerboard import checkerboard, world_encoder

FOLDER = Path(__file__).parent / "artefacts_of_format_1"


@pytest.fixture(params=["coldllm", "filterllm"])
def written(request, tmp_path):
    scores = np.load(FOLDER / f"{request.param}.npy")
    return shutil.copytree(FOLDER / request.param, tmp_path / request.param), scores


def test_it_scores_as_it_did(written):
    """Up to the rounding of another processor; the cold item without text is no longer scored."""
    folder, scores = written
    loaded = all_scores(load_model(folder))
    textless = checkerboard().textless[1]
    assert np.isnan(loaded[:, textless]).all()
    kept = np.arange(scores.shape[1]) != textless
    np.testing.assert_allclose(loaded[:, kept], scores[:, kept], rtol=2e-5, atol=2e-5)


def test_it_takes_new_items_and_is_saved_in_the_present_format(written, tmp_path):
    folder, _ = written
    assert json.loads((folder / "manifest.json").read_text())["format_version"] == 1
    model = load_model(folder, encoder=world_encoder(tmp_path / "lm"))
    model.add_items(checkerboard().new_items((0, 1)))
    expected = all_scores(model)
    model.save(folder)
    assert read_manifest(folder)["format_version"] == FORMAT_VERSION
    np.testing.assert_array_equal(all_scores(load_model(folder)), expected)


def test_the_choices_of_its_fit_are_settings_of_today(written):
    model = load_model(written[0])
    assert model.chosen.text_weight == model.fitted.choices["text_weight"]
    assert model.chosen.backbone.fold_in_solver == "ridge"
