"""The conversational methods on the test rows of He et al. (CIKM 2023) for ReDial.

    python benchmarks/crs_candidates.py FOLDER --json OUT.json

FOLDER has ``crs_test.jsonl``, ``crs_candidates.csv`` (6,281 titles of DBpedia),
``ievalm_valid.jsonl`` and ``items.csv``, all with ``.gz``. One row per turn and recommended title,
without titles that were mentioned before; all candidates are ranked but those mentioned before, and
equal scores rank in the middle. Methods learn from the dialogues of ``ievalm_valid``, a tenth of
which is validation: the published training dialogues are not needed.

A title "X (1985)" of ReDial is the candidate "X (1985 film)", else "X (film)", else "X"; of several
years, the one with most mentions is the candidate without a year. Mentioned before is a title that
an earlier turn recommends, or that the text names with its year. The entities of a row are not
read: they are those of the reply, so they contain the targets.

Intervals resample dialogues.
"""

import argparse
import gzip
import json
import re
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl
from environment import environment
from scipy import sparse

import warmstart as ws
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.data.splits.dialogue_split import DialogueSplit
from warmstart.data.splits.dialogues import dialogues_as_users
from warmstart.data.splits.part_codes import TRAIN, VALID
from warmstart.data.tasks import RankingTask
from warmstart.evaluation.significance import intervals
from warmstart.rank import rank_task

METRICS = [f"recall@{k}" for k in (1, 5, 10, 20)]
LONGEST = 16  # words of a title that is looked for in a text
MODELS = {
    "popular": ws.Popular,
    "text_search": ws.TextSearch,
    "co_mention": ws.CoMention,
    "nbcrs": ws.NBCRS,
    "rta, lm = none": lambda: ws.RTA(lm=None),
}


def json_lines(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def words(text):
    """Letters and digits in lower case, one word each."""
    return " ".join(re.findall(r"\w+", text.lower().replace("&", " and ")))


def parted(title):
    """The words of a title, and what stands in parentheses at its end."""
    found = re.fullmatch(r"(.+?)\s*\(([^()]*)\)\s*", title)
    return (words(found[1]), found[2].lower()) if found else (words(title), "")


def candidate_of_items(candidates, items):
    """Candidate id of each row of ``items`` that has one, by row."""
    dated, undated = {}, {}
    for candidate, title in candidates.select("item", "title").iter_rows():
        name, kind = parted(title)
        year = re.search(r"\b(?:19|20)\d\d\b", kind)
        if year and "film" in kind:
            dated.setdefault((name, year[0]), candidate)
        elif kind == "film" or (not kind and name not in undated):
            undated[name] = candidate
    found, taken = {}, set()
    by_mentions = np.argsort(-items["mentions"].fill_null(0).to_numpy(), kind="stable")
    for row in by_mentions.tolist():
        name, year = parted(items["title"][row] or "")
        candidate = dated.get((name, year))
        if candidate is None:
            candidate = undated.get(name)
            if candidate is None or candidate in taken:
                continue
        taken.add(candidate)
        found[row] = candidate
    return found


def named(text, candidate_of):
    """Candidates whose title the text names with its year, in their order."""
    said, found = words(text).split(), {}
    for end, word in enumerate(said):
        if re.fullmatch(r"(?:19|20)\d\d", word):
            spans = (" ".join(said[at : end + 1]) for at in range(max(0, end - LONGEST), end))
            found |= dict.fromkeys([candidate_of[s] for s in spans if s in candidate_of][:1])
    return list(found)


def training_dialogues(rows, candidate_of):
    """The dialogues of iEvaLM's rows: the turns before the last row, and its reply."""
    last = {row["dialog_id"]: row for row in rows}
    for dialogue, row in last.items():
        texts = [*row["context"], row["resp"]]
        yield {
            "dialogue": str(dialogue),
            "turns": [
                {"speaker": ("user", "system")[at % 2], "text": text,
                 "items": named(text, candidate_of)}
                for at, text in enumerate(texts) if text
            ],
        }  # fmt: skip


def test_task(rows, row_of, candidate_of):
    """The rows that are evaluated, and what became of the others."""
    recommended, texts, histories, targets, groups = {}, [], [], [], []
    repeated = {"recommended before": 0, "named in the text": 0}
    numbers = {}
    for row in rows:
        before = recommended.setdefault(row["dialog_id"], {})
        in_text = named(row["input"], candidate_of)
        mentioned = dict.fromkeys([*in_text, *before])
        text = re.sub(r"\nSystem:\s*$", "", row["input"]).strip()
        for target in row["rec"]:
            if target in mentioned:
                repeated["recommended before" if target in before else "named in the text"] += 1
                continue
            texts.append(text)
            histories.append([row_of[item] for item in mentioned])
            targets.append(row_of[target])
            groups.append(numbers.setdefault(row["dialog_id"], len(numbers)))
        before |= dict.fromkeys(row["rec"])
    n, n_items = len(targets), len(row_of)
    asked = Histories.from_lists(histories)
    relevance = sparse.csr_matrix((np.ones(n, bool), targets, np.arange(n + 1)), (n, n_items))
    task = RankingTask(
        "all",
        Queries.of_texts(texts, asked),
        np.arange(n_items, dtype=np.int32),
        relevance,
        sparse.csr_matrix(asked.matrix(n_items), dtype=bool),
        groups=np.array(groups, np.int32),
        ties="middle",
    )
    return task, repeated


def measured(model, task):
    """Each metric with its interval, every row with the same weight."""
    ranking = rank_task(model.score, task, 20)
    counts = np.bincount(task.groups).astype(float)
    sums = [np.bincount(task.groups, weights=ranking.per_query(name)) for name in METRICS]
    values = (np.array(sums) / counts).T
    found = intervals(values, np.repeat(counts[:, None], len(METRICS), axis=1))
    return {name: asdict(one) for name, one in zip(METRICS, found, strict=True)}


def linked_rightly(rows, candidate_of):
    """Of replies with one title and one target: whether the title is mapped to the target."""
    right = wrong = 0
    for row in rows:
        found = named(row["resp"], candidate_of)
        if len(row["rec"]) == 1 and len(found) == 1:
            right, wrong = right + (found == row["rec"]), wrong + (found != row["rec"])
    return {"right": right, "wrong": wrong}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=42, help="of the draw of validation dialogues")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    candidates = pl.read_csv(options.folder / "crs_candidates.csv.gz")
    items = pl.read_csv(options.folder / "items.csv.gz", infer_schema_length=None)
    candidate_of_row = candidate_of_items(candidates, items)
    candidate_of = {words(items["title"][row]): one for row, one in candidate_of_row.items()}
    first = {}
    for row, candidate in candidate_of_row.items():
        first.setdefault(candidate, row)
    records = []
    for candidate, title in candidates.select("item", "title").iter_rows():
        of = items.row(first[candidate], named=True) if candidate in first else {"title": title}
        records.append({"item": candidate, **{c: of.get(c) for c in ("title", "text", "genres")}})
    requests = json_lines(options.folder / "ievalm_valid.jsonl.gz")
    tests = json_lines(options.folder / "crs_test.jsonl.gz")
    spoken = list(training_dialogues(requests, candidate_of))
    frame = pl.DataFrame(records, infer_schema_length=None)
    columns = ["title", "text", "genres"]
    data = ws.from_frames(None, frame, dialogues=spoken, name="crs", text=columns)
    made = dialogues_as_users(data, data.dialogues)
    parts = np.full(len(data.dialogues), TRAIN, np.int8)
    held = np.random.default_rng(options.seed).permutation(len(parts))[: round(0.1 * len(parts))]
    parts[held] = VALID
    split = DialogueSplit(made, parts, {})
    item_at = made.catalogue.item_ids.take(np.arange(made.n_items, dtype=np.int32))
    row_of = {int(item): row for row, item in enumerate(item_at)}
    task, repeated = test_task(tests, row_of, candidate_of)

    titles = [words(title) for row in requests for title in row["rec"]]
    trained = {item for one in spoken for turn in one["turns"] for item in turn["items"]}
    targets = {int(item) for row in tests for item in row["rec"]}
    asked = task.relevance.indices.tolist()
    counts = {
        "candidates": len(records),
        "candidates with an item of ReDial": len(first),
        "of them with a text": sum(bool(r["text"]) for r in records),
        "distinct targets": len(targets),
        "distinct targets with an item of ReDial": len(targets & set(first)),
        "distinct targets that these dialogues mention": len(targets & trained),
        "training dialogues": int((parts == TRAIN).sum()),
        "validation dialogues": int((parts == VALID).sum()),
        "recommended titles of these": len(titles),
        "of them mapped": sum(title in candidate_of for title in titles),
        "test targets": sum(len(row["rec"]) for row in tests),
        "repeated": repeated,
        "rows": len(task.queries),
        "rows whose target has an item of ReDial": sum(item_at[t] in first for t in asked),
        "rows whose target these dialogues mention": sum(item_at[t] in trained for t in asked),
        "dialogues": int(task.groups.max()) + 1,
        "mentions before a row": round(float(task.queries.histories.lengths.mean()), 2),
        "titles in test replies": linked_rightly(tests, candidate_of),
    }
    print(json.dumps(counts, indent=1), flush=True)
    encoder, rows = ws.load_encoder(), []
    print("| scorer | " + " | ".join(METRICS) + " |\n|---|" + "---|" * len(METRICS))
    for name, make in MODELS.items():
        started = time.perf_counter()
        model = make().fit(split.train, valid=split.validation(), encoder=encoder)
        row = {"scorer": name, **measured(model, task)}
        row["seconds"] = round(time.perf_counter() - started, 1)
        rows.append(row)
        cells = ("{value:.3f} [{low:.3f}, {high:.3f}]".format(**row[metric]) for metric in METRICS)
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    if options.json:
        found = {"environment": environment(), "counts": counts, "rows": rows}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
