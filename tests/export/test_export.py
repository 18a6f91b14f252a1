"""Vectors out: to parquet and back, and into tables of a real PostgreSQL with pgvector."""

import os
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import psycopg
import pytest
from pgvector.psycopg import register_vector

import warmstart as ws
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.ease import EaseConfig
from warmstart.backbones.ials import IalsConfig
from warmstart.cli import main
from warmstart.errors import ConfigError, DataError, DataWarning, NotFittedError, UnsupportedError
from warmstart.export.export import export_vectors
from warmstart.export.vectors import vectors_of
from warmstart.methods.cf_only import CFOnly
from warmstart.methods.filterllm import FilterLLM
from warmstart.methods.popular import Popular
from warmstart.testing.postgres import pgvector_binaries, server
from warmstart.testing.worlds.checkerboard import checkerboard, world_encoder

BPR = BprConfig(width=8, epochs=10, learning_rate=0.2, l2=0.01)
IALS = IalsConfig(width=8, epochs=5, alpha=5, l2=3)


@pytest.fixture(scope="module", params=["int", "str"])
def world(request):
    return checkerboard(request.param)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return world_encoder(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module")
def model(world, encoder):
    """A filterllm whose cold items are scored by their vectors, with some items added."""
    model = FilterLLM(backbone=BPR, cold_score="fold_in", epochs=0)
    model.fit(world.split.train, valid=world.split.validation(), encoder=encoder)
    model.add_items(world.new_items())
    return model


@pytest.fixture(scope="module")
def database():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # the server does not run as root
        with server(Path(folder) / "server", pgvector_binaries()) as running:
            yield running


def read_table(url, table):
    """A table of the database as ids, vectors and the other columns."""
    with psycopg.connect(url) as connection:
        register_vector(connection)
        found = connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
    vectors = np.array([row[1].to_numpy() for row in found], np.float32)
    return [row[0] for row in found], vectors, [row[2:] for row in found]


def test_vectors_of_users_and_warm_items_are_the_backbones(model):
    found, (users, items) = vectors_of(model), model.hybrid.backbone.vectors
    np.testing.assert_array_equal(found.users, users)
    warm = model.fitted.warm
    np.testing.assert_array_equal(found.items[~found.cold], items[np.flatnonzero(warm)])
    assert found.user_ids.values == model.fitted.user_ids.values
    has_text = model.fitted.catalogue.has_text
    assert found.cold.sum() == (~warm & has_text).sum()


def test_the_dot_product_orders_cold_items_as_recommend_does(model, world):
    """One factor for all users instead of each user's own: the order of the cold items stays."""
    found = vectors_of(model)
    user = world.active_users[:6]
    scores = found.users[user] @ found.items.T
    fitted = model.fitted
    rows = fitted.catalogue.item_ids.known_rows(found.item_ids.values)
    for row, place in enumerate(user):
        names = [fitted.user_ids.values[place]]
        cold = [item for item, is_cold in zip(rows, found.cold, strict=True) if is_cold]
        listed = model.recommend(names, k=len(rows)).filter(pl.col("is_cold"))["item"]
        order = np.argsort(-scores[row][found.cold], kind="stable")
        expected = [fitted.catalogue.item_ids.values[cold[at]] for at in order]
        assert listed.to_list() == [item for item in expected if item in set(listed)]
        assert len(listed) > 3


@pytest.mark.parametrize("method", ["filterllm", "coldllm", "text_to_vector", "cf_only"])
@pytest.mark.parametrize("backbone", [BPR, IALS], ids=["bpr", "ials"])
def test_one_dot_product_ranks_warm_and_cold_items(world, encoder, method, backbone):
    """A cold score is that of ``recommend``, but for each user's factor in place of the median."""
    settings = {
        "filterllm": {"cold_score": "fold_in", "epochs": 0},
        "coldllm": {"cold_score": "fold_in", "judge": None, "filter": {"signals": "content"}},
    }
    model = ws.build(method, {"backbone": backbone.model_dump(), **settings.get(method, {})})
    data = world.split.train
    model.fit(data, valid=world.split.validation(), encoder=encoder)
    if method == "cf_only":
        cold = np.flatnonzero(~data.warm)[:6]
        model.fold_in(ws.Interactions.from_arrays(np.arange(6, dtype=np.int32), cold))
        model.calibrate(data, world.split.validation())
    found, users = vectors_of(model), world.active_users[:8]
    rows = data.catalogue.item_ids.known_rows(found.item_ids.values)
    dots = found.users[users] @ found.items.T
    scores = model.score(ws.Queries.of_users(users), rows)
    np.testing.assert_allclose(dots[:, ~found.cold], scores[:, ~found.cold], rtol=1e-5, atol=1e-6)
    calibration = model.hybrid.calibration.take(users)
    factors = calibration.user_factors / np.median(model.hybrid.calibration.user_factors)
    cold = dots[:, found.cold] * factors[:, None]
    below = cold < calibration.user_limits[:, None]  # larger ones are compressed
    assert below.any()
    np.testing.assert_allclose(scores[:, found.cold][below], cold[below], rtol=1e-3, atol=1e-5)


def test_an_item_that_the_other_tool_knows_keeps_its_vector(tmp_path, world, encoder):
    """It has no interactions in these data, so it is cold here, but not for the other tool."""
    data = world.split.train
    rng = np.random.default_rng(0)
    vectors = {
        "user": rng.normal(size=(data.n_users, 4)).astype(np.float32),
        "item": rng.normal(size=(data.n_items, 4)).astype(np.float32),
    }
    unknown = np.flatnonzero(~data.warm)[1:]
    vectors["item"][unknown] = 0
    files = {}
    for ids in (data.user_ids, data.catalogue.item_ids):
        files[f"{ids.kind}s"] = str(tmp_path / f"{ids.kind}s.parquet")
        table = pl.DataFrame({ids.kind: ids.values, "vector": vectors[ids.kind].tolist()})
        table.write_parquet(files[f"{ids.kind}s"])
    model = ws.TextToVector(backbone={"kind": "imported", **files}).fit(data, encoder=encoder)
    found = vectors_of(model)
    kept = np.flatnonzero(~data.warm)[0]
    place = int(found.item_ids.known_rows([data.catalogue.item_ids.values[kept]])[0])
    np.testing.assert_array_equal(found.items[place], vectors["item"][kept])
    others = found.item_ids.rows(data.catalogue.item_ids.take(unknown))
    assert np.abs(found.items[others[others >= 0]]).min(axis=1).all()


def test_parquet_files_come_back_as_the_backbone_imported(tmp_path, model, world):
    written = export_vectors(model, tmp_path / "out")
    files = {name: str(tmp_path / f"out/{name}.parquet") for name in ("users", "items")}
    again = CFOnly(backbone={"kind": "imported", **files}).fit(world.split.train)
    users, items = again.hybrid.backbone.vectors
    np.testing.assert_array_equal(users, written.users)
    rows = world.split.train.catalogue.item_ids.rows(written.item_ids.values)
    np.testing.assert_array_equal(items[rows[rows >= 0]], written.items[rows >= 0])
    table = pl.read_parquet(files["items"])
    assert table.columns == ["item", "vector", "is_cold"]
    assert table["is_cold"].to_list() == written.cold.tolist()


def test_only_cold_items_are_written_on_request(tmp_path, model):
    written = export_vectors(model, tmp_path, cold_only=True)
    assert [path.name for path in tmp_path.iterdir()] == ["cold_items.parquet"]
    assert pl.read_parquet(tmp_path / "cold_items.parquet")["is_cold"].all()
    assert 0 < len(written.item_ids) == written.cold.sum()


def test_tables_of_pgvector_hold_the_vectors_bit_for_bit(database, model, world):
    url = database.url(f"bits_{type(world.data.user_ids.values[0]).__name__}")
    written = export_vectors(model, url)
    for table, ids, vectors in (
        ("user_vectors", written.user_ids, written.users),
        ("item_vectors", written.item_ids, written.items),
    ):
        found, array, others = read_table(url, table)
        rows = ids.known_rows(found)
        assert sorted(rows) == list(range(len(ids)))
        np.testing.assert_array_equal(array, vectors[rows])
        if others[0]:
            assert [bool(flag) for (flag,) in others] == written.cold[rows].tolist()
    # The search of the database ranks as the dot product does.
    with psycopg.connect(url) as connection:
        query = (
            "SELECT item FROM item_vectors ORDER BY vector <#> "
            '(SELECT vector FROM user_vectors WHERE "user" = %s) LIMIT 5'
        )
        listed = [row[0] for row in connection.execute(query, [written.user_ids.values[0]])]
    scores = written.items @ written.users[0]
    np.testing.assert_allclose(
        scores[written.item_ids.known_rows(listed)], np.sort(scores)[::-1][:5], rtol=1e-5
    )


def test_rows_of_other_items_stay_and_rows_of_the_same_id_are_replaced(database, model, world):
    url = database.url(f"merge_{type(world.data.user_ids.values[0]).__name__}")
    written = export_vectors(model, url, items_table="public.shop", users_table="people")
    stranger = 987654 if written.item_ids.is_integer else "stranger"
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE shop SET vector = vector * vector, is_cold = NULL")
        connection.execute(
            "INSERT INTO shop (item, vector) SELECT %s, vector FROM shop LIMIT 1", [stranger]
        )
        connection.execute("ALTER TABLE shop ADD COLUMN note text DEFAULT 'kept'")
    export_vectors(model, url, items_table="shop", cold_only=True)
    found, vectors, others = read_table(url, "shop")
    flags = {item: flag for item, (flag, _) in zip(found, others, strict=True)}
    cold = dict(zip(written.item_ids.values, written.cold.tolist(), strict=True))
    assert flags == {item: True if is_cold else None for item, is_cold in cold.items()} | {
        stranger: None
    }
    assert {note for _, note in others} == {"kept"}
    rows = written.item_ids.rows(found)
    replaced = np.array([flags[item] is True for item in found])
    np.testing.assert_array_equal(vectors[replaced], written.items[rows[replaced]])


def test_a_table_with_other_columns_is_refused_and_nothing_is_written(database, model, world):
    url = database.url(f"other_{type(world.data.user_ids.values[0]).__name__}")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute('CREATE TABLE user_vectors ("user" uuid, vector vector(8))')
    with pytest.raises(DataError, match=r"table user_vectors: columns .*uuid.*; allowed"):
        export_vectors(model, url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('item_vectors')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "CREATE TABLE t (item text, vector vector(8), is_cold boolean)",
            "must be the primary key",
        ),
        ("CREATE TABLE t (item text PRIMARY KEY, vector vector(7), is_cold boolean)", "vector.7."),
    ],
)
def test_a_table_that_cannot_be_merged_into_is_refused(database, model, statement, message):
    if not isinstance(model.fitted.user_ids.values[0], str):
        pytest.skip("one type of ids is enough")
    url = database.url(f"merge{abs(hash(statement))}")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute(statement)
    with pytest.raises(DataError, match=message) as caught:
        export_vectors(model, url, items_table="t")
    assert "\n" not in str(caught.value)


def test_names_of_tables_are_quoted(database, model):
    url = database.url(f"quoted_{model.fitted.user_ids.is_integer}".lower())
    for _ in range(2):
        export_vectors(model, url, items_table='it"ems; DROP', users_table="select")
    with psycopg.connect(url) as connection:
        (count,) = connection.execute('SELECT count(*) FROM "it""ems; DROP"').fetchone()
    assert count == len(vectors_of(model).item_ids)


@pytest.mark.parametrize("scheme", ["POSTGRESQL", "postgres", "postgresql+psycopg"])
def test_other_spellings_of_the_scheme(database, model, scheme):
    name = f"scheme_{scheme[-3:]}_{model.fitted.user_ids.is_integer}".lower()
    _, _, rest = database.url(name).partition("://")
    export_vectors(model, f"{scheme}://{rest}", items_table="a", users_table="b")


@pytest.mark.parametrize("to", ["", "sqlite:///shop.db", "s3://bucket/vectors", "mysql+x://h/d"])
def test_other_addresses_are_refused_and_make_no_folder(tmp_path, monkeypatch, model, to):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"export to .*; allowed: a folder, or postgresql"):
        export_vectors(model, to)
    assert list(tmp_path.iterdir()) == []


def test_a_password_is_not_shown(tmp_path, model, capsys):
    model.save(tmp_path / "m")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(tmp_path / "m"), "--to", "postgresql://u:secret@127.0.0.1:1/x"])
    assert ended.value.code == 2
    assert "secret" not in "".join(capsys.readouterr())


def test_one_table_for_both_is_refused(model):
    with pytest.raises(ConfigError, match="both 'same'; allowed: two names"):
        export_vectors(model, "postgresql://h/d", items_table="same", users_table="same")


def test_faults_outside_are_told(tmp_path, model):
    with pytest.raises(DataError, match=r"the vectors could not be written: .*refused"):
        export_vectors(model, "postgresql://nobody@127.0.0.1:1/none")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="not a folder"):
        export_vectors(model, tmp_path / "file")


def test_a_score_that_vectors_do_not_hold_is_told(world, encoder):
    model = FilterLLM(backbone=BPR, cold_score="both", text_weight=0.25, epochs=0)
    model.fit(world.split.train, encoder=encoder)
    with pytest.warns(DataWarning, match=r"are 25% scores of the text model.*cold_score='fold_in'"):
        vectors_of(model)


def test_scores_of_the_text_model_alone_have_no_vectors(world, encoder):
    model = FilterLLM(backbone=BPR, cold_score="text", epochs=0)
    model.fit(world.split.train, encoder=encoder)
    with pytest.raises(UnsupportedError, match="by the text model alone, and have no vectors"):
        vectors_of(model)


def test_items_that_cannot_be_scored_are_left_out(world):
    model = CFOnly(backbone=IalsConfig(width=4, epochs=2)).fit(world.split.train)
    assert not vectors_of(model).cold.any()


def test_models_without_vectors_are_refused(world):
    with pytest.raises(UnsupportedError, match=r"popular has no vectors .*allowed: .*imported"):
        vectors_of(Popular().fit(world.split.train))
    with pytest.raises(UnsupportedError, match="cf_only with the backbone ease has no vectors"):
        vectors_of(CFOnly(backbone=EaseConfig(l2=5)).fit(world.split.train))
    with pytest.raises(NotFittedError):
        vectors_of(CFOnly())
