"""Checks of saving and loading."""

from pathlib import Path

import numpy as np
import polars as pl

from warmstart.abilities import AddsItems, require
from warmstart.errors import ArtefactError
from warmstart.methods import load_model
from warmstart.testing.case import Case, all_scores
from warmstart.testing.checks.shared import on_shared_fit, raises
from warmstart.testing.damage import MARKER, damages

# -- state --


@on_shared_fit
def state_round_trip(case: Case) -> None:
    """Scores are bit-identical after saving and loading, and after doing both a second time."""
    loaded = case.loaded()
    np.testing.assert_array_equal(all_scores(loaded), case.scores)
    assert loaded.chosen == case.model.chosen
    assert loaded.config == case.model.config
    again = case.load(loaded.save(case.folder("saved-again")))
    np.testing.assert_array_equal(all_scores(again), case.scores)


@on_shared_fit
def state_loads_in_new_process(case: Case) -> None:
    """A new process gives the same lists and scores.

    Without a language model, unless the method reads queries with it.
    """
    found = case.lists_of_new_process
    assert found.frame.equals(case.lists.frame)
    np.testing.assert_array_equal(found.scores, case.scores)


@on_shared_fit
def state_loads_without_training_packages(case: Case) -> None:
    """Loading and recommending import neither transformers nor peft.

    Not checked if the method reads queries with a language model.
    """
    if case.reads_queries_with_lm:
        return
    assert case.lists_of_new_process is not None
    heavy = {"transformers", "peft", "tokenizers"} & set(case.fixtures.new_process[1])
    assert not heavy, f"loading and recommending import {sorted(heavy)}"


@on_shared_fit
def state_holds_no_local_path(case: Case) -> None:
    """The artefact contains no path of the machine that wrote it."""
    folders = [case.fixtures.folder, Path.home(), Path.cwd(), Path(__file__).parents[1]]
    paths = [str(folder).encode() for folder in folders if len(str(folder)) > 3]
    for file in case.saved.iterdir():
        content = file.read_bytes()
        if file.suffix == ".parquet":  # its content is compressed
            content += repr(pl.read_parquet(file).to_dicts()).encode()
        found = [path for path in paths if path in content]
        assert not found, f"{file.name} contains {found}"


@on_shared_fit
def state_damage_is_refused(case: Case) -> None:
    """Each damage makes loading fail with an error that names the folder; no pickle is loaded."""
    for number, (name, damage) in enumerate(damages().items()):
        copy = case.copied(str(number))
        damage(copy)
        try:
            case.load(copy)
        except ArtefactError as error:
            assert str(copy) in str(error), f"{name}: the message does not name the folder: {error}"
        else:
            raise AssertionError(f"a damaged artefact is loaded: {name}")
        assert not (copy.parent / MARKER).exists(), f"{name}: a pickle was loaded"
    with raises(ArtefactError, "no-such-folder"):
        load_model(case.folder("no-such-folder"))


@on_shared_fit
def state_replaces_only_artefacts(case: Case) -> None:
    """Saving replaces an artefact, but not a folder that contains other files."""
    copy = case.copied("replaced")
    case.model.save(copy)
    np.testing.assert_array_equal(all_scores(case.load(copy)), case.scores)
    (copy / "notes.txt").write_text("precious")
    with raises(ArtefactError, str(copy)):
        case.model.save(copy)
    assert (copy / "notes.txt").read_text() == "precious"


@on_shared_fit
def state_checks_the_language_model(case: Case) -> None:
    """Adding items needs the language model of the fit: without it, or with another, it fails.

    So does scoring, if the method reads queries with it.
    """
    if "encoder" not in case.new().needs or not issubclass(case.cls, AddsItems):
        return
    without_lm = load_model(case.saved)
    with raises(ArtefactError, "tiny-lm"):
        require(without_lm, AddsItems, "add items").add_items(case.world.new_items())
    if case.reads_queries_with_lm:
        with raises(ArtefactError, "tiny-lm"):
            all_scores(without_lm)
    else:
        np.testing.assert_array_equal(all_scores(without_lm), case.scores)
    with raises(ArtefactError, "weights"):
        load_model(case.saved, encoder=case.fixtures.other_encoder)
