"""The requests of iEvaLM on ReDial as a split: the valid part trains, the test part tests.

    python benchmarks/redial_split.py FOLDER --out SPLIT

FOLDER has ``ievalm_valid.jsonl``, ``ievalm_test.jsonl`` and ``items.csv``, or with ``.gz``. The
training dialogues of the publication are not needed; a tenth of the dialogues of the valid part is
validation. Rows are a system turn and a title that it recommends and nobody mentioned before;
candidates are all recommended titles.
"""

import argparse
from pathlib import Path

from warmstart.data.readers.redial_requests import read_redial_requests
from warmstart.data.splits.dialogues import dialogues
from warmstart.data.splits.files import save_split


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=42, help="of the draw of validation dialogues")
    arguments = parser.parse_args()
    split = dialogues(read_redial_requests(arguments.folder), seed=arguments.seed)
    save_split(split, arguments.out)
    print(split.part_counts())


if __name__ == "__main__":
    main()
