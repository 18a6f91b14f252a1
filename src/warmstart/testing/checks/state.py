"""Saving and loading."""

from pathlib import Path

import numpy as np
import polars as pl

from warmstart.abilities import AddsItems, require
from warmstart.errors import ArtefactError
from warmstart.methods import load_model
from warmstart.testing.case import Case, all_scores
from warmstart.testing.checks.shared import cheap, raises
from warmstart.testing.damage import MARKER, damages

# -- state --


@cheap
def state_survives_here(case: Case) -> None:
    """Loaded in this process, the scores are bit for bit the same, and saving it again too."""
    loaded = case.loaded()
    np.testing.assert_array_equal(all_scores(loaded), case.scores)
    assert loaded.chosen == case.model.chosen
    assert loaded.config == case.model.config
    again = load_model(loaded.save(case.folder("saved-again")), lm=case.lm)
    np.testing.assert_array_equal(all_scores(again), case.scores)


@cheap
def state_survives_elsewhere(case: Case) -> None:
    """Loaded in a process of its own, without a language model, the lists are the same."""
    assert case.fresh.lists.equals(case.answers.lists)
    np.testing.assert_array_equal(case.fresh.scores, case.scores)


@cheap
def state_loads_without_training(case: Case) -> None:
    """Loading and recommending need neither transformers nor peft."""
    assert case.fresh is not None
    heavy = {"transformers", "peft", "tokenizers"} & set(case.lab.fresh[1])
    assert not heavy, f"loading and recommending import {sorted(heavy)}"


@cheap
def state_names_no_place(case: Case) -> None:
    """The artefact holds no path of this machine."""
    places = [case.lab.folder, Path.home(), Path.cwd(), Path(__file__).parents[1]]
    secrets = [str(place).encode() for place in places if len(str(place)) > 3]
    for file in case.saved.iterdir():
        content = file.read_bytes()
        if file.suffix == ".parquet":  # compressed: read through
            content += repr(pl.read_parquet(file).to_dicts()).encode()
        found = [secret for secret in secrets if secret in content]
        assert not found, f"{file.name} holds {found}"


@cheap
def state_that_is_damaged_is_refused(case: Case) -> None:
    """Each damage to the artefact is a clear error, and no code in it is ever run."""
    for number, (name, damage) in enumerate(damages().items()):
        copy = case.copied(str(number))
        damage(copy)
        try:
            load_model(copy, lm=case.lm)
        except ArtefactError as error:
            assert str(copy) in str(error), f"{name}: the message names no folder: {error}"
        else:
            raise AssertionError(f"an artefact is loaded though {name}")
        assert not (copy.parent / MARKER).exists(), f"{name}: a pickle was run"
    with raises(ArtefactError, "no-such-folder"):
        load_model(case.folder("no-such-folder"))


@cheap
def state_is_written_over_itself_only(case: Case) -> None:
    """Saving replaces an artefact, and nothing else."""
    copy = case.copied("replaced")
    case.model.save(copy)
    np.testing.assert_array_equal(all_scores(load_model(copy, lm=case.lm)), case.scores)
    (copy / "diary.txt").write_text("precious")
    with raises(ArtefactError, str(copy)):
        case.model.save(copy)
    assert (copy / "diary.txt").read_text() == "precious"


@cheap
def state_knows_its_language_model(case: Case) -> None:
    """New texts need the very language model of the fit: none, or another one, is refused."""
    if not case.cls.traits.needs_lm or not issubclass(case.cls, AddsItems):
        return
    bare = load_model(case.saved)
    with raises(ArtefactError, "tiny-lm"):
        require(bare, AddsItems, "add items").add_items(case.world.new_items())
    np.testing.assert_array_equal(all_scores(bare), case.scores)
    with raises(ArtefactError, "weights"):
        load_model(case.saved, lm=case.lab.other_lm)
