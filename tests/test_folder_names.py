"""Folders may have any name, also one that libraries take for a pattern, a URL or an option."""

import numpy as np
import polars as pl
import pytest

import warmstart as ws
from warmstart.cli import main
from warmstart.run import Run
from warmstart.shards import Shards
from warmstart.testing.worlds.checkerboard import checkerboard

NAMES = ["cf_only[ials]", "a*b?", "two words", "~", "50%", "#1", "Łódź 東京", "{x}", "-x"]


@pytest.fixture(scope="module")
def world():
    return checkerboard()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_in_a_folder_is_read_from_it(tmp_path, world, name):
    folder = tmp_path / name
    backbone = {"kind": "ials", "width": 4, "epochs": 2}
    model = ws.CFOnly(backbone=backbone).fit(world.split.train, run=Run(folder / "run"))
    model.save(folder / "model")
    users = [world.data.user_ids.values[row] for row in world.active_users[:2]]
    listed = model.recommend(users, k=3)
    assert ws.load_model(folder / "model").recommend(users, k=3).equals(listed)
    ws.save_split(world.split, folder / "split")
    assert ws.load_split(folder / "split").hash == world.split.hash
    ws.write_dataset(world.data, folder / "data")
    assert ws.read_dataset(folder / "data").n_users > 0
    ws.export_vectors(model, folder / "vectors")
    files = {kind: str(folder / f"vectors/{kind}.parquet") for kind in ("users", "items")}
    imported = ws.CFOnly(backbone={"kind": "imported", **files}).fit(world.split.train)
    assert imported.recommend(users, k=3)["item"].equals(listed["item"])

    def work(rows):
        return pl.DataFrame({"position": rows.astype(np.int64)})

    shards = Shards(folder / "shards", "settings")
    shards.run(["a", "b"], work, "rows")
    again = Shards(folder / "shards", "settings").run(["a", "b"], pytest.fail, "rows")
    assert again["position"].to_list() == [0, 1]


@pytest.mark.parametrize("name", NAMES)
def test_commands_take_folders_of_any_name(tmp_path, world, name, capsys):
    folder = tmp_path / name
    ws.save_split(world.split, folder / "split")
    model = str(folder / "model")
    settings = ["--set", "backbone.width=4", "--set", "backbone.epochs=1"]
    ["--on-unknown", "popular", "--out", str(folder / "lists.parquet")]
    for arguments in (
        ["fit", str(folder / "split"), "--method", "cf_only[ials]", *settings, "--out", model],
        [
            "recommend",
            model,
            "--users",
            "all",
            "-k",
            "2",
            "--on-unknown",
            "popular",
            "--out",
            str(folder / "lists.parquet"),
        ],
        ["export", model, "--to", str(folder / "vectors")],
        ["evaluate", model, str(folder / "split"), "--json", str(folder / "result.json")],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0, capsys.readouterr().err
    assert (folder / "result.json").is_file()
