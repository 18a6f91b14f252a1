import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from warmstart.data.sources.synthetic import synthetic
from warmstart.data.splits.random_cold import random_cold
from warmstart.errors import WarmstartError
from warmstart.experiment import runner
from warmstart.experiment.controls import ControlJob, jobs_of
from warmstart.experiment.job import ExperimentContext, MethodJob, job_key
from warmstart.experiment.result import load_results, save_results
from warmstart.experiment.runner import run_experiment
from warmstart.experiment.spec import Experiment, MethodSpec, parse_methods
from warmstart.testing.tiny_lm import tiny_causal, tiny_encoder


@pytest.fixture(scope="module")
def split():
    return random_cold(synthetic(80, 120, rng=np.random.default_rng(0)))


def bench(split, **changes):
    return replace(ExperimentContext(split, ("all",), ("ndcg@20", "recall@20")), **changes)


def experiment(methods, **fields):
    return Experiment(method=tuple(parse_methods(methods)), metrics=("ndcg@20",), **fields)


def test_an_outcome_comes_back_from_disk_as_it_was(split, tmp_path):
    outcomes = MethodJob(MethodSpec(name="random"), 3).run(bench(split, masks=("all", "train")))
    save_results(outcomes, tmp_path / "o")
    (loaded,) = load_results(tmp_path / "o") or [None]
    assert loaded is not None
    assert loaded.same_values(outcomes[0])
    for mask, report in outcomes[0].reports.items():
        again = loaded.reports[mask]
        assert replace(again, slices={}) == replace(report, slices={})
        for name, result in report.slices.items():
            found = again.slices[name]
            assert found.users.dtype == result.users.dtype
            assert (found.facts, found.exposure) == (result.facts, result.exposure)
            assert (found.user_strata, found.item_strata) == (
                result.user_strata,
                result.item_strata,
            )


def test_damaged_results_are_made_again(split, tmp_path):
    run_experiment(experiment("popular"), split, folder=tmp_path)
    (values,) = tmp_path.glob("results/*/0/values.safetensors")
    good = values.read_bytes()
    values.write_bytes(b"rubbish")
    run_experiment(experiment("popular"), split, folder=tmp_path)
    assert values.read_bytes() == good


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": ("ndcg@10",)},
        {"masks": ("train",)},
        {"audience_size": 5},
    ],
)
def test_a_finished_result_is_used_for_nothing_else(split, change):
    job = MethodJob(MethodSpec(name="popular"), 0)
    assert job_key(job, bench(split)) != job_key(job, bench(split, **change))
    assert job_key(job, bench(split)) == job_key(job, bench(split))
    assert job_key(job, bench(split)) != job_key(replace(job, seed=1), bench(split))


def test_methods_without_randomness_run_once(split):
    table = run_experiment(experiment("popular,random", seeds=3), split)["all"]
    assert table.find("popular", "cold", "ndcg@20").seeds == (None,)
    assert table.find("random", "cold", "ndcg@20").seeds == (0, 1, 2)


def test_equal_seeds_are_one_line(split):
    """EASE spawns a random generator for its backbone but draws nothing from it."""
    table = run_experiment(experiment("cf_only[ease]", seeds=2), split)["all"]
    assert table.find("cf_only[ease]", "warm", "ndcg@20").seeds == (None,)


@pytest.mark.parametrize("isolate", [False, True])
def test_each_method_may_have_its_own_language_model(split, tmp_path, isolate):
    words = {word for text in split.dataset.catalogue.texts for word in text.lower().split()}
    shared, own = tiny_encoder(tmp_path / "a", words), tiny_causal(tmp_path / "b", words)
    methods = [
        MethodSpec(name="text_ridge", label=label, encoder=encoder)
        for label, encoder in (("shared", {}), ("own", {"source": str(own)}))
    ]
    both = Experiment(method=tuple(methods), metrics=("ndcg@20",), encoder={"source": str(shared)})
    table = run_experiment(both, split, isolate=isolate)["all"]
    alone = Experiment(
        method=(MethodSpec(name="text_ridge"),),
        metrics=("ndcg@20",),
        encoder={"source": str(own)},
    )
    expected = run_experiment(alone, split)["all"].find("text_ridge", "cold", "ndcg@20").value
    found = {label: table.find(label, "cold", "ndcg@20").value for label in ("shared", "own")}
    assert found["own"] == pytest.approx(expected, abs=1e-9)
    assert abs(found["shared"] - expected) > 1e-6


def test_controls_follow_the_methods(split):
    specs = "cf_only[ials]:backbone.width=4,cf_only[ials]:backbone.width=8,text_ridge"
    jobs = [group[0] for group in jobs_of(experiment(specs, controls=True), split)]
    labels = [job.label for job in jobs]
    assert labels[3:] == ["random", "popular", "permuted(text_ridge)", "controls[ials]"]
    audience = jobs[-1]
    assert isinstance(audience, ControlJob)
    assert audience.backbone["width"] == 4  # of the first method with that backbone


def test_true_audiences_are_folded_in(split):
    outcomes = ControlJob({"kind": "ials", "width": 16, "epochs": 5}, 0).run(bench(split))
    cold = {
        outcome.reports["all"].method: outcome.reports["all"].value("cold", "ndcg@20")
        for outcome in outcomes
    }
    assert set(cold) == {"oracle[ials]", "most_active[ials]", "by_degree[ials]", "random[ials]"}
    assert cold["oracle[ials]"] > 1.5 * max(v for k, v in cold.items() if k != "oracle[ials]")
    warm = {outcome.reports["all"].value("warm", "ndcg@20") for outcome in outcomes}
    assert len(warm) == 1  # only the vectors of cold items changed


def die(*_):
    import os

    os._exit(1)


def test_a_process_that_dies_is_an_error(split, monkeypatch):
    monkeypatch.setattr(runner, "_isolated", die)
    with pytest.raises(WarmstartError, match="popular: its process died"):
        run_experiment(experiment("popular"), split, isolate=True)


PARENT = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from warmstart.experiment.runner import end_with_parent

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=end_with_parent) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 120).result()
"""


def test_a_killed_experiment_leaves_no_process_behind(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        child = Path(f"/proc/{int(parent.stdout.readline())}")
        if not child.parent.is_dir():
            pytest.skip("needs /proc")
        assert child.is_dir()
        parent.kill()
    patience = time.monotonic() + 30
    while child.is_dir() and time.monotonic() < patience:
        time.sleep(0.05)
    assert not child.is_dir()
