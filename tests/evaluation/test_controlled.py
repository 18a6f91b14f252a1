"""Evaluation of lists under a control, in the world of genres."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import warmstart as ws
from warmstart.data.control import Control
from warmstart.data.splits.user_random import user_random
from warmstart.errors import ConfigError
from warmstart.evaluation.evaluate import evaluate
from warmstart.evaluation.lists import oracle_hits
from warmstart.testing.worlds.genres import genres_world
from warmstart.testing.worlds.items import GENRES
from warmstart.testing.worlds.ratings import ratings_world


@pytest.fixture(scope="module")
def world():
    return genres_world()


@pytest.fixture(scope="module")
def model(world):
    return ws.CFOnly(backbone={"kind": "ease", "l2": 5.0}).fit(world.split.train)


@pytest.mark.parametrize("n_genres", [2, 3, 4])
@pytest.mark.parametrize("k", [5, 10])
def test_lists_have_the_wanted_number_of_genres(world, model, n_genres, k):
    """Also at the length asked for: the first k of a longer list would not."""
    metrics = (f"coverage@{k}", f"coverage_error@{k}", f"recall@{k}", f"oracle_share@{k}")
    report = evaluate(model, world.split, control=Control(n_genres=n_genres), metrics=metrics)
    assert report.value("all", f"coverage@{k}") == n_genres
    assert report.value("all", f"coverage_error@{k}") == 0
    task = world.split.tasks("test")["all"]
    genres = world.split.dataset.catalogue.attribute("genres").matrix
    possible = oracle_hits(task.relevance, genres, k, n_genres)
    found = report.slices["all"]
    hits = found.values[f"recall@{k}"] * found.n_relevant
    expected = hits.sum() / possible.sum()
    assert report.value("all", f"oracle_share@{k}") == pytest.approx(expected)
    assert 0 < expected <= 1


def test_a_control_adds_its_metrics(world, model):
    plain = evaluate(model, world.split)
    number = evaluate(model, world.split, control=Control(n_genres=3))
    named = evaluate(model, world.split, control=Control(genres=GENRES))
    varied = evaluate(model, world.split, control=Control(diversity=0.9))
    added = [set(report.metrics) - set(plain.metrics) for report in (number, named, varied)]
    k = max(int(name.partition("@")[2]) for name in plain.metrics)
    basic = {f"coverage@{k}", f"diversity@{k}"}
    assert added[0] == basic | {f"coverage_error@{k}", f"oracle_share@{k}"}
    assert added[1] == basic | {f"coverage_error@{k}"}
    assert added[2] == basic
    short = [
        evaluate(model, world.split, control=Control(diversity=x), metrics=["diversity@5"])
        for x in (0.0, 0.9)
    ]
    assert short[1].value("all", "diversity@5") > short[0].value("all", "diversity@5")


def test_the_oracle_needs_a_number_of_genres(world, model):
    with pytest.raises(ConfigError, match="oracle_share needs a control: n_genres"):
        evaluate(model, world.split, metrics=["oracle_share@5"])
    control = Control(genres=GENRES)
    with pytest.raises(ConfigError, match="oracle_share needs a control: n_genres"):
        evaluate(model, world.split, control=control, metrics=["oracle_share@5"])


def test_overall_lists_under_control_are_as_long_as_the_metrics(world, model):
    """Calibration needs longer lists, whose first places may break the control."""
    board = world.board.split
    fitted = ws.CFOnly(backbone={"kind": "ease", "l2": 5.0}).fit(board.train)
    report = evaluate(
        fitted, board, control=Control(n_genres=2), metrics=["coverage@10"], slices=["overall"]
    )
    values = report.slices["overall"].values["coverage@10"]
    np.testing.assert_array_equal(values, 2)
    assert not report.calibration


def test_a_control_may_be_a_mapping_and_must_ask_for_something(world, model):
    given, built = (
        evaluate(model, world.split, control=control, metrics=["coverage@5"]).value(
            "all", "coverage@5"
        )
        for control in ({"n_genres": 3}, Control(n_genres=3))
    )
    assert given == built == 3
    with pytest.raises(ConfigError, match="asks for nothing"):
        evaluate(model, world.split, control={"first_genre_only": True})
    labels = ratings_world().split
    fitted = ws.LogisticCtr().fit(labels.train)
    with pytest.raises(ConfigError, match="the protocol labels has no lists"):
        evaluate(fitted, labels, control={"n_genres": 2})


def test_tables_and_json_name_the_control(world, model):
    """Also where no hit is possible: a relevant item without genres is in no list."""
    report = evaluate(model, world.split, control={"n_genres": 3})
    comparison = ws.compare([report])
    assert 'control {"n_genres":3}' in comparison.text()
    assert "coverage_error" in comparison.text()
    assert 'control {"n_genres":3}' in report.text()
    json.loads(comparison.to_json())
    plain = ws.compare([evaluate(model, world.split)])
    assert "control {" not in plain.text()
    assert "coverage_error" not in plain.text()


def test_queries_without_a_possible_hit_do_not_count(world, model):
    dataset = world.split.dataset
    genres = dataset.catalogue.columns["genres"].to_list()
    column = [None if row % 3 else value for row, value in enumerate(genres)]
    columns = dataset.catalogue.columns.with_columns(pl.Series("genres", column))
    catalogue = replace(dataset.catalogue, columns=columns)
    split = user_random(replace(dataset, catalogue=catalogue))
    fitted = ws.CFOnly(backbone={"kind": "ease", "l2": 5.0}).fit(split.train)
    metrics = ["precision@5", "oracle_share@5"]
    report = evaluate(fitted, split, control={"n_genres": 2}, metrics=metrics)
    task = split.tasks("test")["all"]
    possible = oracle_hits(task.relevance, catalogue.attribute("genres").matrix, 5, 2)
    assert (possible == 0).any()
    expected = 5 * report.slices["all"].values["precision@5"].sum() / possible.sum()
    assert report.value("all", "oracle_share@5") == pytest.approx(expected)
    json.loads(ws.compare([report]).to_json())
