"""Artefacts are written atomically and verified before reading; nothing in them is executed."""

import json
import shutil
from contextlib import suppress
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import warmstart
from warmstart.artefact import FILES, FORMAT_VERSION
from warmstart.config import Config
from warmstart.core import Recommender, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions
from warmstart.data.splits.files import load_split, save_split
from warmstart.errors import ArtefactError, NotFittedError
from warmstart.methods import METHODS, load_model
from warmstart.methods.popular import Popular
from warmstart.storage import file_hash
from warmstart.testing.damage import MARKER, damages
from warmstart.testing.worlds.checkerboard import checkerboard


class KeeperConfig(Config):
    """No settings."""


class Keeper(Recommender):
    """Saves arrays of every dtype and layout."""

    name = "keeper"
    config_type = KeeperConfig
    traits = Traits(reads=frozenset(), cold_items="none")

    def _fit(self, data, context):
        rng = np.random.default_rng(0)
        self.arrays = {
            "scalar": np.array(1.5),
            "empty": np.zeros((0, 4), np.float32),
            "transposed": rng.normal(size=(3, 5)).T,
            "whole": np.arange(6, dtype=np.int64)[::2],
            "flags": np.array([True, False]),
            "half": np.ones(2, np.float16),
            "unsigned": np.array([2**64 - 1], np.uint64),
        }
        self.fitted.choices = {"nested": {"epochs": 3}, "scale": 0.1}

    def _score(self, users, items):
        return np.zeros((len(users), len(items)), np.float32)

    def _state(self):
        return self.arrays

    def _restore(self, state, lm):
        self.arrays = {name: state[name] for name in sorted(state)}


@pytest.fixture
def keeper(monkeypatch):
    monkeypatch.setitem(METHODS, "keeper", f"{__name__}:Keeper")
    return Keeper


def rich_dataset(ids="int"):
    """A data set whose ids, texts and columns are easily corrupted in a round trip."""
    texts = ["naïve 文", "", 'a "quote", a comma\nand a line', "plain"]
    columns = pl.DataFrame(
        {
            "title": texts,
            "price": [1.5, None, 0.1, -0.0],
            "made": [date(2020, 1, 1), None, date(1969, 12, 31), None],
            "tags": [["a", "b"], [], None, ["c"]],
        }
    )
    names = [2**60, -7, 0, 12] if ids == "int" else ["007", "7", " 7", "é"]
    catalogue = Catalogue(
        Ids(names, "item"), tuple(texts), np.array([-1, 0, 5, 2**40]), columns, ("title",)
    )
    events = Interactions.from_arrays(
        [0, 0, 2], [1, 3, 1], weights=np.array([0.25, 1, 1e-6]), times=np.array([1, 2, 3])
    )
    users = [10**15, 3, -1] if ids == "int" else ["", "10", "010"]
    return Dataset("rich", Ids(users, "user"), catalogue, events)


@pytest.mark.parametrize("ids", ["int", "str"])
def test_a_round_trip_preserves_everything(ids, keeper, tmp_path):
    data = rich_dataset(ids)
    model = keeper().fit(data)
    loaded = load_model(model.save(tmp_path / "model"))
    assert isinstance(loaded, Keeper)
    fitted = loaded.fitted
    assert fitted.user_ids.values == data.user_ids.values
    assert fitted.catalogue.item_ids.values == data.catalogue.item_ids.values
    assert fitted.catalogue.texts == data.catalogue.texts
    assert fitted.catalogue.text_columns == ("title",)
    assert fitted.catalogue.columns.equals(data.catalogue.columns)
    assert fitted.catalogue.columns.schema == data.catalogue.columns.schema
    np.testing.assert_array_equal(fitted.catalogue.released, data.catalogue.released)
    assert fitted.catalogue.released.dtype == np.int64
    assert fitted.warm.tolist() == [False, True, False, True]
    assert fitted.warm.dtype == bool
    assert (fitted.positives != data.matrix).nnz == 0
    assert fitted.positives.dtype == np.float32
    assert fitted.choices == {"nested": {"epochs": 3}, "scale": 0.1}
    assert fitted.lms == {}
    assert loaded.arrays.keys() == model.arrays.keys()
    for name, array in model.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)
        assert loaded.arrays[name].dtype == array.dtype, name
        assert loaded.arrays[name].shape == array.shape, name


def test_a_catalogue_of_ids_alone(tmp_path):
    names = Ids(["a", "b"], "item")
    catalogue = Catalogue(names, ("", ""), None, pl.DataFrame(), ())
    data = Dataset("bare", Ids([1], "user"), catalogue, Interactions.from_arrays([0], [1]))
    loaded = load_model(Popular().fit(data).save(tmp_path / "model"))
    assert loaded.fitted.catalogue.released is None
    assert loaded.fitted.catalogue.columns.width == 0
    assert loaded.recommend([1], 2, exclude_seen=False)["item"].to_list() == ["b", "a"]


def test_the_manifest_records_method_config_and_environment(keeper, tmp_path):
    model = keeper().fit(rich_dataset())
    folder = model.save(tmp_path / "deep" / "model")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["format"] == "warmstart-artefact"
    assert manifest["format_version"] == FORMAT_VERSION
    assert manifest["method"] == "keeper"
    assert manifest["config"] == {}
    assert manifest["ids"] == {
        "users": model.fitted.user_ids.hash,
        "items": model.fitted.catalogue.item_ids.hash,
    }
    assert (
        set(manifest["files"])
        == set(FILES)
        == {p.name for p in folder.iterdir()} - {"manifest.json"}
    )
    assert manifest["environment"]["warmstart"] == warmstart.__version__
    assert manifest["environment"]["numpy"] == np.__version__


def test_saving_twice_writes_the_same_bytes(keeper, tmp_path):
    model = keeper().fit(rich_dataset())
    first, second = model.save(tmp_path / "first"), model.save(tmp_path / "second")
    for name in (*FILES, "manifest.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


# -- writing --


@pytest.fixture(scope="module")
def world():
    return checkerboard()


@pytest.fixture(scope="module")
def saved(world, tmp_path_factory):
    return Popular().fit(world.data).save(tmp_path_factory.mktemp("saved") / "model")


def test_all_files_have_the_permissions_of_the_manifest(saved):
    modes = {path.name: path.stat().st_mode for path in saved.iterdir()}
    assert set(modes.values()) == {modes["manifest.json"]}, modes


def test_an_unfitted_model_writes_nothing(tmp_path):
    with pytest.raises(NotFittedError, match="popular: call fit"):
        Popular().save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_an_artefact_is_replaced_and_an_empty_folder_filled(world, saved, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    other = Popular().fit(checkerboard("int").data)
    other.save(folder)
    model = load_model(saved)
    assert model.save(folder) == folder
    assert load_model(folder).fitted.user_ids.values == world.data.user_ids.values
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_file_or_another_folder_is_never_replaced(world, saved, tmp_path):
    model = load_model(saved)
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "diary.txt").write_text("precious")
    save_split(world.split, tmp_path / "split")
    for name in ("file", "folder", "split"):
        with pytest.raises(ArtefactError, match=name):
            model.save(tmp_path / name)
    assert (tmp_path / "file").read_text() == "precious"
    assert (tmp_path / "folder" / "diary.txt").read_text() == "precious"
    assert load_split(tmp_path / "split").hash == world.split.hash


def test_an_interrupted_save_leaves_the_old_artefact(saved, tmp_path, monkeypatch):
    folder = shutil.copytree(saved, tmp_path / "model")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model = load_model(folder)

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("warmstart.artefact.save_file", full)
    with pytest.raises(OSError, match="no space"):
        model.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# -- reading --


@pytest.mark.parametrize("name", damages())
def test_damage_is_detected(name, saved, tmp_path):
    copy = shutil.copytree(saved, tmp_path / "model")
    damages()[name](copy)
    with pytest.raises(ArtefactError, match="model"):
        load_model(copy)
    assert not (tmp_path / MARKER).exists()


def test_the_message_names_the_problem(saved, world, tmp_path):
    def message(name):
        copy = shutil.copytree(saved, tmp_path / name.replace("/", "-"))
        damages()[name](copy)
        with pytest.raises(ArtefactError) as caught:
            load_model(copy)
        return str(caught.value)

    assert "is not a warmstart artefact" in message("no manifest")
    assert "is not a warmstart artefact" in message("another kind of folder")
    newer = message("a newer format")
    assert f"version {FORMAT_VERSION + 1}" in newer
    assert f"reads versions 1 and {FORMAT_VERSION}" in newer
    assert "unknown method 'no_such_method'; known: random," in message("an unknown method")
    assert "no_such_setting" in message("an unknown setting")
    assert "notes.txt" in message("a file that is not listed")
    assert "sha256" in message("state.safetensors has a changed byte")
    assert "state.safetensors" in message("state.safetensors is truncated")
    save_split(world.split, tmp_path / "split")
    with pytest.raises(ArtefactError, match="split is not a warmstart artefact"):
        load_model(tmp_path / "split")
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match="file is not a warmstart artefact"):
        load_model(tmp_path / "file")


def test_hidden_files_are_ignored(saved, tmp_path):
    copy = shutil.copytree(saved, tmp_path / "model")
    (copy / ".DS_Store").write_bytes(b"\0")
    assert load_model(copy).name == "popular"


def rewrite(folder, name, change):
    """Change a file and update its hash in the manifest, as an attacker would."""
    path = folder / name
    if name.endswith(".parquet"):
        change(pl.read_parquet(path)).write_parquet(path)
    else:
        save_file(change(load_file(path)), path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = file_hash(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))


TAMPERED = {
    "users fewer": ("users.parquet", lambda frame: frame.head(5)),
    "users twice": ("users.parquet", lambda frame: pl.concat([frame, frame.head(1)])),
    "users renamed": ("users.parquet", lambda frame: frame.rename({"user": "person"})),
    "items fewer": ("items.parquet", lambda frame: frame.head(5)),
    "items without text": ("items.parquet", lambda frame: frame.drop("text")),
    "histories without shape": ("positives.safetensors", lambda a: {"data": a["data"]}),
    "histories of another shape": (
        "positives.safetensors",
        lambda a: {**a, "shape": np.array([48, 3])},
    ),
    "state of another method": ("state.safetensors", lambda a: {"seed": a["counts"]}),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_inconsistent_content_is_detected(name, saved, tmp_path):
    copy = shutil.copytree(saved, tmp_path / "model")
    rewrite(copy, *TAMPERED[name])
    with pytest.raises(ArtefactError, match="model"):
        load_model(copy)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.data())
def test_any_manifest_is_loaded_or_refused_with_an_artefact_error(saved, tmp_path, data):
    folder = tmp_path / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    key = data.draw(st.sampled_from([*manifest, "an unknown key"]))
    manifest[key] = data.draw(JSON)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    try:
        model = load_model(folder)
    except ArtefactError as error:
        message = str(error)
    else:
        message = f"{model.name} model"
    assert "model" in message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.sampled_from((*FILES, "manifest.json")), st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_is_detected_or_harmless(saved, tmp_path, name, place, change):
    folder = tmp_path / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved, folder)
    content = bytearray((folder / name).read_bytes())
    content[place % len(content)] ^= change
    (folder / name).write_bytes(content)
    if name != "manifest.json":
        with pytest.raises(ArtefactError, match=name):
            load_model(folder)
        return
    with suppress(ArtefactError):  # no error if the byte is white space or in the environment
        load_model(folder)
