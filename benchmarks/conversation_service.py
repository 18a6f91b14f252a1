"""Milliseconds of one turn of a conversation in the service, and of a plain list beside it.

    python benchmarks/redial_split.py redial --out S
    python benchmarks/conversation_service.py S --lm --json OUT.json

rta is fitted on the split, with ``--lm`` over SmolLM2 with few of its lists (the time of a turn
does not depend on how well it learned), and served in a process of its own on SQLite. One client
asks with the test dialogues, one after the other; then plain lists are asked for while another
process talks all the time.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from environment import environment

import warmstart as ws
from serve import served
from warmstart.data.splits.files import load_split

FEW = {"lists": 8, "pages": 64, "epochs": 2, "beam": 10}


def said(text):
    """The messages of a dialogue, as the route takes them."""
    speakers = {"User": "user", "System": "system"}
    found = []
    for line in text.splitlines():
        speaker, _, words = line.partition(": ")
        if speaker in speakers:
            found.append({"speaker": speakers[speaker], "text": words})
    return found or [{"speaker": "user", "text": text}]


def milliseconds(client, route, bodies):
    """Milliseconds of each request."""
    found = []
    for body in bodies:
        started = time.perf_counter()
        answer = client.post(route, json={**body, "k": 10})
        found.append(1000 * (time.perf_counter() - started))
        answer.raise_for_status()
    return found


def turns(client, dialogues):
    return milliseconds(client, "/v1/converse", [{"messages": one} for one in dialogues])


def lists(client, histories):
    return milliseconds(client, "/v1/recommend", [{"history": one} for one in histories])


def talk_for_ever(base, dialogues):
    """The work of a process that talks all the time."""
    with httpx.Client(base_url=base, timeout=120) as client:
        while True:
            turns(client, dialogues)


def percentiles(values):
    return {f"p{q}": round(float(np.percentile(values, q)), 1) for q in (50, 99)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("split", type=Path)
    parser.add_argument("--lm", action="store_true")
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    split = load_split(options.split)
    queries = split.tasks("test")["all"].queries
    rows = np.linspace(0, len(queries) - 1, options.turns).astype(int)
    dialogues = [said(queries.texts[row]) for row in rows]
    ids = split.train.catalogue.item_ids
    asked = [list(ids.take(queries.histories[row])) or [ids.values[0]] for row in rows]
    model = ws.RTA(lm=FEW if options.lm else None).fit(
        split.train,
        encoder=ws.load_encoder(),
        lm=ws.load_causal_lm() if options.lm else None,
    )
    found = {"environment": environment(), "lm": options.lm, "turns": options.turns}
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        with (
            served(Path(folder) / "model", f"sqlite:///{folder}/store.db") as (base, _),
            httpx.Client(base_url=base, timeout=120) as client,
        ):
            turns(client, dialogues[:3]), lists(client, asked[:3])
            found["turn"] = percentiles(turns(client, dialogues))
            found["plain list"] = percentiles(lists(client, asked))
            other = multiprocessing.get_context("spawn").Process(
                target=talk_for_ever, args=(base, dialogues), daemon=True
            )
            other.start()
            time.sleep(8)
            found["plain list beside a conversation"] = percentiles(lists(client, asked * 3))
            other.kill()
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
