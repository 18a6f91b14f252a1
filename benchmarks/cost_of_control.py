"""What each control costs: NDCG@10 and genres of lists, for several methods and strengths.

    python benchmarks/cost_of_control.py ml-100k --protocol user-random --json OUT.json
    python benchmarks/cost_of_control.py ml-100k --protocol windows --json OUT.json
    python benchmarks/cost_of_control.py steam --protocol user-random --json OUT.json
    python benchmarks/cost_of_control.py --json OUT.json --plot OUT.svg

Controls, over all genres of the items: exactly 1 to 8 genres; exactly the 1 to 8 named genres that
are most frequent in the history (all, if it has fewer); a list calibrated to the history; diversity
.1 to .9. Every method is fitted on the training part with its default settings and makes lists for
the same queries, ``QUERIES`` drawn at random. Rows are added to OUT.json method by method, and a
method whose rows are there is not run again. The cost is the difference to the same method's lists
without a control, with 95 % intervals of 1,000 bootstraps of the queries.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

import warmstart as ws
from warmstart.data.control import Control
from warmstart.evaluation.lists import coverage
from warmstart.evaluation.significance import intervals
from warmstart.rank import rank_task

K, QUERIES, STRENGTHS = 10, 500, tuple(range(1, 9))
METHODS = {
    "popular": ws.Popular,
    "item_knn": ws.ItemKNN,
    "cf_only[ease]": lambda: ws.CFOnly(backbone={"kind": "ease", "l2": 100.0}),
    "ease_text": lambda: ws.EaseText(ease={"l2": 100.0}),
    "filterllm[ease]": lambda: ws.FilterLLM(backbone={"kind": "ease", "l2": 100.0}),
    "sasrec": ws.SasRec,
}
TITLES = {
    "n_genres": "exactly n genres",
    "genres": "exactly the n named genres",
    "diversity": "diversity",
}


def controls_of(genres, histories):
    """All controls: (kind, strength) -> one ``Control`` for each query."""
    found = {("none", 0): None}
    counts = np.array([genres.matrix[items].sum(axis=0) for items in histories])
    counts = counts.reshape(len(histories), -1)
    order = np.argsort(-counts, axis=1, kind="stable")
    n_any = np.maximum((counts > 0).sum(axis=1), 1)
    for n in STRENGTHS:
        found["n_genres", n] = (Control(n_genres=n),) * len(counts)
        found["genres", n] = tuple(
            Control(genres=tuple(genres.values[g] for g in row[: min(n, most)]))
            for row, most in zip(order, n_any, strict=True)
        )
    found["calibrate", 1] = (Control(calibrate=True),) * len(counts)
    for n in range(1, 10):
        found["diversity", n / 10] = (Control(diversity=n / 10),) * len(counts)
    return found


def rows_of(name, model, task, genres, histories):
    """The rows of one fitted method."""
    plain, rows = None, []
    for (kind, strength), controls in controls_of(genres, histories).items():
        queries = replace(task.queries, controls=controls)
        top_items = None if controls is None else model.top_items
        ranking = rank_task(model.score, replace(task, queries=queries), K, top_items=top_items)
        values = ranking.per_query(f"ndcg@{K}")
        plain = values if plain is None else plain
        table = np.column_stack([values, values - plain, coverage(ranking.items, genres.matrix)])
        names = (f"ndcg@{K}", f"ndcg@{K} minus plain", f"coverage@{K}")
        found = zip(names, intervals(table, n_resamples=1000), strict=True)
        metrics = {metric: {e: round(x, 6) for e, x in vars(v).items()} for metric, v in found}
        empty = int((ranking.items[:, 0] < 0).sum())
        rows.append(
            {"method": name, "control": kind, "strength": strength, "empty_lists": empty, **metrics}
        )
        shown = ", ".join(f"{metric} {x['value']:.4f}" for metric, x in metrics.items())
        print(f"{name}, {kind} {strength}: {shown}, empty {empty}", flush=True)
    return rows


def measure(folder, protocol, methods, path):
    """Fit and measure the methods whose rows are not in the file."""
    split = ws.split(ws.read_dataset(folder), protocol)
    catalogue = split.dataset.catalogue
    genres = catalogue.attribute(catalogue.genre_column)
    task = split.tasks("test")["all"]
    rows = np.random.default_rng(0).permutation(len(task.queries))[:QUERIES]
    task = task.take(np.sort(rows))
    histories = [task.queries.histories[query] for query in range(len(task.queries))]
    name, encoder = f"{split.dataset.name}, {protocol}", None
    for method in methods:
        found = json.loads(path.read_text())["rows"] if path.exists() else []
        if any((x["data"], x["method"]) == (name, method) for x in found):
            continue
        model, options = METHODS[method](), {}
        if "encoder" in model.needs:
            encoder = encoder or ws.load_encoder()
            options["encoder"] = encoder
        model.fit(split.train, valid=split.validation(), **options)
        new = rows_of(method, model, task, genres, histories)
        facts = {"data": name, "queries": len(task.queries), "genre_column": genres.name}
        lines = ",\n".join(json.dumps(x) for x in [*found, *({**facts, **x} for x in new)])
        path.write_text(f'{{"rows": [\n{lines}\n]}}\n')


def plot(rows, path):
    """NDCG with a control / NDCG without: a row for each data set, a column for each control."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(x["data"] for x in rows))
    figure = Figure(figsize=(11, 3.1 * len(names)), layout="tight")
    grid = figure.subplots(len(names), len(TITLES), sharey=True, squeeze=False)
    colours = {name: f"C{number}" for number, name in enumerate(METHODS)}
    for line, name in zip(grid, names, strict=True):
        for axes, (kind, title) in zip(line, TITLES.items(), strict=True):
            for method, colour in colours.items():
                own = [x for x in rows if (x["data"], x["method"]) == (name, method)]
                if not own:
                    continue
                plain = own[0][f"ndcg@{K}"]["value"]
                at = [x["strength"] for x in own if x["control"] == kind]
                kept = [x[f"ndcg@{K}"]["value"] / plain for x in own if x["control"] == kind]
                axes.plot(at, kept, color=colour, marker="o", markersize=3, label=method)
                if kind == "diversity":
                    (x,) = (x for x in own if x["control"] == "calibrate")
                    axes.plot(0, x[f"ndcg@{K}"]["value"] / plain, "x", color=colour)
            axes.axhline(1, color="grey", linewidth=1)
            axes.set(title=f"{name}: {title}" if kind == "n_genres" else title)
        line[0].set(ylabel=f"ndcg@{K} / without control")
        line[-1].set(xlabel="diversity; x at 0: calibrated")
    grid[0][0].legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--protocol", default="user-random")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if options.folder:
        measure(options.folder, options.protocol, options.methods.split(","), options.json)
    if options.plot:
        plot(json.loads(options.json.read_text())["rows"], options.plot)


if __name__ == "__main__":
    main()
