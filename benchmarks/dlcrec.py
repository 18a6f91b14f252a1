"""dlcrec on the windows of the paper: its variants, and the controls that show what its steps do.

    python benchmarks/trails_lm.py dlcrec-movie LM
    python benchmarks/dlcrec.py dlcrec-movie --lm LM --rows A,B,C,D,E --json OUT.json

Rows, each a plan with a decoding; without "exact", titles are restricted to the catalogue and
nothing restricts their genres, so that the table shows what the plan alone does:

    A  the number of genres in one prompt       D        without the genre of each place
    B  genres and items in one answer           E        C with augmented windows
    C  genres, places, items by three adapters
    C exact, E exact     only lists with exactly the genres asked for can be written
    S exact              E exact, of the best items of each genre by EASE

Controls on C: the genres of another window, one genre at every place, no genre at any place.
Adapters are trained once for all rows that share them (``--run``). The intervals are those of
``genre_lists``. Rows are added to OUT.json one by one, so that an interrupted run can go on.
"""

import argparse
import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import genre_lists
import numpy as np

import warmstart as ws
from warmstart.data.readers.dlcrec import read_windows
from warmstart.data.splits.windows import windows as window_split
from warmstart.genre_planning.decoding import Asked
from warmstart.run import Run

NONE, BOTH = {"noise": False, "numbers": False}, {"noise": True, "numbers": True}
ROWS = {
    "A": {"plan": "absent", "decoding": "titles", "augmentation": NONE},
    "B": {"plan": "one_pass", "decoding": "titles", "augmentation": NONE},
    "C": {"plan": "cascade", "decoding": "titles", "augmentation": NONE},
    "D": {"plan": "without_filling", "decoding": "titles", "augmentation": NONE},
    "E": {"plan": "cascade", "decoding": "titles", "augmentation": BOTH},
    "B exact": {"plan": "one_pass", "decoding": "genres", "augmentation": NONE},
    "C exact": {"plan": "cascade", "decoding": "genres", "augmentation": NONE},
    "E exact": {"plan": "cascade", "decoding": "genres", "augmentation": BOTH},
    "S exact": {"plan": "cascade", "decoding": "genres", "augmentation": BOTH},
}


def fitted(name, split, arguments, seed):
    """Fit a row; returns the model and the seconds."""
    settings = {**ROWS[name], "first_genre_only": True, **arguments.settings}
    if name.startswith("S"):
        settings["shortlist"] = {"backbone": {"kind": "ease", "l2": 50}, "items": arguments.items}
    model = ws.DLCRec(ws.DLCRecConfig.build(settings))
    begin = time.perf_counter()
    model.fit(
        split.train, valid=split.validation(), lm=arguments.model, rng=seed, run=Run(arguments.run)
    )
    return model, time.perf_counter() - begin


def taken(windows, n):
    """The first n windows."""
    return replace(windows, task=windows.task.take(np.arange(min(n, len(windows.task.queries)))))


def asked_of(model, windows, n_genres):
    """What the windows ask for, as the method's own steps take it."""
    task = windows.task
    allowed = np.ones((len(task.queries), len(windows.first.toarray())), bool)
    allowed[task.masked.nonzero()] = False
    told = model.told(task.queries.histories)
    n = len(told)
    table = windows.first.toarray().astype(bool)
    return Asked(told, (n_genres,) * n, (None,) * n, allowed, table, genre_lists.K)


def controls(model, windows, n_genres):
    """Lists of C with wrong inputs: name -> (lists, wanted genre of each place)."""
    writer, asked = model.list_writer, asked_of(model, windows, n_genres)
    genres = writer.choose_genres(asked)
    places = writer.fill_places(asked, genres)
    common = int(np.bincount(places[places >= 0]).argmax())
    shuffled = list(np.random.default_rng(0).permutation(np.array(genres, object)))
    wrong = {
        "C, genres of other windows": writer.fill_places(asked, shuffled),
        "C, one genre at every place": np.full_like(places, common),
        "C, no genre at any place": np.full_like(places, -1),
    }
    found = {"C, its places": (writer.choose_items(asked, genres, places), places)}
    for name, own in wrong.items():
        wanted = places if name == "C, no genre at any place" else own
        found[name] = writer.choose_items(asked, genres, own), wanted
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with windows.jsonl and catalogue")
    parser.add_argument("--lm", default="default", help="source of the causal LM")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--numbers", default=",".join(map(str, genre_lists.WANTED)))
    parser.add_argument("--windows", type=int, default=1000)
    parser.add_argument("--part", default="test", choices=["valid", "test"])
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--items", type=int, default=5, help="of each genre, for row S")
    parser.add_argument("--settings", type=json.loads, default={}, help="of all rows, as JSON")
    parser.add_argument("--controls", action="store_true", help="wrong inputs of row C")
    parser.add_argument("--label", default="", help="after the name of each row")
    parser.add_argument("--run", type=Path, required=True, help="keeps the trained adapters")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments.model = ws.load_causal_lm(
        ws.CausalLMConfig(source=arguments.lm, dtype=arguments.dtype, batch_size=64)
    )
    split = window_split(*read_windows(arguments.data))
    windows = taken(genre_lists.Windows.of(split, arguments.part), arguments.windows)
    numbers = [int(number) for number in arguments.numbers.split(",")]
    for name in filter(None, arguments.rows.split(",")):
        models = [fitted(name, split, arguments, int(s)) for s in arguments.seeds.split(",")]
        for n_genres in numbers:
            values, seconds = [], []
            for model, _ in models:
                begin = time.perf_counter()
                found = genre_lists.recommended(model, windows, n_genres)
                seconds.append((time.perf_counter() - begin) / len(found))
                values.append(genre_lists.values_of(found, windows, n_genres))
            mean = {key: np.mean([one[key] for one in values], axis=0) for key in values[0]}
            facts = {
                "seeds": len(models),
                "hits_of_seeds": [round(float(v[genre_lists.HITS].mean()), 5) for v in values],
                "seconds_of_fit": [round(s, 1) for _, s in models],
                "seconds_a_list": round(float(np.median(seconds)), 4),
            }
            label = f"dlcrec {name}{arguments.label}"
            row = genre_lists.row(label, mean, windows, n_genres, **facts)
            genre_lists.add_rows(arguments.json, [row])
            print(label, n_genres, {k: v["value"] for k, v in row["metrics"].items()}, flush=True)
    if arguments.controls:
        model, _ = fitted("C", split, arguments, int(arguments.seeds.split(",")[0]))
        for n_genres in numbers:
            for name, (found, wanted) in controls(model, windows, n_genres).items():
                places = np.where((wanted >= 0).any(axis=1, keepdims=True), wanted, 0)
                values = genre_lists.values_of(found, windows, n_genres, places)
                label = f"dlcrec {name}{arguments.label}"
                row = genre_lists.row(label, values, windows, n_genres)
                genre_lists.add_rows(arguments.json, [row])
                print(label, n_genres, {k: v["value"] for k, v in row["metrics"].items()})


if __name__ == "__main__":
    main()
