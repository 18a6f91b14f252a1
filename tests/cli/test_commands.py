"""The commands, run in this process on small synthetic data."""

import io
import json
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

import warmstart
from warmstart.cli import main
from warmstart.cli.inputs import read_new_items
from warmstart.data.readers.files import read_dataset, write_dataset
from warmstart.data.sources.synthetic import synthetic, synthetic_items
from warmstart.data.splits.files import load_split
from warmstart.data.splits.random_cold import random_cold
from warmstart.evaluation.evaluate import peak_memory_mb
from warmstart.methods import load_model
from warmstart.testing.tiny_lm import tiny_causal, tiny_encoder

COMMANDS = ["split", "fit", "evaluate", "compare", "simulate", "add", "recommend", "converse"]
SERVING = ["serve", "backup", "restore", "prune"]


@dataclass
class Result:
    code: int | str | None
    out: str
    err: str


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return Result(ended.value.code, out.getvalue(), err.getvalue())


def done(*arguments):
    result = run(*arguments)
    assert result.code == 0, result.err
    return result.out


@dataclass
class Shop:
    """Paths of data, its split, a language model, new items, and a model fitted on the split."""

    data: object
    split: object
    lm: object
    new: object
    model: object
    root: object


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WARMSTART_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def shop(tmp_path_factory, own_cache):
    root = tmp_path_factory.mktemp("shop")
    data = synthetic(120, 160, rng=np.random.default_rng(3))
    write_dataset(data, root / "data")
    new = synthetic_items(2, rng=np.random.default_rng(4))
    new.write_ndjson(root / "new.jsonl")
    words = {word for text in (*data.catalogue.texts, *new["title"]) for word in text.split()}
    tiny_encoder(root / "lm", sorted(words))
    done("split", root / "data", "--protocol", "random-cold", "--out", root / "split")
    done(
        "fit",
        root / "split",
        "--method",
        "text_ridge",
        "--encoder",
        root / "lm",
        "--out",
        root / "m",
    )
    return Shop(root / "data", root / "split", root / "lm", root / "new.jsonl", root / "m", root)


# -- help --


@pytest.mark.parametrize(
    "command",
    [*COMMANDS, *SERVING, "data get", "data list", "keys create", "keys list", "keys revoke"],
)
def test_help_has_an_example_that_names_the_command(command):
    text = done(*command.split(), "--help")
    assert "Example:" in text
    assert f"warmstart {command}" in text


def test_the_version_is_printed():
    assert done("--version").strip() == f"warmstart {warmstart.__version__}"


def test_help_does_not_import_torch():
    code = (
        "import sys\nfrom warmstart.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert all(command in found.stdout for command in [*COMMANDS, *SERVING, "keys"])


# -- data and split --


def test_data_list_names_sources_and_terms():
    text = done("data", "list")
    assert "citeulike-a" in text
    assert "terms" in text


def test_data_get_generates_and_describes(tmp_path):
    text = done("data", "get", "synthetic", "--to", tmp_path, "--json", tmp_path / "d.json")
    written = json.loads((tmp_path / "d.json").read_text())
    assert written["command"] == "data get"
    assert written["data"]["hash"] == read_dataset(tmp_path / "synthetic").hash
    assert str(written["results"][0]["interactions"]) in text


def test_data_get_describes_a_folder(shop):
    assert "items_without_interactions" in done("data", "get", shop.data)


def test_split_by_time_prints_what_is_left_out(shop, tmp_path):
    text = done("split", shop.data, "--out", tmp_path / "s", "--fractions", "0.6,0.8")
    split = load_split(tmp_path / "s")
    assert split.protocol == "time-cold"
    assert "at_test_of_items_new_in_validation" in text
    assert split.hash in text


def test_split_at_dates(shop, tmp_path):
    done("split", shop.data, "--out", tmp_path / "s", "--cutoff", "2024-08-01,2024-10-01")
    assert load_split(tmp_path / "s").manifest["cutoffs"] == [1722470400, 1727740800]


def test_one_cutoff_halves_the_rest(shop, tmp_path):
    done("split", shop.data, "--out", tmp_path / "s", "--cutoff", "2024-08-01")
    split = load_split(tmp_path / "s")
    times = split.dataset.interactions.times
    first, second = split.manifest["cutoffs"]
    later = times[times >= first]
    assert (later < second).sum() == len(later) // 2


def test_a_published_split_is_read(shop, tmp_path):
    made = random_cold(read_dataset(shop.data), seed=7)
    names = ["warm_emb", "warm_val", "warm_test", "cold_item_val", "cold_item_test"]
    for name, part in zip(names, made.parts.values(), strict=True):
        pl.DataFrame(
            {
                "user": made.dataset.user_ids.take(part.users),
                "item": made.dataset.catalogue.item_ids.take(part.items),
            }
        ).write_csv(tmp_path / f"{name}.csv")
    done("split", shop.data, "--published", tmp_path, "--out", tmp_path / "s")
    assert load_split(tmp_path / "s").hash == made.hash


# -- fit --


def test_fit_on_a_split_learns_from_its_training_part(shop):
    model, split = load_model(shop.model), load_split(shop.split)
    assert (model.fitted.positives != split.train.matrix).nnz == 0


def test_fit_takes_settings_from_file_and_override(shop, tmp_path):
    (tmp_path / "c.toml").write_text('kernel = "linear"\nl2 = 7.0\n')
    done(
        *("fit", shop.split, "--method", "text_ridge", "--config", tmp_path / "c.toml"),
        *(
            "--set",
            "l2=9",
            "--encoder",
            shop.lm,
            "--out",
            tmp_path / "m",
            "--json",
            tmp_path / "f.json",
        ),
    )
    config = load_model(tmp_path / "m").config
    assert (config.kernel, config.l2) == ("linear", 9.0)
    written = json.loads((tmp_path / "f.json").read_text())
    assert written["results"][0]["config"]["l2"] == 9.0
    assert {row["stage"] for row in written["timings"]} == {"encode", "ridge"}


SMALL_BACKBONE = ["--set", "backbone.width=8", "--set", "backbone.epochs=6"]


def test_fit_on_a_folder_chooses_then_learns_from_all_interactions(shop, tmp_path):
    text = done(
        *("fit", shop.data, "--method", "cf_only[ials]", *SMALL_BACKBONE, "--out", tmp_path / "m"),
        *("--run", tmp_path / "run", "--json", tmp_path / "f.json"),
    )
    model, data = load_model(tmp_path / "m"), read_dataset(shop.data)
    assert (model.fitted.positives != data.matrix).nnz == 0
    assert "choose: backbone-ials" in text
    # The second fit uses the choices of the first; without validation it makes none of its own.
    assert model.config.backbone.epochs == model.chosen.backbone.epochs <= 6


def test_fit_prints_what_validation_chose_only(shop, tmp_path):
    for data in (shop.data, shop.split):
        text = done(
            *(
                "fit",
                data,
                "--method",
                "ease_text",
                "--set",
                "cold_weight=77",
                "--encoder",
                shop.lm,
            ),
            *("--out", tmp_path / "m", "--json", tmp_path / "f.json"),
        )
        chosen = json.loads((tmp_path / "f.json").read_text())["results"][0]["config"]
        assert f"chosen on validation: cold_weight = {chosen['cold_weight']}" in text
        assert "kernel" not in text


def test_no_choose_uses_the_settings_unchanged(shop, tmp_path):
    text = done(
        *("fit", shop.data, "--method", "cf_only[ials]", *SMALL_BACKBONE, "--no-choose"),
        *("--out", tmp_path / "m"),
    )
    assert "choose:" not in text
    assert load_model(tmp_path / "m").config.backbone.epochs == 6


# -- evaluate --


def test_evaluate_writes_the_documented_json_object(shop, tmp_path):
    text = done("evaluate", shop.model, shop.split, "--json", tmp_path / "e.json")
    written = json.loads((tmp_path / "e.json").read_text())
    assert {"command", "version", "data", "results", "timings", "peak_memory_mb"} <= set(written)
    assert {"name", "hash", "protocol"} <= set(written["data"])
    row = written["results"][0]
    assert {"method", "slice", "metric", "value", "low", "high", "users", "seed"} <= set(row)
    assert {row["slice"] for row in written["results"]} == {"cold", "warm", "overall"}
    assert "text_ridge" in text


def test_two_masks_give_two_tables(shop, tmp_path):
    done(
        *("evaluate", shop.model, shop.split, "--mask", "train", "--mask", "all"),
        *("--json", tmp_path / "e.json", "--report", tmp_path / "e.html"),
    )
    for mask in ("all", "train"):
        written = json.loads((tmp_path / f"e.mask-{mask}.json").read_text())
        assert written["data"]["mask"] == mask
        assert "<html" in (tmp_path / f"e.mask-{mask}.html").read_text()


def test_a_model_fitted_on_the_test_part_is_refused(shop, tmp_path):
    done("fit", shop.data, "--method", "popular", "--no-choose", "--out", tmp_path / "m")
    refused = run("evaluate", tmp_path / "m", shop.split)
    assert refused.code == 2
    assert "other interactions" in refused.err


# -- new items --


def test_simulate_finds_users_from_the_text_alone(shop, tmp_path):
    arguments = ("--items", shop.new, "-k", 4, "--encoder", shop.lm, "--json", tmp_path / "s.json")
    done("simulate", shop.model, *arguments)
    rows = json.loads((tmp_path / "s.json").read_text())["results"]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4] * 2
    assert len({row["user"] for row in rows[:4]}) == 4
    assert set(rows[0]) == {"item", "user", "weight", "rank", "provenance"}


def test_simulate_with_a_run_folder_skips_finished_items(shop, tmp_path):
    arguments = ("--items", shop.new, "-k", 4, "--encoder", shop.lm, "--run", tmp_path / "run")
    found = []
    for name in ("first.parquet", "again.parquet"):
        done("simulate", shop.model, *arguments, "--out", tmp_path / name)
        found.append(pl.read_parquet(tmp_path / name))
    assert found[0].equals(found[1])
    assert len(found[0]) == 8
    (shard,) = (tmp_path / "run").glob("shard-*.parquet")
    before = shard.stat().st_mtime_ns
    more = tmp_path / "more.jsonl"
    known = pl.read_ndjson(shop.new)
    known.extend(known[:1].with_columns(pl.lit("p-x").alias("item"))).write_ndjson(more)
    done("simulate", shop.model, *arguments[:1], more, *arguments[2:], "--out", tmp_path / "more")
    assert shard.stat().st_mtime_ns == before
    assert len(list((tmp_path / "run").glob("shard-*.parquet"))) == 2
    assert pl.read_parquet(tmp_path / "more")["item"].n_unique() == 3
    refused = run("simulate", shop.model, *arguments[:2], "-k", 5, *arguments[4:])
    assert "another model or other settings" in refused.err


def test_an_added_item_is_recommended(shop, tmp_path):
    done("fit", shop.split, "--method", "text_ridge", "--encoder", shop.lm, "--out", tmp_path / "m")
    done(
        *("add", tmp_path / "m", "--items", shop.new, "--encoder", shop.lm),
        *("--json", tmp_path / "a.json"),
    )
    rows = json.loads((tmp_path / "a.json").read_text())["results"]
    assert [row["item"] for row in rows] == ["new-001", "new-002"]
    user = rows[0]["users"][0]
    done(
        *("recommend", tmp_path / "m", "--users", user, "-k", 34, "--only-cold"),
        *("--json", tmp_path / "r.json"),
    )
    top = json.loads((tmp_path / "r.json").read_text())["results"]
    assert "new-001" in {row["item"] for row in top}
    assert all(row["is_cold"] for row in top)
    assert [row["rank"] for row in top] == list(range(1, 35))


def test_language_models_in_local_folders_are_named_again(shop, tmp_path):
    """A list of a history needs both; the message of a command asks for what it then takes."""
    catalogue = load_split(shop.split).train.catalogue
    words = {word for text in catalogue.texts for word in text.split()}
    causal = tiny_causal(tmp_path / "causal", (*sorted(words), "this", "choose", "answer"))
    wording = {"introduction": "this", "question": "choose", "answer": "answer"}
    tuning = {**wording, "epochs": 1, "history_length": 2, "title_tokens": 3, "n_candidates": 3}
    settings = [f"tuning.{name}={value}" for name, value in tuning.items()]
    settings += ["backbone.width=8", "backbone.heads=1", "backbone.epochs=1", "alignment.epochs=1"]
    models = ("--encoder", shop.lm, "--lm", causal)
    options = [part for text in settings for part in ("--set", text)]
    done("fit", shop.split, "--method", "a_llmrec", *models, *options, "--out", tmp_path / "m")
    history = ",".join(map(str, catalogue.item_ids.values[:2]))
    refused = run("recommend", tmp_path / "m", "--history", history)
    assert "give that folder" in refused.err
    done("recommend", tmp_path / "m", "--history", history, *models, "--json", tmp_path / "r.json")
    assert len(json.loads((tmp_path / "r.json").read_text())["results"]) == 10
    done("evaluate", tmp_path / "m", shop.split, *models)


def test_tables_show_titles_beside_ids(shop, tmp_path):
    titles = dict(pl.read_ndjson(shop.new).select("item", "title").iter_rows())
    folder = shutil.copytree(shop.model, tmp_path / "m")
    new = ("--items", shop.new, "--encoder", shop.lm)
    listed = ("recommend", folder, "--users", "all", "-k", 200, "--only-cold")
    for printed in (done("simulate", folder, *new), done("add", folder, *new), done(*listed)):
        for item, title in titles.items():
            lines = [line for line in printed.splitlines() if item in line]
            assert lines
            assert all(title in line for line in lines)


def test_a_model_that_another_process_replaces_meanwhile_is_kept(shop, tmp_path, monkeypatch):
    folder = shutil.copytree(shop.model, tmp_path / "m")

    def read_while_replaced(*arguments):
        shutil.rmtree(folder)
        shutil.copytree(shop.model, folder)
        return read_new_items(*arguments)

    monkeypatch.setattr("warmstart.cli.add.read_new_items", read_while_replaced)
    refused = run("add", folder, "--items", shop.new, "--encoder", shop.lm)
    assert refused.code == 2
    assert "replaced by another process while items were added" in refused.err
    known = load_model(shop.model).fitted.catalogue.item_ids.values
    assert load_model(folder).fitted.catalogue.item_ids.values == known


def test_a_refused_item_leaves_the_model_as_it_is(shop, tmp_path):
    known = load_model(shop.model).fitted.catalogue.item_ids.values[0]
    (tmp_path / "known.jsonl").write_text(json.dumps({"item": known, "title": "x"}) + "\n")
    before = (shop.model / "manifest.json").read_bytes()
    refused = run("add", shop.model, "--items", tmp_path / "known.jsonl", "--encoder", shop.lm)
    assert refused.code == 2
    assert known in refused.err
    assert (shop.model / "manifest.json").read_bytes() == before


# -- compare --


def test_compare_reuses_finished_methods(shop, tmp_path):
    common = ("compare", shop.split, "--encoder", shop.lm, "--run", tmp_path / "run")
    first = run(*common, "--methods", "popular,text_ridge", "--json", tmp_path / "1.json")
    assert first.code == 0, first.err
    again = run(*common, "--methods", "popular,text_ridge,ease_text", "--json", tmp_path / "2.json")
    assert again.code == 0, again.err
    assert again.err.count("finished before") == 2
    one, two = (json.loads((tmp_path / f"{n}.json").read_text()) for n in (1, 2))
    rest = [row for row in two["results"] if row["method"] != "ease_text"]
    # One matrix product gives the bounds of all methods of a table, so their last bits may differ.
    for row, same in zip(one["results"], rest, strict=True):
        for bound in ("low", "high"):
            assert row.pop(bound) == pytest.approx(same.pop(bound), abs=1e-12)
        assert row == same


def test_an_experiment_file_is_equivalent_to_options(shop, tmp_path):
    (tmp_path / "x.toml").write_text(
        'against = "linear"\n\n[[method]]\nname = "popular"\n\n'
        '[[method]]\nname = "text_ridge"\nlabel = "linear"\nsettings.kernel = "linear"\n'
    )
    methods = "popular,text_ridge:kernel=linear"
    common = ("compare", shop.split, "--encoder", shop.lm)
    done(*common, "--config", tmp_path / "x.toml", "--json", tmp_path / "1.json")
    done(*common, "--methods", methods, "--json", tmp_path / "2.json")
    one, two = (json.loads((tmp_path / f"{n}.json").read_text()) for n in (1, 2))
    assert [row["value"] for row in one["results"]] == [row["value"] for row in two["results"]]
    assert {row["against"] for row in one["differences"]} == {"linear"}


def test_seeds_and_controls_are_in_the_table(shop, tmp_path):
    text = done(
        *("compare", shop.split, "--encoder", shop.lm, "--seeds", 2, "--controls"),
        *("--methods", "text_ridge,cf_only[ials]:backbone.width=8;backbone.epochs=4"),
        *("--against", "text_ridge", "--json", tmp_path / "c.json"),
        *("--report", tmp_path / "c.html"),
    )
    written = json.loads((tmp_path / "c.json").read_text())
    runs = {}
    for row in written["results"]:
        runs.setdefault(row["method"], set()).add((row["seed"], row["control"]))
    ials = "cf_only[ials]:backbone.width=8;backbone.epochs=4"
    assert runs["text_ridge"] == {(None, False)}  # no randomness, so it is fitted once
    assert runs[ials] == {(0, False), (1, False)}
    assert runs["oracle[ials]"] == {(0, True), (1, True)}
    assert {"popular", "random", "permuted(text_ridge)", "most_active[ials]"} <= set(runs)
    value = {
        row["method"]: row["value"]
        for row in written["summary"]
        if (row["slice"], row["metric"]) == ("cold", "ndcg@20")
    }
    assert value["oracle[ials]"] > 2 * value["random[ials]"]
    assert value["text_ridge"] > value["permuted(text_ridge)"]
    assert "oracle[ials]" in text
    assert "minus text_ridge" in text


def test_isolated_fits_have_their_own_peak_memory(shop, tmp_path):
    done(
        *("compare", shop.split, "--methods", "popular", "--isolate"),
        *("--json", tmp_path / "c.json"),
    )
    written = json.loads((tmp_path / "c.json").read_text())
    # The isolated fit needs less memory than this process, which has imported torch.
    assert 0 < written["details"][0]["peak_memory_mb"] < peak_memory_mb()
    assert written["details"][0]["peak_memory_mb"] == written["peak_memory_mb"]


def test_a_k_of_any_size_is_a_list_of_all_items(shop, tmp_path):
    for k in (10**9, 10**20):
        done(
            *("recommend", shop.model, "--users", "reader-0001", "-k", k),
            *("--json", tmp_path / f"{k}.json"),
        )
    first, second = (json.loads((tmp_path / f"{k}.json").read_text()) for k in (10**9, 10**20))
    assert first["results"] == second["results"] != []


# -- bad input: exit code 2 and one line --


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "get", "nowhere"], "no data set 'nowhere'"),
        (["split", "{data}", "--out", "{tmp}/s", "--fractions", "half"], "--fractions 'half'"),
        (["split", "{data}", "--out", "{tmp}/s", "--cutoff", "soon"], "cutoff 'soon'"),
        (
            [
                "split",
                "{data}",
                "--out",
                "{tmp}/s",
                "--protocol",
                "random-cold",
                "--seed",
                str(5 * 10**9),
            ],
            "seed must be a whole number from 0 to 4294967295, got 5000000000",
        ),
        (["split", "{data}", "--out", "{tmp}/s", "--cutoff", str(17 * 10**11)], "milliseconds"),
        (["split", "{tmp}", "--out", "{tmp}/s"], "no interactions"),
        (["fit", "{tmp}/no", "--method", "popular", "--out", "{tmp}/m"], "no such folder"),
        (["fit", "{split}", "--method", "pop", "--out", "{tmp}/m"], "unknown method 'pop'"),
        (["fit", "{split}", "--method", "a:b", "--out", "{tmp}/m"], "is not of the form a.b=value"),
        (
            ["fit", "{split}", "--method", "text_ridge", "--set", "l3=1", "--out", "{tmp}/m"],
            "l3: there is no such setting",
        ),
        (
            ["fit", "{split}", "--method", "text_ridge", "--encoder", "{tmp}", "--out", "{tmp}/m"],
            "has no config.json",
        ),
        (["evaluate", "{split}", "{split}"], "is not a warmstart artefact"),
        (["evaluate", "{model}", "{data}"], "not a saved split"),
        (["evaluate", "{model}", "{split}", "--mask", "some"], "allowed: all, train"),
        (["evaluate", "{model}", "{split}", "--json", "{new}/x.json"], "cannot be written"),
        (["compare", "{split}"], "no method to compare"),
        (["compare", "{split}", "--methods", "popular,popular"], "occur twice"),
        (["compare", "{split}", "--methods", "popular", "--against", "x"], "one of the labels"),
        (["compare", "{split}", "--methods", "text_ridge:l2=-1"], "text_ridge:l2=-1"),
        (["recommend", "{model}", "--users", "nobody"], "nobody"),
        (["recommend", "{model}", "--users", "a,,b"], "empty part"),
        (["recommend", "{model}", "--users", "reader-0001", "-k", "0"], "got 0"),
        (["simulate", "{model}", "--items", "{new}"], "local folder"),
        (["simulate", "{model}", "--items", "{tmp}/no.csv", "--encoder", "{lm}"], "no such file"),
    ],
)
def test_bad_input_is_reported_in_one_line(arguments, message, shop, tmp_path):
    paths = {
        "data": shop.data,
        "split": shop.split,
        "model": shop.model,
        "new": shop.new,
        "lm": shop.lm,
        "tmp": tmp_path,
    }
    refused = run(*(argument.format(**paths) for argument in arguments))
    assert refused.code == 2
    errors = [line for line in refused.err.splitlines() if line.startswith("warmstart: ")]
    assert len(errors) == 1
    assert refused.err.splitlines()[-1] == errors[0]
    assert message in errors[0]


def test_a_method_that_cannot_simulate_is_refused(shop, tmp_path):
    done("fit", shop.split, "--method", "popular", "--out", tmp_path / "m")
    refused = run("simulate", tmp_path / "m", "--items", shop.new)
    assert refused.code == 2
    assert "popular cannot simulate" in refused.err
