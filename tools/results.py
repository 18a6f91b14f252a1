"""Writes the tables of docs/results.md from the files in experiments/references.

    python tools/results.py            rewrite them
    python tools/results.py --check    fail if they differ

A table follows a line ``<!-- FILE: KIND -->``, where KIND is one of ``KINDS``. The whole table is
replaced.
"""

import json
import re
import sys
from math import log10
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
_MARKED = re.compile(r"(<!-- (\S+): (\w+) -->\n)(?:\|.*\n)*")


def quality(found: dict) -> list[list[str]]:
    """Recall and NDCG by slice."""
    values = {(x["method"], x["slice"], x["metric"]): x["value"] for x in found["summary"]}
    methods = dict.fromkeys(x["method"] for x in found["summary"])
    rows = [["method", "cold R/N", "warm R/N", "overall R/N"]]
    for method in methods:
        pairs = [
            "/".join(_short(values[method, part, metric]) for metric in ("recall@20", "ndcg@20"))
            for part in ("cold", "warm", "overall")
        ]
        rows.append([method, *pairs])
    return rows


def cold(found: dict) -> list[list[str]]:
    """Paired differences in NDCG on the cold slice."""
    return [
        ["method", "cold N minus " + found["differences"][0]["against"], "95 %"],
        *(
            [x["method"], f"{x['value']:+.4f}", f"[{x['low']:+.4f}, {x['high']:+.4f}]"]
            for x in found["differences"]
            if (x["slice"], x["metric"]) == ("cold", "ndcg@20")
        ),
    ]


def cost(found: dict) -> list[list[str]]:
    """Seconds of each stage and peak memory, by method."""
    peaks = {x["method"]: x["peak_memory_mb"] for x in found["details"]}
    stages: dict[str, list[str]] = {method: [] for method in peaks}
    for x in found["timings"]:
        stages[x["method"]].append(f"{x['stage']} {x['seconds']:.1f}")
    return [
        ["method", "seconds", "peak MB"],
        *([method, ", ".join(stages[method]), f"{peaks[method]:.0f}"] for method in peaks),
    ]


def simulation(found: dict) -> list[list[str]]:
    """Quality of the simulated interactions, and of the controls once."""
    rows = [["simulator", "pairs", "precision", "recall", "user-macro recall", "users' degree"]]
    for method, report in found["simulations"].items():
        lines = [(method, report["simulated"])]
        if len(rows) == 1:
            lines += [(f"{line['name']} (control)", line) for line in report["controls"]]
        for name, x in lines:
            figures = [x["precision"], x["recall"], x["user_recall"]]
            shown = [_short(figure) for figure in figures]
            rows.append([name, str(x["pairs"]), *shown, f"{x['user_degree']:.1f}"])
    return rows


def speed(found: dict) -> list[list[str]]:
    """Speed and recall of the backbones against other libraries."""
    rows = [["ours / theirs", "seconds an epoch", "recall@20", "epoch", "to their recall"]]
    for name, ratio in found["ratios"].items():
        pair = [found["systems"][system] for system in name.split(" / ")]
        seconds = " / ".join(f"{system['seconds']:.3f}" for system in pair)
        recalls = " / ".join(_short(system["recall@20"]) for system in pair)
        reached = ratio["to_their_recall"]
        shown = "never" if reached is None else f"{reached:.2f}"
        rows.append([name, seconds, recalls, f"{ratio['epoch']:.2f}", shown])
    return rows


def metrics(found: dict) -> list[list[str]]:
    """All metrics of the slice with all queries, means over seeds."""
    values = {x["metric"]: {} for x in found["summary"] if x["slice"] == "all"}
    for x in found["summary"]:
        if x["slice"] == "all":
            values[x["metric"]][x["method"]] = _short(x["value"])
    methods = dict.fromkeys(x["method"] for x in found["summary"])
    rows = [[method, *(of.get(method, "") for of in values.values())] for method in methods]
    return [["method", *values], *rows]


def requests(found: dict) -> list[list[str]]:
    """All metrics of the requests of dialogues, and the difference in N@10, by dialogues."""
    gaps = {x["method"]: x for x in found["differences"] if x["metric"] == "ndcg@10"}
    head, *rows = metrics(found)
    head.append("ndcg@10 minus " + found["differences"][0]["against"])
    return [head, *([*row, _gap(gaps.get(row[0]))] for row in rows)]


def crs(found: dict) -> list[list[str]]:
    """Recall on the candidates of the study of 2023."""
    names = [f"recall@{k}" for k in (1, 5, 10, 20)]
    rows = [[x["scorer"], *(_short(x[name]["value"]) for name in names)] for x in found["rows"]]
    return [["scorer", *names], *rows]


def adapted(found: dict) -> list[list[str]]:
    """Recall of biases, and the difference from one of them, of rta's own benchmark."""
    return _adapted(found["bias"])


def drift(found: dict) -> list[list[str]]:
    """The same of biases that were learned from older or newer dialogues."""
    return _adapted(found["drift"])


def _adapted(rows: list[dict]) -> list[list[str]]:
    against = next(x["scorer"] for x in rows if "gap" not in x)
    values = [[x["scorer"], _short(x["recall@10"]["value"]), _gap(x.get("gap"))] for x in rows]
    return [["scorer", "recall@10", "minus " + against], *values]


def slices(found: dict) -> list[list[str]]:
    """N@10 of the slices of next-item, and differences from the baseline."""
    parts = ("all", "warm", "cold")
    means = {(x["method"], x["slice"], x["metric"]): x["value"] for x in found["summary"]}
    gaps = {(x["method"], x["slice"]): x for x in found["differences"] if x["metric"] == "ndcg@10"}
    against = found["differences"][0]["against"]
    rows = [["method", *parts, *(f"{part} minus {against}" for part in ("all", "cold"))]]
    for method in dict.fromkeys(x["method"] for x in found["summary"]):
        gap = [_gap(gaps.get((method, part))) for part in ("all", "cold")]
        rows.append([method, *(_short(means[method, part, "ndcg@10"]) for part in parts), *gap])
    return rows


def candidates(found: dict) -> list[list[str]]:
    """One fit on all items and among drawn ones, and the difference from the baseline."""
    tables = found["tables"]
    shown = [name for name in tables if name.startswith(("ndcg@10", "hit@1~"))]
    rows = [["method", *shown, "ndcg@10 all minus the backbone"]]
    for method, whole in tables["ndcg@10 all"].items():
        (gap,) = (value for name, value in whole.items() if name.startswith("difference"))
        values = [_short(tables[name][method]["mean"][0]) for name in shown]
        rows.append([method, *values, _gap_of(gap)])
    return rows


def ways_of_scoring(found: dict) -> list[list[str]]:
    """hit@1 among candidates of a_llmrec's ways of scoring and of its controls."""
    kinds = [name for name in ("uni19", "pop19") if name in found]
    head = [f"hit@1~{name}{what}" for name in kinds for what in ("", " minus the backbone")]
    rows = [["scored by", *head]]
    for label, row in found[kinds[0]].items():
        if "hit@1" not in row:
            continue
        cells = []
        for name in kinds:
            own = found[name][label]
            gap = _gap_of(own["difference from the backbone"])
            cells += [_short(own["hit@1"][0]), "" if label == "backbone" else gap]
        rows.append([label, *cells])
    return rows


def asked(found: dict) -> list[list[str]]:
    """How often the LM names what a user has most of."""
    rows = [["answered by", "accuracy", "minus the majority"]]
    for label, row in found["rows"].items():
        gap = _gap_of(row["difference from the majority"])
        rows.append([label, _short(row["accuracy"][0]), "" if label == "majority" else gap])
    return rows


def stages(found: dict) -> list[list[str]]:
    """Seconds of the stages, memory and milliseconds of a_llmrec, one column for each row."""
    columns = {}
    for label, row in found["rows"].items():
        seconds = {f"{name}, s": f"{value:.1f}" for name, value in row["seconds"].items()}
        lists = {f"{name}, ms": f"{value:.1f}" for name, value in row["milliseconds"].items()}
        columns[label] = {**seconds, "peak MB": str(row["peak MB"]), **lists}
    names = dict.fromkeys(name for column in columns.values() for name in column)
    rows = [[name, *(column.get(name, "") for column in columns.values())] for name in names]
    return [["", *columns], *rows]


def unknown_users(found: list) -> list[list[str]]:
    """Users who were trained on, and the same users by their history."""
    rows = [["method", "trained on", "by history", "difference", "95 %"]]
    for x in found:
        gap = x["difference"]
        levels = [_short(x[name]["value"]) for name in ("trained", "by_history")]
        interval = f"[{gap['low']:+.4f}, {gap['high']:+.4f}]"
        rows.append([x["method"], *levels, f"{gap['value']:+.4f}", interval])
    return rows


def controlled(found: dict) -> list[list[str]]:
    """Lists with a wanted number of genres: what is measured at 2, 5 and 8."""
    names = ["method", "genres", "precision@10", "minus EASE", "ndcg@10"]
    rows = [[*names, "coverage", "all genres", "of the oracle"]]
    for x in found["rows"]:
        if x["n_genres"] in (2, 5, 8) and "ndcg@10" in x["metrics"]:
            level = x["metrics"]["precision@10"]
            interval = f"{_short(level['value'])} {_interval(level)}"
            gap = _gap(x.get("minus_ease", {}).get("precision@10"))
            values = [x["metrics"][f"{name}@10"]["value"] for name in ("coverage", "all_genres")]
            counts = [f"{value:.2f}" for value in values]
            names = ("ndcg@10", "oracle_share@10")
            ndcg, share = (_short(x["metrics"][name]["value"]) for name in names)
            rows.append([x["method"], str(x["n_genres"]), interval, gap, ndcg, *counts, share])
    return rows


def controlled_service(found: dict) -> list[list[str]]:
    """Milliseconds of lists in the service, p50 and p99, by catalogue."""
    catalogues, lists = found["rows"], found["rows"][0]["lists"]
    rows = [["list", *(row["catalogue"] for row in catalogues)]]
    for name in lists:
        cells = [row["lists"][name] for row in catalogues]
        rows.append([name, *(f"{x['p50']:.1f}, {x['p99']:.1f}" for x in cells)])
    return rows


def by_genres(found: dict) -> list[list[str]]:
    """Precision for each wanted number of genres; in brackets, the mean error in their number."""
    wanted = sorted({x["n_genres"] for x in found["rows"]} - {None})
    cells: dict[str, dict[int, str]] = {}
    for x in found["rows"]:
        if x["n_genres"] is not None:
            values = x["metrics"]
            error = values.get("coverage_error@10", {"value": 0})["value"]
            shown = _short(values["precision@10"]["value"])
            shown += f" ({error:.2f})" if error else ""
            cells.setdefault(x["method"], {})[x["n_genres"]] = shown
    rows = [[method, *(own.get(k, "") for k in wanted)] for method, own in cells.items()]
    return [["method", *map(str, wanted)], *rows]


def cost_of_control(found: dict) -> list[list[str]]:
    """NDCG@10 without and under controls; in brackets, the mean number of genres of a list."""
    shown: list[tuple[str, float]] = [("none", 0)]
    shown += [(kind, n) for kind in ("n_genres", "genres") for n in (1, 2, 5, 8)]
    shown += [("calibrate", 1), ("diversity", 0.3), ("diversity", 0.6), ("diversity", 0.9)]
    names = {"n_genres": "n =", "genres": "named"}
    heads = [f"{names.get(kind, kind)} {n:g}" for kind, n in shown]
    heads = [head.removesuffix(" 0").replace("calibrate 1", "calibrate") for head in heads]
    cells: dict[tuple[str, str], dict[tuple[str, float], str]] = {}
    for x in found["rows"]:
        value = _short(x["ndcg@10"]["value"])
        if x["control"] not in names:
            value += f" ({x['coverage@10']['value']:.1f})"
        cells.setdefault((x["data"], x["method"]), {})[x["control"], x["strength"]] = value
    rows = [[*key, *(own[control] for control in shown)] for key, own in cells.items()]
    return [["data", "method", *heads], *rows]


def conversation(found: dict) -> list[list[str]]:
    """Recall of each scorer of conversations."""
    names = ["recall@1", "recall@10", "recall@50"]
    rows = [[x["scorer"], *(_short(x[name]["value"]) for name in names)] for x in found["rows"]]
    return [["scorer", *names], *rows]


def causal_lm(found: dict) -> list[list[str]]:
    """Speed of the causal LM against plain transformers."""
    rows = [["", "type", "tokens/s", "plain", "times as fast"]]
    for dtype in ("float32", "bfloat16"):
        for name in ("states", "tuning", "writing"):
            x = found[dtype][name]
            speeds = [f"{x[key]:.0f}" for key in ("tokens_per_second", "plain_tokens_per_second")]
            rows.append([name, dtype, *speeds, f"{x['times_as_fast']:.2f}"])
        shared = found[dtype]["likelihoods"]["times_as_fast"]
        rows.append(["likelihoods, prompt read once", dtype, "", "", f"{shared:.2f}"])
    return rows


def imported(found: dict) -> list[list[str]]:
    """New items in the space of another tool's model, beside the same backbone of ours."""
    rows = [["method", "cold N", "95 %", "minus own backbone", "95 %"]]
    for x in found["rows"]:
        level, gap = x["ndcg@20"], x["minus_own_backbone"]
        paired = [f"{gap['value']:+.4f}", f"[{gap['low']:+.4f}, {gap['high']:+.4f}]"]
        if x["warm_bitwise_equal"] is None:
            paired = ["", ""]
        rows.append([x["method"], _short(level["value"]), _interval(level), *paired])
    return rows


def top_rows(found: dict) -> list[list[str]]:
    """Milliseconds a query of exact searches; in brackets, times as long as reading the codes."""
    names = ("rows", "width", "batch")
    columns = list(dict.fromkeys(tuple(x[name] for name in names) for x in found["records"]))
    cells = {(x["system"], *(x[name] for name in names)): x for x in found["records"]}
    heads = (f"1e{log10(rows):.0f} x {width}, {batch}" for rows, width, batch in columns)
    rows = [["system", *heads]]
    for system in dict.fromkeys(x["system"] for x in found["records"]):
        shown = []
        for column in columns:
            x = cells[system, *column]
            times = f" ({x['times_bandwidth']:.2f})" if x["batch"] == 1 else ""
            shown.append(f"{x['ms_per_query']:.3g}{times}")
        rows.append([system, *shown])
    return rows


def approximate(found: dict) -> list[list[str]]:
    """Recall, milliseconds a query and memory of approximate searches."""
    systems: dict[str, dict[int, dict]] = {}
    for x in found["records"]:
        systems.setdefault(x["system"], {})[x["batch"]] = x
    rows = [["system", "recall@100", "ms, 1 query", "ms, 32 queries", "bytes a row", "built in s"]]
    for system, by_batch in systems.items():
        one, many = by_batch[1], by_batch[32]
        times = [f"{x['ms_per_query']:.3g}" for x in (one, many)]
        sizes = [f"{one['bytes_per_row']:.0f}", f"{one['build_seconds']:.0f}"]
        rows.append([system, _short(one["recall"]), *times, *sizes])
    return rows


def fold_in(found: dict) -> list[list[str]]:
    """Microseconds to fold in an item, alone and in batches."""
    rows = [["users", "backbone", "one item alone", "one of 256"]]
    for x in found["records"]:
        times = (f"{x[f'microseconds_batch_{batch}']:.0f}" for batch in (1, 256))
        rows.append([f"1e{log10(x['users']):.0f}", x["backbone"], *times])
    return rows


KINDS = {
    f.__name__: f
    for f in (
        *(quality, cold, cost, simulation, speed),
        *(
            metrics,
            requests,
            crs,
            adapted,
            drift,
            slices,
            candidates,
            ways_of_scoring,
            asked,
            stages,
        ),
        *(unknown_users, controlled, by_genres, cost_of_control, controlled_service),
        *(conversation, causal_lm, imported),
        *(top_rows, approximate, fold_in),
    )
}


def rewritten(page: str) -> str:
    """The page with every table made anew from its file."""

    def table(match: re.Match) -> str:
        found = json.loads((ROOT / "experiments" / "references" / match[2]).read_text())
        head, *rows = KINDS[match[3]](found)
        lines = [head, ["---"] * len(head), *rows]
        return match[1] + "".join(f"| {' | '.join(line)} |\n" for line in lines)

    return _MARKED.sub(table, page)


def _gap(gap: dict | None) -> str:
    if gap is None or not gap["value"]:
        return ""
    return f"{gap['value']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]"


def _gap_of(ends: list[float]) -> str:
    """The same of a value and the ends of its interval."""
    return _gap(dict(zip(("value", "low", "high"), ends, strict=True)))


def _interval(x: dict) -> str:
    return f"[{_short(x['low'])}, {_short(x['high'])}]"


def _short(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


def main() -> None:
    """Rewrite the page, or check it."""
    page = PAGE.read_text(encoding="utf-8")
    if "--check" not in sys.argv:
        PAGE.write_text(rewritten(page), encoding="utf-8")
    elif rewritten(page) != page:
        raise SystemExit(
            "docs/results.md differs from experiments/references: run tools/results.py"
        )


if __name__ == "__main__":
    main()
