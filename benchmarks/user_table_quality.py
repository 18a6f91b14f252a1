"""Cold quality against the bytes that a table of users keeps for each user.

    python benchmarks/user_table_quality.py --data citeulike-a --parts citeulike-a/coldllm_split \
        --json OUT.json --plot OUT.svg
    python benchmarks/user_table_quality.py --data ml-1m --gamma 1 --max-width 512 \
        --json OUT.json --plot OUT.svg

The scores of the closed-form head (``simulate/ridge.py``, rbf) are approximated by tables of so
many bytes a user, with their padding and 2 bytes for a user's scale:

float32, float16, int8, 4, 2, 1 bit   low-rank rows (``simulate/low_rank.py``); 4 bits and fewer
    after a random rotation; 1 bit is read by a least-squares decoder
PQ          product quantisation of these rows by faiss (Jegou et al. 2011), 256 centroids a byte
items       numbers of items of the user's history, all or the few whose sum is nearest to that of
    all (``retrieval/fewer_items.py``). A new text x gets one number for each item,
    (K + l2 I)^-1 k(x), and a user's score is the sum over his items; "items, width" takes these
    numbers from the low-rank form instead

Columns: ndcg@20 of cold items of validation (choices) and test, as a share of the full width, with
the paired 95 % bootstrap interval over users of the difference on test; the share if the best 80
are re-scored exactly; the share of an item's exact best 50 users found among 50 and 200. Controls:
``content_knn``, SVD of the interactions without texts, and cold items with each other's texts.
Finished rows are kept in ``--cache``, so an interrupted run goes on; remove the folder after a
change of this file.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from environment import environment
from scipy import sparse
from scipy.sparse.linalg import svds

import warmstart as ws
from warmstart.backbones.ease import ridge_inverse
from warmstart.data.queries import Queries
from warmstart.evaluation.significance import paired_intervals
from warmstart.methods import build
from warmstart.rank import TableScorer, rank_task
from warmstart.retrieval.fewer_items import fewer_items
from warmstart.retrieval.history_table import HistoryTable
from warmstart.simulate.low_rank import low_rank_targets
from warmstart.simulate.ridge import RidgeConfig, rbf

METRIC, K, AUDIENCE = "ndcg@20", 20, 50
BYTES = (16, 32, 48, 64, 96, 128, 256, 512, 1024)


# -- quantised rows --


def few_bits(rows: np.ndarray, bits: int) -> np.ndarray:
    """Round to 2^bits levels with a step for each row, the best of 23."""
    levels = 2**bits
    norm = np.sqrt(np.square(rows).mean(axis=1, keepdims=True)) + 1e-12
    best, found = np.full(len(rows), np.inf), np.zeros_like(rows)
    for reach in (1,) if bits == 1 else np.linspace(1, 12, 23):
        step = 2 * reach * norm / levels
        if bits == 1:
            step = 2 * np.abs(rows).mean(axis=1, keepdims=True)
        places = np.clip(np.floor(rows / step), -levels // 2, levels // 2 - 1)
        rounded = (places + 0.5) * step
        error = np.square(rows - rounded).sum(axis=1)
        better = error < best
        best[better], found[better] = error[better], rounded[better]
    return found.astype(np.float32)


def rotation(width: int) -> np.ndarray:
    normal = np.random.default_rng(0).standard_normal((width, width))
    return np.linalg.qr(normal)[0].astype(np.float32)


def product_quantised(rows: np.ndarray, n_bytes: int) -> np.ndarray:
    import faiss

    rows = np.ascontiguousarray(rows)
    quantiser = faiss.ProductQuantizer(rows.shape[1], n_bytes, 8)
    quantiser.cp.niter, quantiser.cp.min_points_per_centroid = 10, 1
    quantiser.train(rows)
    return quantiser.decode(quantiser.compute_codes(rows))


class Study:
    """The fitted head of one data set and what the tables are made of."""

    def __init__(self, arguments):
        data = ws.read_dataset(arguments.data)
        parts = {"parts": arguments.parts} if arguments.parts else {}
        self.split = ws.split(data, "random-cold", **parts)
        self.train, self.lm = self.split.train, ws.load_encoder()
        self.config = RidgeConfig(gamma=arguments.gamma, l2=arguments.l2)
        self.max_width = arguments.max_width
        self.tasks = {part: self.split.tasks(part)["cold"] for part in ("valid", "test")}
        self.cold = np.unique(np.concatenate([t.candidates for t in self.tasks.values()]))
        self.histories = sparse.csr_matrix(self.train.matrix[:, self.train.warm], dtype=np.float32)
        key = f"{self.split.hash} {arguments.gamma} {arguments.l2} {self.max_width}"
        name = hashlib.sha256(key.encode()).hexdigest()[:16]
        self.folder = arguments.cache / f"{data.name}-{name}"
        self.folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Numbers of each warm item for the cold texts, and the low-rank form; kept on disk."""
        file = self.folder / "arrays.npz"
        if not file.exists():
            vectors, config = self.lm.encode(self.train.catalogue.texts), self.config
            warm = vectors[self.train.warm]
            inverse = ridge_inverse(rbf(warm, warm, config.gamma), config.l2)

            def smooth(targets):
                return targets - config.l2 * (inverse @ targets)

            targets, item_rows = low_rank_targets(
                smooth, self.histories.T.tocsr(), self.max_width, np.random.default_rng(0)
            )
            item_numbers = rbf(vectors[self.cold], warm, config.gamma) @ inverse
            weights = inverse @ targets
            leverage = 1 - config.l2 * np.diag(inverse)
            unseen = targets - config.l2 * weights / (1 - leverage)[:, None]
            np.savez(
                file,
                item_numbers=item_numbers,
                texts=item_numbers @ targets,
                spread=unseen.std(axis=0),  # of the texts' side, for items that were left out
                item_rows=item_rows,
            )
        return dict(np.load(file))

    @cached_property
    def exact(self) -> np.ndarray:
        """Full-width scores, float32, shape (cold items, users)."""
        return (self.histories @ self.arrays["item_numbers"].T).T

    @cached_property
    def rows(self) -> np.ndarray:
        """Low-rank rows in the metric of the scores: products of texts weigh all columns alike."""
        return self.histories @ (self.arrays["item_rows"] * self.arrays["spread"])

    @cached_property
    def texts(self) -> np.ndarray:
        return self.arrays["texts"] / self.arrays["spread"]

    def per_user(self, scores, part, depth=None):
        """The metric of each user; only the best ``depth`` are re-scored exactly if given."""
        task = self.tasks[part]
        place = np.searchsorted(self.cold, task.candidates)
        if depth is None:
            table = TableScorer(self.cold, scores)
            return rank_task(table.score, task, K).per_query(METRIC)
        found = scores[place][:, task.users].T
        found[task.masked[:, task.candidates].nonzero()] = -np.inf
        depth = min(depth, found.shape[1] - 1)
        best = np.argpartition(-found, depth, axis=1)[:, :depth]
        exact = np.full_like(found, np.nan)
        true = self.exact[place][:, task.users].T
        np.put_along_axis(exact, best, np.take_along_axis(true, best, 1), 1)
        numbered = replace(task, queries=Queries.of_users(np.arange(len(found), dtype=np.int32)))
        table = TableScorer(task.candidates, exact.T)
        return rank_task(table.score, numbered, K).per_query(METRIC)

    def audience_recall(self, scores, k):
        """Share of the exact best users of each cold item of validation that are among k."""
        place = np.searchsorted(self.cold, np.unique(self.tasks["valid"].relevance.indices))
        best = [np.argpartition(-s[place], n, axis=1)[:, :n] for s, n in
                ((self.exact, AUDIENCE), (scores, k))]  # fmt: skip
        return np.mean([len(np.intersect1d(a, b)) for a, b in zip(*best, strict=True)]) / AUDIENCE

    # -- the tables: (name, bytes, mean bytes, function that gives scores of cold items x users) --

    def tables(self) -> Iterator[tuple[str, int, float, Callable[[], np.ndarray]]]:
        most_width = self.rows.shape[1]  # the low-rank form leaves out directions without weight
        for n_bytes in (*BYTES, 2048, 4096):
            for kind, bits in (("float32", 32), ("float16", 16), ("int8", 8), ("4 bit", 4),
                               ("2 bit", 2), ("1 bit", 1)):  # fmt: skip
                width = (n_bytes - (2 if bits < 16 else 0)) * 8 // bits
                if width <= most_width:
                    score = partial(self.quantised, bits, width)
                    yield f"{kind}, width {width}", n_bytes, n_bytes, score
            width = 8 * (n_bytes - 2)
            if width <= most_width:
                yield f"PQ, width {width}", n_bytes, n_bytes, partial(self.by_pq, width)
            size = 2 if self.histories.shape[1] <= 2**16 else 3
            most, lengths = (n_bytes - 2) // size, np.diff(self.histories.indptr)
            if n_bytes <= 512:
                mean = 2 + size * np.minimum(lengths, most).mean()
                for width in (None, 16, 64):
                    name = "items" if width is None else f"items, width {width}"
                    yield name, n_bytes, mean, partial(self.by_items, most, width)

    def quantised(self, bits, width):
        rows, texts = self.rows[:, :width], self.texts[:, :width]
        if bits == 32:
            return texts @ rows.T
        if bits == 16:
            return texts @ rows.astype(np.float16).astype(np.float32).T
        norm = np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12
        if bits > 4:
            return texts @ few_bits(rows, bits).T
        turn = rotation(width)
        if bits > 1:
            return (texts @ turn) @ few_bits(rows @ turn, bits).T
        damped = self.arrays["spread"][:width] ** -0.3
        signs = np.where((rows * damped) @ turn > 0, np.float32(1), np.float32(-1))
        gram = signs.T @ signs + 30 * np.eye(width, dtype=np.float32)
        decoder = np.linalg.solve(gram, signs.T @ (self.rows / norm))
        return (self.texts @ decoder.T) @ (signs * norm).T

    def by_pq(self, width):
        rows = self.rows[:, :width]
        norm = np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12
        return self.texts[:, :width] @ (product_quantised(rows / norm, width // 8) * norm).T

    def by_items(self, most, width):
        rows = self.arrays["item_rows"][:, :width] * self.arrays["spread"][:width]
        table = HistoryTable(*fewer_items(self.histories, rows, most), rows)
        numbers = self.arrays["item_numbers"]
        if width is not None:
            numbers = self.arrays["texts"][:, :width] @ self.arrays["item_rows"][:, :width].T
        return (table.matrix() @ numbers.T).T

    def controls(self) -> Iterator[tuple[str, float, float, Callable[[], np.ndarray]]]:
        """What stands beside the tables; bytes are those of the uncut history or 0."""
        for n_largest in (30, 100, 300, 1000):
            yield f"items uncut, {n_largest} largest numbers", 0, 0, partial(self.cut, n_largest)
        order = np.random.default_rng(0).permutation(len(self.cold))
        yield "control: texts permuted among cold items", 0, 0, lambda: self.exact[order]
        yield "content_knn", 0, 0, self.content_knn
        yield "SVD of interactions, width 256", 1024, 1024, partial(self.svd, 256)

    def cut(self, n_largest):
        numbers = self.arrays["item_numbers"]
        n_largest = min(n_largest, numbers.shape[1] - 1)
        bound = -np.partition(-np.abs(numbers), n_largest, axis=1)[:, n_largest, None]
        return (self.histories @ np.where(np.abs(numbers) > bound, numbers, 0).T).T

    def content_knn(self):
        model = build("content_knn", {}).fit(self.train, encoder=self.lm)
        users = np.arange(self.train.n_users, dtype=np.int32)
        return np.ascontiguousarray(model.score(Queries.of_users(users), self.cold).T)

    def svd(self, width):
        interactions = self.histories.T.tocsr()
        users = svds(interactions, width, random_state=0)[2]
        return self.arrays["item_numbers"] @ (interactions @ users.T) @ users

    def measured(self, name, n_bytes, mean, score, full):
        file = self.folder / (hashlib.sha256(f"{name} {n_bytes}".encode()).hexdigest() + ".json")
        if file.exists():
            return json.loads(file.read_text())
        started = time.perf_counter()
        scores = np.ascontiguousarray(score(), dtype=np.float32)
        row = {"name": name, "bytes": n_bytes, "mean_bytes": float(mean)}
        for part in ("valid", "test"):
            values, whole = self.per_user(scores, part), full[part]
            row[part] = values.mean()
            row[f"{part}_share"] = values.mean() / whole.mean()
        rescored = self.per_user(scores, "valid", 4 * K).mean()
        row["rescored_share"] = rescored / full["valid"].mean()
        row["test_difference"] = asdict(paired_intervals(values[:, None], whole[:, None])[0])
        for k in (AUDIENCE, 4 * AUDIENCE):
            row[f"audience_in_{k}"] = self.audience_recall(scores, k)
        row["seconds"] = time.perf_counter() - started
        file.write_text(json.dumps(row, default=float))
        return json.loads(file.read_text())


def plot(rows, full, file, title):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="tight")
    axes = figure.subplots()
    for kind in ("float32", "float16", "int8", "4 bit", "2 bit", "1 bit", "PQ", "items",
                 "items, width 64"):  # fmt: skip
        own = [r for r in rows if kind in (r["name"], r["name"].split(", ")[0])]
        if kind == "items":
            own = [r for r in own if r["name"] == "items"]
        if kind == "items, width 64":
            own = [r for r in rows if r["name"] == kind]
        line = {"marker": "o", "markersize": 3, "linewidth": 2 if "items" in kind else 1}
        axes.plot([r["bytes"] for r in own], [r["valid"] for r in own], label=kind, **line)
    axes.axhline(full, color="grey", linewidth=1)
    axes.axhline(0.97 * full, color="grey", linewidth=1, linestyle=":", label="97 % of full width")
    axes.set(xscale="log", xlabel="bytes a user", ylabel=f"cold {METRIC}, validation", title=title)
    sizes = (*BYTES, 2048, 4096)
    axes.set_xticks(sizes, [str(n) for n in sizes])
    axes.minorticks_off()
    axes.legend(fontsize=8)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of a data set")
    parser.add_argument("--parts", help="folder of a published random-cold split")
    parser.add_argument("--gamma", type=float, default=0.5)
    parser.add_argument("--l2", type=float, default=3.0)
    parser.add_argument("--max-width", type=int, default=1024)
    parser.add_argument("--cache", type=Path, default=Path("user-table-quality"))
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    study, rows = Study(arguments), []
    full = {part: study.per_user(study.exact, part) for part in ("valid", "test")}
    lengths = np.diff(study.histories.indptr)
    print(f"full width: {full['valid'].mean():.4f} validation, {full['test'].mean():.4f} test")
    for name, n_bytes, mean, score in (*study.controls(), *study.tables()):
        row = study.measured(name, n_bytes, mean, score, full)
        rows.append(row)
        low, high = (row["test_difference"][end] for end in ("low", "high"))
        print(
            f"{n_bytes:5} B {name:40} {row['valid']:.4f} {row['valid_share']:.3f} re-scored "
            f"{row['rescored_share']:.3f}; test {row['test_share']:.3f} [{low:+.4f}, {high:+.4f}]; "
            f"users {row['audience_in_50']:.3f} {row['audience_in_200']:.3f}",
            flush=True,
        )
    result = {
        "data": study.train.name,
        "split": study.split.hash,
        "ridge": study.config.model_dump(),
        "full": {part: values.mean() for part, values in full.items()},
        "history": {"mean": lengths.mean(), "longest": int(lengths.max())},
        "environment": environment(),
        "rows": rows,
    }
    arguments.json.write_text(json.dumps(result, indent=1, default=float) + "\n")
    if arguments.plot:
        title = f"{study.train.name}, {study.train.n_users:,} users"
        plot(rows, full["valid"].mean(), arguments.plot, title)


if __name__ == "__main__":
    main()
