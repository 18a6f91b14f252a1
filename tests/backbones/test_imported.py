"""Vectors of another tool as a backbone, and back again: ``implicit`` trained them."""

import numpy as np
import polars as pl
import pytest
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking

from warmstart.backbones.imported import Imported, ImportedConfig
from warmstart.data.ids import Ids
from warmstart.errors import ConfigError, DataError
from warmstart.methods import load_model
from warmstart.methods.cf_only import CFOnly
from warmstart.testing.worlds.checkerboard import checkerboard

WIDTH = 8


@pytest.fixture(scope="module")
def world():
    return checkerboard()


@pytest.fixture(scope="module", params=["als", "bpr"])
def trained(request, world):
    """User and item factors of a model that was trained outside."""
    settings = {"factors": WIDTH, "random_state": 0, "num_threads": 1}
    if request.param == "als":
        model = AlternatingLeastSquares(**settings, iterations=5)
    else:
        model = BayesianPersonalizedRanking(**settings, iterations=300, learning_rate=0.1)
    model.fit(world.data.matrix, show_progress=False)
    return model.user_factors, model.item_factors


def write(path, ids, vectors):
    """Write a table with the vectors of ids."""
    frame = pl.DataFrame({ids.kind: ids.values, "vector": vectors.tolist()})
    getattr(frame, {".parquet": "write_parquet", ".jsonl": "write_ndjson"}[path.suffix])(path)
    return path


def written(folder, world, vectors, suffix=".parquet"):
    ids = (world.data.user_ids, world.data.catalogue.item_ids)
    return {
        "kind": "imported",
        "users": str(write(folder / f"users{suffix}", ids[0], vectors[0])),
        "items": str(write(folder / f"items{suffix}", ids[1], vectors[1])),
    }


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_warm_scores_are_those_of_the_other_tool(tmp_path, world, trained, suffix):
    model = CFOnly(backbone=written(tmp_path, world, trained, suffix)).fit(world.data)
    users, items = model.hybrid.backbone.vectors
    warm = world.data.warm
    np.testing.assert_array_equal(users, trained[0])
    np.testing.assert_array_equal(items[warm], trained[1][warm])
    rows = np.flatnonzero(warm).astype(np.int32)
    everyone = np.arange(world.data.n_users, dtype=np.int32)
    expected = trained[0] @ trained[1][rows].T
    np.testing.assert_array_equal(model.hybrid.backbone.score(everyone, rows), expected)


def test_arrays_stand_beside_a_table_of_their_ids(tmp_path, world, trained):
    settings = written(tmp_path, world, trained)
    expected = CFOnly(backbone=settings).fit(world.data).hybrid.backbone.vectors
    order = np.random.default_rng(0).permutation(world.data.n_users)
    for name, ids, vectors in (
        ("users", world.data.user_ids, trained[0][order]),
        ("items", world.data.catalogue.item_ids, trained[1]),
    ):
        rows = order if name == "users" else np.arange(len(ids))
        np.save(tmp_path / f"{name}.npy", vectors.astype(np.float64))
        table = pl.DataFrame({ids.kind: ids.take(rows)})
        table.write_csv(tmp_path / f"{name}.csv")
        (tmp_path / f"{name}.parquet").unlink()
        settings[name] = str(tmp_path / f"{name}.npy")
    found = CFOnly(backbone=settings).fit(world.data).hybrid.backbone.vectors
    for array, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, other)


def test_a_new_item_is_ranked_by_its_users(tmp_path, world, trained):
    """Folded in from its clicks, a new item is scored on the scale of the warm ones."""
    model = CFOnly(backbone=written(tmp_path, world, trained)).fit(world.data)
    backbone, data = model.hybrid.backbone, world.data
    rows = np.flatnonzero(data.warm).astype(np.int32)
    folded = backbone.fold_in(data.matrix.T.tocsr()[rows])
    users = world.active_users.astype(np.int32)
    again, own = backbone.score_folded(users, folded), backbone.score(users, rows)
    assert np.corrcoef(again.ravel(), own.ravel())[0, 1] > 0.9
    assert 0.4 < again.std() / own.std() < 2.5


def test_an_artefact_needs_no_files_and_keeps_their_hashes(tmp_path, world, trained):
    model = CFOnly(backbone=written(tmp_path, world, trained)).fit(world.data)
    model.save(tmp_path / "model")
    for name in ("users", "items"):
        (tmp_path / f"{name}.parquet").unlink()
    again = load_model(tmp_path / "model")
    assert len(again.config.backbone.items_sha256) == 64
    assert again.config == model.config
    users = list(world.data.user_ids.values[:3])
    assert again.recommend(users, k=4).equals(model.recommend(users, k=4))


def test_ids_of_the_file_that_are_unknown_and_ids_without_a_vector(tmp_path, world, trained):
    """A user without a vector scores 0; a vector of nobody is left out."""
    settings, ids = written(tmp_path, world, trained), world.data.user_ids.values
    strangers = [9999 if isinstance(ids[0], int) else "stranger", *ids[1:]]
    write(tmp_path / "users.parquet", Ids(strangers, "user"), trained[0])
    users, _ = CFOnly(backbone=settings).fit(world.data).hybrid.backbone.vectors
    assert not users[0].any()
    np.testing.assert_array_equal(users[1:], trained[0][1:])


def broken(case, vectors):
    """The vectors of items with a fault, as lists."""
    rows = vectors.tolist()
    if case == "short":
        rows[2] = rows[2][:-1]
    elif case == "infinite":
        rows[2][1] = float("inf")
    elif case == "empty":
        rows[2] = []
    elif case == "text":
        rows = [",".join(map(str, row)) for row in rows]
    return rows


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("short", r"items\.parquet: row 3: allowed: vectors of one length"),
        ("empty", r"items\.parquet: row 3: allowed: vectors of one length"),
        ("infinite", r"items\.parquet: row 3, item .*: the vector has numbers that are not finite"),
        ("text", r"items\.parquet: column 'vector': allowed: lists of numbers"),
    ],
)
def test_a_malformed_vector_is_refused_by_file_and_row(tmp_path, world, trained, case, message):
    settings, items = written(tmp_path, world, trained), world.data.catalogue.item_ids
    table = pl.DataFrame({"item": items.values, "vector": broken(case, trained[1])})
    table.write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match=message):
        CFOnly(backbone=settings).fit(world.data)


def test_other_faults_of_the_files_are_refused(tmp_path, world, trained):
    settings, items = written(tmp_path, world, trained), world.data.catalogue.item_ids
    narrow = trained[1][:, :-1]
    write(tmp_path / "items.parquet", items, narrow)
    with pytest.raises(DataError, match=rf"width {trained[0].shape[1]}, those of items"):
        CFOnly(backbone=settings).fit(world.data)
    warm = int(np.flatnonzero(world.data.warm)[0])
    fewer = np.delete(np.arange(len(items)), warm)
    write(tmp_path / "items.parquet", Ids(items.take(fewer), "item"), trained[1][fewer])
    with pytest.raises(DataError, match=r"1 of the .* items with interactions have no vector"):
        CFOnly(backbone=settings).fit(world.data)
    twice = pl.read_parquet(tmp_path / "items.parquet")
    pl.concat([twice, twice[:1]]).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match="occurs twice"):
        CFOnly(backbone=settings).fit(world.data)
    (tmp_path / "items.parquet").unlink()
    with pytest.raises(DataError, match=r"items\.parquet: no such file"):
        CFOnly(backbone=settings).fit(world.data)


def test_a_file_that_has_changed_is_refused(tmp_path, world, trained):
    config = CFOnly(backbone=written(tmp_path, world, trained)).config
    write(tmp_path / "users.parquet", world.data.user_ids, trained[0] * 2)
    with pytest.raises(DataError, match=r"users\.parquet has sha256 .*, the settings name"):
        CFOnly(config).fit(world.data)


def test_vectors_without_ids_are_refused(tmp_path, world, trained):
    np.save(tmp_path / "items.npy", trained[1])
    settings = written(tmp_path, world, trained) | {"items": str(tmp_path / "items.npy")}
    (tmp_path / "items.parquet").unlink()
    with pytest.raises(DataError, match=r"its ids must be in one table beside it"):
        CFOnly(backbone=settings).fit(world.data)


def test_both_files_must_be_named():
    with pytest.raises(ConfigError, match=r"backbone.*items"):
        CFOnly(backbone={"kind": "imported", "users": "users.parquet"})


def test_the_backbone_reads_its_files_before_it_is_fitted(tmp_path, world, trained):
    config = ImportedConfig(**{**written(tmp_path, world, trained), "kind": "imported"})
    backbone = Imported(config)
    backbone.read_inputs(world.data.user_ids, world.data.catalogue.item_ids)
    wrong = world.data.matrix[:, :-1]
    with pytest.raises(DataError, match="vectors were read for"):
        backbone.fit(wrong, rng=np.random.default_rng(0))
