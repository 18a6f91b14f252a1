"""What a_llmrec costs: both stages, a list, a new item; projectors alone beside LoRA.

    warmstart split DATA --protocol next-item --out S
    python benchmarks/a_llmrec_cost.py S --lm default --histories 64 --json OUT

Fits each row in a process of its own, on the given number of histories of stage 2, so that an epoch
over all follows by proportion, and prints seconds, the highest memory, milliseconds of a list of a
known user, of one by a history (both medians of 20), of the likelihoods of 20 titles, and of a new
item.
"""

import json as jsonlib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from environment import environment

from warmstart.data.queries import Queries
from warmstart.data.splits.files import load_split
from warmstart.evaluation.evaluate import peak_memory_mb
from warmstart.lm import CausalLMConfig, LMConfig, load_causal_lm, load_encoder
from warmstart.methods.a_llmrec import ALLMRec
from warmstart.run import Run

_ROWS = {
    "stage 1": {"scoring": "alignment"},
    "projectors": {},
    "projectors and LoRA": {"tuning": {"lora": {"rank": 8}}},
}


def main(
    split: Path,
    encoder: str = "default",
    lm: str = "default",
    histories: int = 64,
    row: Annotated[str | None, typer.Option(hidden=True)] = None,
    json: Path | None = None,
) -> None:
    """Print one line for each row and write OUT."""
    if row is not None:
        print(jsonlib.dumps(_measured(row, split, encoder, lm, histories)))
        return
    found = {}
    for name in _ROWS:
        options = ["--encoder", encoder, "--lm", lm, "--histories", str(histories), "--row", name]
        command = [sys.executable, __file__, str(split), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = jsonlib.loads(done.stdout.splitlines()[-1])
        print(name, found[name], flush=True)
    if json is not None:
        json.write_text(jsonlib.dumps({"environment": environment(), "rows": found}, indent=1))


def _measured(name: str, split: Path, encoder: str, lm: str, histories: int) -> dict:
    settings = {"backbone": {"epochs": 1}, "alignment": {"epochs": 1}, **_ROWS[name]}
    settings["tuning"] = {
        **{"epochs": 1, "histories_per_epoch": histories, "question_rate": 0, "title_tokens": 10},
        **settings.get("tuning", {}),
    }
    model, run, train = ALLMRec(ALLMRec.config_type.build(settings)), Run(), load_split(split).train
    causal = None
    if "causal" in model.needs:
        causal = load_causal_lm(CausalLMConfig(source=lm))
    model.fit(
        train, encoder=load_encoder(LMConfig(source=encoder)), lm=causal,
        rng=np.random.default_rng(0), run=run,
    )  # fmt: skip
    users = model.fitted.user_ids.values
    ids = model.fitted.catalogue.item_ids
    asked = [ids.take(history[-10:]) for history in train.histories.take(np.arange(20))]
    new = {"item": [f"new-{n}" if not ids.is_integer else 10**9 + n for n in range(20)]}
    columns = model.fitted.catalogue.text_columns
    milliseconds = {
        "list of a known user": _median(lambda n: model.recommend(users[n : n + 1], k=10)),
        "list by a history": _median(lambda n: model.recommend(histories=[asked[n]], k=10)),
    }
    if causal is not None:
        candidates = np.arange(20, dtype=np.int32)[None]
        told = model._told(train.histories)
        milliseconds["likelihoods of 20 titles"] = _median(
            lambda n: model._prompted.likelihoods(told.take(np.array([n])), candidates), 5
        )
    milliseconds["new item"] = _median(
        lambda n: model.add_items(
            {
                "item": new["item"][n : n + 1],
                **{name: [""] for name in columns},
                columns[0]: [f"A text of an item that is new, number {n}"],
            }
        )
    )
    known = model.score(Queries.of_users([0]), np.arange(10, dtype=np.int32))
    assert np.isfinite(known).any()
    return {
        "seconds": {stage: round(value, 2) for stage, value in run.seconds.items()},
        "histories of stage 2": histories,
        "peak MB": round(peak_memory_mb()),
        "milliseconds": milliseconds,
    }


def _median(work: Callable[[int], object], n: int = 20) -> float:
    taken = []
    for number in range(n):
        started = time.perf_counter()
        work(number)
        taken.append(time.perf_counter() - started)
    return round(1000 * float(np.median(taken)), 2)


if __name__ == "__main__":
    typer.run(main)
