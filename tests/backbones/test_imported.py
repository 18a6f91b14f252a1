"""Vectors of another tool as a backbone, and back again: ``implicit`` trained them."""

import json

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
    assert again.portable_config() == model.portable_config()
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
    elif case == "large":
        rows[2][1] = 1e300
    elif case == "text":
        rows = [",".join(map(str, row)) for row in rows]
    elif case == "texts":
        rows = [list(map(str, row)) for row in rows]
    elif case == "flags":
        rows = [[value > 0 for value in row] for row in rows]
    elif case == "none":
        rows = []
    return rows


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("short", r"items\.parquet: row 3: got a vector of length \d+; allowed: vectors of one"),
        ("empty", r"items\.parquet: row 3: got a vector of length 0; allowed: vectors of one"),
        (
            "infinite",
            r"items\.parquet: row 3, item .*: got inf at place 2; allowed: finite",
        ),
        (
            "large",
            r"items\.parquet: row 3, item .*: got 1e\+300 at place 2; allowed: f",
        ),
        ("text", r"items\.parquet: column 'vector': got String; allowed: lists of numbers"),
        (
            "texts",
            r"items\.parquet: column 'vector': got List\(String\); allowed: lists of",
        ),
        ("flags", r"items\.parquet: column 'vector': got List\(Boolean\); allowed: lists of num"),
        ("none", r"items\.parquet: the file has no rows"),
    ],
)
def test_a_malformed_vector_is_refused_by_file_and_row(tmp_path, world, trained, case, message):
    settings, items = written(tmp_path, world, trained), world.data.catalogue.item_ids
    rows = broken(case, trained[1])
    table = pl.DataFrame({"item": items.values[: len(rows)], "vector": rows})
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
    with pytest.raises(
        DataError,
        match=r"1 of the .* have no vector in .*items\.parquet, the first: ",
    ):
        CFOnly(backbone=settings).fit(world.data)
    twice = pl.read_parquet(tmp_path / "items.parquet")
    pl.concat([twice, twice[:1]]).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match=r"items\.parquet: row \d+: item .* stands in row 1;"):
        CFOnly(backbone=settings).fit(world.data)
    (tmp_path / "items.parquet").unlink()
    with pytest.raises(DataError, match=r"items\.parquet: no such file"):
        CFOnly(backbone=settings).fit(world.data)


def test_a_file_that_has_changed_is_refused(tmp_path, world, trained):
    config = CFOnly(backbone=written(tmp_path, world, trained)).config
    write(tmp_path / "users.parquet", world.data.user_ids, trained[0] * 2)
    with pytest.raises(DataError, match=r"users\.parquet has sha256 .*, the settings name"):
        CFOnly(config).fit(world.data)


@pytest.mark.parametrize("value", [None, "x", 3.0, [1, "x"], [True, False], [[1.0]]])
def test_a_line_of_jsonl_that_holds_no_vector_is_named(tmp_path, world, trained, value):
    settings = written(tmp_path, world, trained, ".jsonl")
    lines = (tmp_path / "users.jsonl").read_text().splitlines()
    record = json.loads(lines[4]) | {"vector": value}
    lines[4] = json.dumps(record)
    (tmp_path / "users.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"users\.jsonl: row 5: got vector .*; allowed: a list"):
        CFOnly(backbone=settings).fit(world.data)


def test_ids_that_are_all_unknown_are_told_with_examples(tmp_path, world, trained):
    settings = written(tmp_path, world, trained)
    strangers = Ids([f"stranger {row}" for row in range(len(trained[0]))], "user")
    write(tmp_path / "users.parquet", strangers, trained[0])
    with pytest.raises(DataError, match=r"none of the 48 users of the data .*'stranger 0'"):
        CFOnly(backbone=settings).fit(world.data)


@pytest.mark.parametrize("factor", [1e20, 1e-20])
def test_numbers_whose_squares_leave_float32_are_refused(tmp_path, world, trained, factor):
    settings = written(tmp_path, world, trained)
    write(tmp_path / "items.parquet", world.data.catalogue.item_ids, trained[1] * factor)
    with pytest.raises(DataError, match=r"items\.parquet are of the size 1?\d?\.\de.*; allowed"):
        CFOnly(backbone=settings).fit(world.data)


def test_a_warm_item_may_have_zeros(tmp_path, world, trained):
    """Some tools leave an item at zero; that is a vector."""
    settings = written(tmp_path, world, trained)
    zeroed = trained[1].copy()
    warm = int(np.flatnonzero(world.data.warm)[0])
    zeroed[warm] = 0
    write(tmp_path / "items.parquet", world.data.catalogue.item_ids, zeroed)
    model = CFOnly(backbone=settings).fit(world.data)
    assert not model.hybrid.backbone.vectors[1][warm].any()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"items\.npy: no such file"),
        (b"", r"items\.npy: cannot be read as an array"),
        (b"rubbish", r"items\.npy: cannot be read as an array"),
    ],
)
def test_a_damaged_array_is_refused(tmp_path, world, trained, content, message):
    settings = written(tmp_path, world, trained) | {"items": str(tmp_path / "items.npy")}
    if content is not None:
        (tmp_path / "items.npy").write_bytes(content)
    with pytest.raises(DataError, match=message):
        CFOnly(backbone=settings).fit(world.data)


def test_other_kinds_of_files_are_refused(tmp_path, world, trained):
    settings = written(tmp_path, world, trained) | {"items": str(tmp_path / "items.npz")}
    np.savez(tmp_path / "items.npz", trained[1])
    with pytest.raises(DataError, match=r"items\.npz: unknown kind of file; allowed: \.npy"):
        CFOnly(backbone=settings).fit(world.data)


def test_an_artefact_names_no_folder_of_this_machine(tmp_path, world, trained):
    model = CFOnly(backbone=written(tmp_path, world, trained)).fit(world.data)
    assert model.chosen.backbone.users == tmp_path / "users.parquet"
    model.save(tmp_path / "model")
    manifest = (tmp_path / "model/manifest.json").read_text()
    assert str(tmp_path) not in manifest
    assert '"users.parquet"' in manifest


def test_ids_in_another_order_are_another_file(tmp_path, world, trained):
    settings = written(tmp_path, world, trained)
    ids = world.data.catalogue.item_ids
    np.save(tmp_path / "items.npy", trained[1])
    pl.DataFrame({"item": ids.values}).write_csv(tmp_path / "items.csv")
    (tmp_path / "items.parquet").unlink()
    config = CFOnly(backbone=settings | {"items": str(tmp_path / "items.npy")}).config
    pl.DataFrame({"item": ids.values[::-1]}).write_csv(tmp_path / "items.csv")
    with pytest.raises(DataError, match=r"items\.npy has sha256 .*, the settings name"):
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
    with pytest.raises(ConfigError, match=r"backbone.*items.*must name a file"):
        CFOnly(backbone={"kind": "imported", "users": "users.parquet", "items": ""})
    assert ImportedConfig(users="~/u.parquet", items="i.npy").users.is_absolute()


def test_the_backbone_reads_its_files_before_it_is_fitted(tmp_path, world, trained):
    config = ImportedConfig(**{**written(tmp_path, world, trained), "kind": "imported"})
    backbone = Imported(config)
    backbone.read_inputs(world.data.user_ids, world.data.catalogue.item_ids)
    wrong = world.data.matrix[:, :-1]
    with pytest.raises(DataError, match="vectors were read for"):
        backbone.fit(wrong, rng=np.random.default_rng(0))
