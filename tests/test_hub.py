"""The habits of the Hugging Face hub, against local folders."""

import json

import numpy as np
import polars as pl
import pytest
import yaml
from huggingface_hub import HfApi

import warmstart as ws
from warmstart.errors import ArtefactError, ConfigError, DataWarning
from warmstart.testing.worlds.checkerboard import checkerboard, world_encoder


@pytest.fixture(scope="module")
def world():
    return checkerboard()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return world_encoder(tmp_path_factory.mktemp("lm"))


@pytest.fixture(scope="module")
def model(world, encoder):
    return ws.TextRidge(l2=0.5).fit(world.split.train, encoder=encoder)


def front_matter(card):
    return yaml.safe_load(card.split("---")[1])


def test_a_saved_model_comes_back_from_its_folder(tmp_path, model, world, encoder):
    ws.HubModel(model).save_pretrained(tmp_path / "m")
    again = ws.HubModel.from_pretrained(tmp_path / "m", encoder=encoder).model
    users = np.array(world.data.user_ids.values)[world.active_users[:3]].tolist()
    assert again.recommend(users, k=5).equals(model.recommend(users, k=5))
    assert type(again) is ws.TextRidge
    again.add_items(world.new_items())


def test_the_card_is_written_from_the_artefact(tmp_path, model, world):
    report = ws.evaluate(model, world.split)
    options = {"data": "A toy world.", "license": "cc-by-4.0", "figures": ws.compare([report])}
    ws.HubModel(model).save_pretrained(tmp_path / "m", model_card_kwargs=options)
    card = (tmp_path / "m/README.md").read_text()
    facts = front_matter(card)
    assert facts["library_name"] == "warmstart"
    assert facts["license"] == "cc-by-4.0"
    assert {"cold-start", "text_ridge"} <= set(facts["tags"])
    data = world.split.train
    assert f"{data.n_users} users, {data.n_items} items ({int(data.warm.sum())} with" in card
    assert "A toy world." in card
    assert "publish only what may be published" in card
    assert json.dumps(model.portable_config(), indent=2) in card
    assert model.fitted.lms["encoder"]["weights_sha256"] in card
    cold = report.value("cold", "ndcg@20")
    assert f"{cold:.4f}"[1:] in card


def test_a_card_without_figures_says_so(tmp_path, model):
    ws.HubModel(model).save_pretrained(tmp_path / "m")
    card = (tmp_path / "m/README.md").read_text()
    assert "None were given." in card
    assert "license" not in front_matter(card)


def test_a_card_that_was_edited_stays(tmp_path, model):
    hub = ws.HubModel(model)
    hub.save_pretrained(tmp_path / "m")
    (tmp_path / "m/README.md").write_text("My words.")
    with pytest.warns(DataWarning, match=r"README\.md was edited and is kept"):
        hub.save_pretrained(tmp_path / "m")
    model.save(tmp_path / "m")
    assert (tmp_path / "m/README.md").read_text() == "My words."
    ws.load_model(tmp_path / "m")


@pytest.mark.parametrize("left", [None, b""])
def test_a_card_that_nobody_edited_is_written_anew(tmp_path, model, world, left):
    ws.HubModel(model).save_pretrained(tmp_path / "m")
    if left is not None:  # as an interrupted write of another tool leaves it
        (tmp_path / "m/README.md").write_bytes(left)
    popular = ws.Popular().fit(world.split.train)
    options = {"data": "Other data.", "license": "mit"}
    ws.HubModel(popular).save_pretrained(tmp_path / "m", model_card_kwargs=options)
    card = (tmp_path / "m/README.md").read_text()
    assert "# popular" in card
    assert "text_ridge" not in card
    assert "Other data." in card
    assert front_matter(card)["license"] == "mit"


@pytest.mark.parametrize(
    "options",
    [{"data": 5}, {"license": ["mit"]}, {"figures": "good"}, {"figures": {}}, {"repository": 1}],
)
def test_a_wrong_argument_of_the_card_is_named_before_anything_is_written(tmp_path, model, options):
    with pytest.raises(ConfigError, match=f"model card: {next(iter(options))}"):
        ws.HubModel(model).save_pretrained(tmp_path / "m", model_card_kwargs=options)
    assert not (tmp_path / "m").exists()


def test_any_text_can_stand_in_a_card(tmp_path, model):
    options = {"data": "half a pair: \ud800 ---\n```", "license": "a: b\n- c"}
    ws.HubModel(model).save_pretrained(tmp_path / "m", model_card_kwargs=options)
    card = (tmp_path / "m/README.md").read_text()
    assert "half a pair: ?" in card
    assert front_matter(card)["license"] == "a: b\n- c"


def test_a_card_names_no_folder_of_this_machine(tmp_path, world):
    data, files = world.split.train, {}
    for ids in (data.user_ids, data.catalogue.item_ids):
        files[f"{ids.kind}s"] = str(tmp_path / f"{ids.kind}s.jsonl")
        rows = np.random.default_rng(0).normal(size=(len(ids), 4)).tolist()
        pl.DataFrame({ids.kind: ids.values, "vector": rows}).write_ndjson(files[f"{ids.kind}s"])
    model = ws.CFOnly(backbone={"kind": "imported", **files}).fit(data)
    ws.HubModel(model).save_pretrained(tmp_path / "m")
    assert str(tmp_path) not in (tmp_path / "m/README.md").read_text()


def test_a_folder_with_other_content_is_not_touched(tmp_path, model):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArtefactError, match="has other content"):
        ws.HubModel(model).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_uploads_are_private_and_hold_the_artefact(monkeypatch, model):
    """Only the network is replaced: what would be sent is looked at."""
    seen = {}

    class Created:
        repo_id = "shop/books"

    def create_repo(self, repo_id, private=None, **options):
        seen.update(repo=repo_id, private=private)
        return Created()

    def upload_folder(self, *, folder_path, **options):
        seen["files"] = {path.name for path in folder_path.iterdir()}
        seen["card"] = (folder_path / "README.md").read_text()
        return "https://example.org/commit"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    address = ws.HubModel(model).push_to_hub(
        "shop/books", model_card_kwargs={"repository": "shop/books"}
    )
    assert address == "https://example.org/commit"
    assert (seen["repo"], seen["private"]) == ("shop/books", True)
    assert {"manifest.json", "state.safetensors", "README.md"} <= seen["files"]
    assert "from_pretrained('shop/books')" in seen["card"]
    ws.HubModel(model).push_to_hub("shop/books", private=False)
    assert seen["private"] is False


def test_a_repository_is_downloaded_whole(tmp_path, monkeypatch, model, encoder):
    """From the hub the files arrive as links into a cache, beside hidden files."""
    model.save(tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for path in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    (tmp_path / "snapshot/.gitattributes").write_text("")
    asked = {}

    def download(**options):
        asked.update(options)
        return str(tmp_path / "snapshot")

    monkeypatch.setattr("warmstart.hub.snapshot_download", download)
    found = ws.HubModel.from_pretrained("shop/books", revision="v2", encoder=encoder).model
    assert found.name == "text_ridge"
    assert (asked["repo_id"], asked["revision"]) == ("shop/books", "v2")
