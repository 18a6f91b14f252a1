"""Rebuild the sequences of amazon-office-minionerec from its samples, as a data set of its own.

    python benchmarks/office_sequences.py DATA/amazon-office-minionerec OUT

The training file of that set is not public; its published samples are pairs of a history, at most
the ten items before, and the next item. Samples of a user overlap, so that they give back the
user's sequence, as far as some sample reaches. Prints how many users, items and interactions.
"""

import shutil
from pathlib import Path

import polars as pl
import typer


def main(source: Path, out: Path) -> None:
    """Write OUT: interactions with positions, and the items and settings of SOURCE."""
    samples = pl.read_csv(source / "samples.csv.gz", schema_overrides={"history": pl.String})
    sequences: dict[str, list[str]] = {}
    for _, user, history, item in samples.iter_rows():  # "valid" come before "test", oldest first
        window = [*history.split(), str(item)]
        sequences[user] = _joined(sequences.get(user, []), window)
    rows = [
        (user, item, position)
        for user, items in sequences.items()
        for position, item in enumerate(items)
    ]
    out.mkdir(parents=True, exist_ok=True)
    found = pl.DataFrame(rows, schema=["user", "item", "position"], orient="row")
    with (out / "interactions.csv").open("wb") as file:
        found.write_csv(file)
    for name in ("items.csv.gz", "dataset.toml"):
        shutil.copy(source / name, out / name)
    print(f"{len(sequences)} users, {found['item'].n_unique()} items, {len(found)} interactions")


def _joined(sequence: list[str], window: list[str]) -> list[str]:
    """Append a window to a sequence at their longest overlap; one within it adds nothing."""
    size = len(window)
    if any(sequence[at : at + size] == window for at in range(len(sequence) - size + 1)):
        return sequence
    for overlap in range(min(len(sequence), size), 0, -1):
        if sequence[-overlap:] == window[:overlap]:
            return sequence + window[overlap:]
    return sequence + window


if __name__ == "__main__":
    typer.run(main)
