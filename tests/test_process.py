"""What happens in other processes: forked ones raise and never hang, spawned ones work."""

import importlib
import inspect
import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import warmstart
from warmstart.backbones import build
from warmstart.backbones.ease import EaseConfig
from warmstart.backbones.ials import IalsConfig
from warmstart.config import Config
from warmstart.data.catalogue import Catalogue
from warmstart.data.control import Control
from warmstart.data.histories import Histories
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions
from warmstart.data.queries import Queries
from warmstart.data.readers.files import read_dataset, read_items, write_dataset
from warmstart.data.readers.frames import from_frames
from warmstart.data.sources.synthetic import synthetic, synthetic_items
from warmstart.data.sources.synthetic_dialogues import synthetic_dialogues
from warmstart.data.splits.files import load_split, save_split
from warmstart.data.splits.split import split
from warmstart.data.tasks import LabelTask
from warmstart.errors import UnsupportedError
from warmstart.evaluation.compare import compare
from warmstart.evaluation.evaluate import evaluate
from warmstart.evaluation.html_report import write_report
from warmstart.export.export import export_vectors
from warmstart.hub import HubModel
from warmstart.lm import CausalLMConfig, LMConfig, load_causal_lm, load_encoder
from warmstart.lm.texts import TokenizedTexts
from warmstart.methods import load_model
from warmstart.methods.a_llmrec import ALLMRec
from warmstart.methods.cf_only import CFOnly
from warmstart.methods.popular import Popular
from warmstart.methods.text_ridge import TextRidge
from warmstart.methods.text_search import TextSearch
from warmstart.run import Run
from warmstart.testing.tiny_lm import tiny_causal
from warmstart.testing.worlds.checkerboard import checkerboard, world_encoder

_SECONDS = 60  # a hang is told from work by this; raising takes milliseconds


def tiny_causal_lm(folder):
    source = tiny_causal(folder / "causal", ["a", "b", "c", "d"])
    return load_causal_lm(CausalLMConfig(source=str(source), device="cpu", dtype="float32"))


class Used:
    """Everything that a worker could have been given, used once in this process."""

    def __init__(self, folder):
        self.folder = folder
        self.world = checkerboard()
        self.data = self.world.data
        self.lm = world_encoder(folder)
        self.causal = tiny_causal_lm(folder)
        self.prompts = TokenizedTexts((np.array([5, 6], np.int32),), 0, 0)
        self.batch = self.prompts.batch(np.zeros(1, int))
        self.states = torch.zeros(1, self.causal.lm.width)
        self.model = TextRidge().fit(self.world.split.train, encoder=self.lm)
        self.model.save(folder / "model")
        self.asked = TextSearch().fit(self.world.split.train, encoder=self.lm)
        self.cf = CFOnly(backbone=IalsConfig(width=4, epochs=1)).fit(self.world.split.train)
        self.hub = HubModel(self.model)
        save_split(self.world.split, folder / "split")
        (folder / "data").mkdir()
        (folder / "data/interactions.csv").write_text("user,item\nu,i\n")
        read_dataset(folder / "data")
        self.report = evaluate(self.model, self.world.split)
        self.comparison = compare([self.report])
        self.new = self.world.new_items()
        self.user = self.data.user_ids.take(self.world.active_users)[0]
        self.rows = np.arange(2, dtype=np.int32)
        self.cold = np.flatnonzero(~self.cf.fitted.warm)
        self.fold_in()

    def fold_in(self):
        self.cf.fold_in(Interactions.from_arrays(self.cold % 2, self.cold))

    def train(self, config):
        return build(config).fit(self.data.matrix, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    return Used(tmp_path_factory.mktemp("used"))


# Public functions that raise in a forked process.
WORK = {
    "Recommender.fit": lambda used: Popular().fit(used.data),
    "Recommender.recommend": lambda used: used.model.recommend([used.user], 2),
    "ALLMRec.text_likelihoods": lambda used: ALLMRec.text_likelihoods(used.model, None, "", []),
    "Recommender.item_search": lambda used: used.model.item_search(used.rows),
    "Recommender.save": lambda used: used.model.save(used.folder / "model"),
    "Recommender.score": lambda used: used.model.score(Queries.of_users(used.rows), used.rows),
    "AddsItems.add_items": lambda used: used.model.add_items(used.new),
    "Converses.mentioned_items": lambda used: used.asked.mentioned_items(["never before"]),
    "Simulates.simulate": lambda used: used.model.simulate(used.new, 2),
    "Simulates.simulate_texts": lambda used: used.model.simulate_texts(["never before"], 2),
    "FoldsIn.fold_in": lambda used: used.fold_in(),
    "CFOnly.calibrate": lambda used: used.cf.calibrate(
        used.world.split.train, used.world.split.validation()
    ),
    "CausalLM.batches": lambda used: next(used.causal.batches(used.prompts, None)),
    "CausalLM.embed": lambda used: used.causal.embed(used.batch.ids),
    "CausalLM.from_spec": lambda used: type(used.causal).from_spec(
        used.causal.spec, source="hub:a/b"
    ),
    "CausalLM.hidden": lambda used: used.causal.hidden(used.batch),
    "CausalLM.last_states": lambda used: used.causal.last_states(used.batch),
    "CausalLM.log_likelihoods": lambda used: used.causal.log_likelihoods(used.prompts, [[[5]]]),
    "CausalLM.logits": lambda used: used.causal.logits(used.states),
    "CausalLM.next_token_logits": lambda used: used.causal.next_token_logits(used.prompts),
    "CausalLM.states_after": lambda used: used.causal.states_after(
        used.prompts.ids[0], [used.prompts.ids[0]]
    ),
    "CausalLM.token_log_likelihoods": lambda used: used.causal.token_log_likelihoods(
        used.states, torch.tensor([5])
    ),
    "HubModel.from_pretrained": lambda used: HubModel.from_pretrained(used.folder / "model"),
    "HubModel.save_pretrained": lambda used: used.hub.save_pretrained(used.folder / "hub"),
    "HubModel.push_to_hub": lambda used: HubModel.push_to_hub(used.hub, "nobody/nothing"),
    "export_vectors": lambda used: export_vectors(used.cf, used.folder / "vectors"),
    "load_causal_lm": lambda used: load_causal_lm(CausalLMConfig(source="hub:a/b")),
    "Catalogue": lambda used: Catalogue(Ids([], "item"), (), None, pl.DataFrame(), ()),
    "Catalogue.attribute": lambda used: used.data.catalogue.attribute("title"),
    "Catalogue.extended": lambda used: used.data.catalogue.extended(used.new),
    "Catalogue.titles": lambda used: used.data.catalogue.titles(["a"]),
    "Catalogue.take": lambda used: used.data.catalogue.take(np.arange(3)),
    "Dataset.with_permuted_texts": lambda used: used.data.with_permuted_texts(
        np.random.default_rng(0)
    ),
    "Report.per_user": lambda used: used.report.per_user(used.data.user_ids),
    "TextEncoder.encode": lambda used: used.lm.encode(["never encoded before"]),
    "TextEncoder.from_spec": lambda used: type(used.lm).from_spec(used.lm.spec, source="hub:a/b"),
    "evaluate": lambda used: evaluate(used.model, used.world.split),
    "from_frames": lambda used: from_frames({"user": ["u"], "item": ["i"]}),
    "load_encoder": lambda used: load_encoder(LMConfig(source="hub:a/b")),
    "load_model": lambda used: load_model(used.folder / "model"),
    "load_split": lambda used: load_split(used.folder / "split"),
    "read_dataset": lambda used: read_dataset(used.folder / "data"),
    "read_collm": lambda used: warmstart.read_collm(used.folder),
    "read_windows": lambda used: warmstart.read_windows(used.folder),
    "read_redial_requests": lambda used: warmstart.read_redial_requests(used.folder),
    "Recommender.top_items": lambda used: used.model.top_items(
        Queries.of_users(used.rows), used.rows, 1
    ),
    "read_items": lambda used: read_items({"item": ["i"], "title": ["t"]}, ("title",)),
    "save_split": lambda used: save_split(used.world.split, used.folder / "split"),
    "split, time-cold": lambda used: split(used.data, "time-cold", cutoff="2024-01-01"),
    "synthetic": lambda used: synthetic(rng=np.random.default_rng(0)),
    "synthetic_dialogues": lambda used: synthetic_dialogues(rng=np.random.default_rng(0)),
    "synthetic_items": lambda used: synthetic_items(2, rng=np.random.default_rng(0)),
    "write_dataset": lambda used: write_dataset(used.data, used.folder / "written"),
    "write_report": lambda used: write_report(used.comparison, used.folder / "report.html"),
    "Comparison.save": lambda used: used.comparison.save(used.folder / "comparison.json"),
    "a numba backbone": lambda used: used.train(IalsConfig(width=4, epochs=1)),
}
# Public functions that use no pool of threads, and work in a forked process.
HARMLESS = {
    "ALLMRec.with_scoring": lambda used: ALLMRec().with_scoring("likelihood"),
    "Recommender.portable_config": lambda used: used.model.portable_config(),
    "CausalLM.check_memory": lambda used: used.causal.check_memory(
        "work", used.prompts, 1, cached=True
    ),
    "HubModel.generate_model_card": lambda used: used.hub.generate_model_card(),
    "TextEncoder.keep": lambda used: used.lm.keep([], np.zeros((0, used.lm.width))),
    "TextEncoder.missing": lambda used: used.lm.missing(["never encoded before"]),
    "CausalLM.words": lambda used: used.causal.words(),
    "Comparison.find": lambda used: used.comparison.find,
    "Comparison.from_json": lambda used: used.comparison.from_json(used.comparison.to_json()),
    "Comparison.table": lambda used: used.comparison.table(),
    "Comparison.text": lambda used: used.comparison.text(),
    "Comparison.to_json": lambda used: used.comparison.to_json(),
    "Dataset.with_interactions": lambda used: used.data.with_interactions(used.data.interactions),
    "Interactions.check_rows": lambda used: used.data.interactions.check_rows("test", 999, 999),
    "Interactions.from_arrays": lambda used: Interactions.from_arrays(used.rows, used.rows),
    "Interactions.matrix": lambda used: used.data.interactions.matrix(999, 999),
    "Interactions.of_source": lambda used: used.data.interactions.of_source("observed"),
    "Histories.from_interactions": lambda used: Histories.from_interactions(
        used.data.interactions, used.data.n_users
    ),
    "Histories.from_lists": lambda used: Histories.from_lists([[1]]),
    "Histories.liked": lambda used: used.data.histories.liked(4),
    "Histories.last": lambda used: used.data.histories.last(2),
    "Histories.matrix": lambda used: used.data.histories.matrix(999),
    "Histories.mean": lambda used: used.data.histories.mean(np.ones((999, 2), np.float32)),
    "Histories.padded": lambda used: used.data.histories.padded(2, -1),
    "Histories.take": lambda used: used.data.histories.take(used.rows),
    "Histories.where": lambda used: used.data.histories.where(used.data.histories.items > 3),
    "Queries.histories_or": lambda used: Queries.of_users([0]).histories_or(used.data.histories),
    "Queries.of_histories": lambda used: Queries.of_histories(used.data.histories),
    "Queries.of_texts": lambda used: Queries.of_texts(["text"]),
    "Queries.of_users": lambda used: Queries.of_users(used.rows),
    "Queries.take": lambda used: Queries.of_users(used.rows).take(used.rows),
    "Queries.with_control": lambda used: Queries.of_users(used.rows).with_control(Control()),
    "Queries.with_histories": lambda used: Queries.of_users(used.rows).with_histories(None),
    "LabelTask.take": lambda used: LabelTask(
        "all", Queries.of_users(used.rows), used.rows, used.rows > 0, used.rows
    ).take(used.rows),
    "RankingTask.slice": lambda used: used.world.split.slice("test", "cold").slice(
        "some", used.rows
    ),
    "RankingTask.take": lambda used: used.world.split.slice("test", "cold").take(used.rows),
    "Split.part_counts": lambda used: used.world.split.part_counts(),
    "Split.tasks": lambda used: used.world.split.tasks("test"),
    "Interactions.where": lambda used: used.data.interactions.where(used.rows),
    "Report.table": lambda used: used.report.table(),
    "Report.text": lambda used: used.report.text(),
    "Report.value": lambda used: used.report.value("warm", "ndcg@20"),
    "Run.stage": lambda used: Run().stage("test").__enter__(),
    "Split.slice": lambda used: used.world.split.slice("test", "cold"),
    "Split.summary": lambda used: used.world.split.summary(),
    "Split.validation": lambda used: used.world.split.validation(),
    "build": lambda used: build(EaseConfig()),
    "split, random-cold": lambda used: split(used.data, "random-cold"),
    "compare": lambda used: compare([used.report]),
}


def is_method(name, value):
    kinds = (classmethod, staticmethod)
    return not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, kinds))


def test_every_public_function_is_in_one_of_the_tables():
    public = set()
    stub = Path(warmstart.__file__).with_suffix(".pyi").read_text()
    for module, name in re.findall(r"^from \.(\S+) import (\w+) as", stub, re.MULTILINE):
        value = getattr(importlib.import_module(f"warmstart.{module}"), name)
        if inspect.isclass(value) and not issubclass(value, Exception | Config):
            public |= {f"{name}.{key}" for key, v in vars(value).items() if is_method(key, v)}
        elif inspect.isfunction(value):
            public.add(name)
    implementations = (  # of abstract functions, for the base classes to call
        "predict_proba",
        "warm_items",
        "item_rows",
        "item_search",
        "cold_rows",
        "warm_vectors",
        "warm_queries",
        "cold_vectors",
        "cold_queries",
        "can_score",
        "observed_rows",
        "encode_items",
        "encode_texts",
        "conversation_states",
        "told",
        "top_items",
        "simulate_encoded",
        "simulate_texts",
        "top_users",
        "user_table",
        "user_queries",
        "sampling_keys_of",
        "simulated",
    )
    public = {name for name in public if not name.endswith(implementations)}
    tested = {re.split(", ", name)[0] for name in {*WORK, *HARMLESS}}
    assert public - tested == set()


def _work(work, used, queue):
    try:
        work(used)
    except UnsupportedError as error:
        queue.put(str(error))
    else:
        queue.put("it worked")


def _in_fork(work, used):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=_work, args=(work, used, queue))
    worker.start()
    worker.join(_SECONDS)
    hangs = worker.is_alive()
    worker.kill()
    assert not hangs, "it hangs in a forked process"
    assert worker.exitcode == 0
    return queue.get()


forks = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


@pytest.mark.parametrize("name", WORK, ids=str)
class TestForkedWorker:
    pytestmark = forks

    def test_it_raises_and_never_hangs(self, name, used):
        message = _in_fork(WORK[name], used)
        assert "start workers by the method spawn or forkserver, or do not use warm" in message


@pytest.mark.parametrize("name", HARMLESS, ids=str)
class TestHarmlessInAForkedWorker:
    pytestmark = forks

    def test_it_works(self, name, used):
        assert _in_fork(HARMLESS[name], used) == "it worked"


def _recommend(model, users):
    return model.recommend(users, 3).rows()


def test_a_spawned_worker_takes_a_fitted_model_with_its_language_model(used):
    world, model = used.world, used.model
    users = world.data.user_ids.take(world.active_users)[:4]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_recommend, (model, users)) == model.recommend(users, 3).rows()
        added = pool.apply(_add, (model, world.new_items()))
    assert added == world.new_items().item_ids.values


def _add(model, items):
    return model.add_items(items)["item"].to_list()


def test_a_fork_before_first_use_works():
    code = """
import os, warmstart as ws
frames = {"user": ["u", "u", "v"], "item": ["a", "b", "a"]}
if child := os.fork():
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
ws.Popular().fit(ws.from_frames(frames)).recommend(["v"], 1)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=_SECONDS)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize(
    "use",
    [
        "ws.Catalogue(Ids(['c'], 'item'), ('',), None, frame[:1], ('title',))",
        "items.take(np.arange(2))",
        "items.extended(ws.Catalogue(Ids(['c'], 'item'), ('',), None, frame[:1], ('title',)))",
        "ws.synthetic_items(3, rng=np.random.default_rng(0))",
        "ws.split(data, cutoff='1970-01-01')",
    ],
)
def test_a_fork_after_any_use_raises_and_never_hangs(use, used):
    """A parent that used only one function; its worker loads everything itself."""
    code = f"""
import os, signal, numpy as np, polars as pl, warmstart as ws
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions
frame = pl.DataFrame({{"title": ["x", "y"]}})
items = ws.Catalogue(Ids(["a", "b"], "item"), ("x", "y"), None, frame, ("title",))
events = Interactions.from_arrays([0], [0], times=[5])
data = ws.Dataset("toy", Ids(["u"], "user"), items, events)
import warmstart.process
warmstart.process._first_use = None  # as if the catalogue were not made by warmstart
try:
    {use}
except ws.WarmstartError:
    pass
if child := os.fork():
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
else:
    signal.alarm({_SECONDS})
    try:
        ws.load_model({str(used.folder / "model")!r})
    except ws.UnsupportedError:
        os._exit(0)
    os._exit(1)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=2 * _SECONDS)
