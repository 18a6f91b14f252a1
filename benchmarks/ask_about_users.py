"""What a_llmrec says of users: their most frequent value of a column, by likelihood of its names.

    python benchmarks/ask_about_users.py MODEL --column brand \
        --question "The brand that this customer likes most is:" --json OUT

The paper shows chosen examples of such answers; this counts. Takes the most frequent values of the
column, and users whose history has one of them more often than any other value. Rows, each as
likelihoods and with the mean over users taken off, since an LM prefers some names to others:

- the majority answer;
- the model; with the states and vectors of no user (texts alone); with the answers of other users.
"""

import json as jsonlib
from pathlib import Path

import numpy as np
import typer
from environment import environment

from warmstart.data.queries import Queries
from warmstart.evaluation.significance import intervals, paired_intervals
from warmstart.lm import CausalLMConfig, LMConfig, load_causal_lm, load_encoder
from warmstart.methods import load_model
from warmstart.methods.a_llmrec import ALLMRec
from warmstart.sampling import evenly_spaced


def main(
    model: Path,
    column: str = "brand",
    question: str = "The brand that this customer likes most is:",
    answers: int = 20,
    users: int = 500,
    encoder: str = "default",
    lm: str = "default",
    json: Path | None = None,
) -> None:
    """Print the table and write OUT."""
    loaded = load_model(
        model,
        encoder=load_encoder(LMConfig(source=encoder)),
        lm=load_causal_lm(CausalLMConfig(source=lm)),
    )
    assert isinstance(loaded, ALLMRec)
    fitted = loaded.fitted
    attribute = fitted.catalogue.attribute(column)
    counts = np.stack([attribute.matrix[history].sum(axis=0).A1 for history in fitted.histories])
    names = np.argsort(-np.asarray(attribute.matrix.sum(axis=0)).ravel())[:answers]
    asked = np.sort(counts, axis=1)
    clear = (asked[:, -1] > asked[:, -2]) & np.isin(counts.argmax(axis=1), names)
    rows = np.flatnonzero(clear)[evenly_spaced(int(clear.sum()), users)]
    true = np.argmax(names == counts[rows].argmax(axis=1)[:, None], axis=1)
    texts = [attribute.values[name] for name in names]
    queries = Queries.of_users(rows)
    with_vectors = loaded.text_likelihoods(queries, question, texts)
    loaded._prompted.network.item_projector[-1].weight.data.zero_()
    loaded._prompted.network.user_projector[-1].weight.data.zero_()
    alone = loaded.text_likelihoods(queries, question, texts)
    majority = np.bincount(true, minlength=len(texts)).argmax()
    hits = {"majority": true == majority}
    for label, found in {"model": with_vectors, "texts alone": alone}.items():
        hits[label] = found.argmax(axis=1) == true
        hits[f"{label}, less the mean"] = (found - found.mean(axis=0)).argmax(axis=1) == true
    order = np.random.default_rng(0).permutation(len(rows))
    hits["answers of other users"] = with_vectors[order].argmax(axis=1) == true
    values = np.stack(list(hits.values()), axis=1).astype(np.float64)
    gains = paired_intervals(values, np.broadcast_to(values[:, :1], values.shape))
    table = {
        label: {
            "accuracy": [own.value, own.low, own.high],
            "difference from the majority": [gain.value, gain.low, gain.high],
        }
        for label, own, gain in zip(hits, intervals(values), gains, strict=True)
    }
    for label, row in table.items():
        print(label, row)
    if json is not None:
        found = {"environment": environment(), "users": len(rows), "answers": texts, "rows": table}
        json.write_text(jsonlib.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
