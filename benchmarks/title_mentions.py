"""Precision and recall of recognised titles on ReDial, as iEvaLM published its requests.

    python benchmarks/title_mentions.py FOLDER

FOLDER has ``ievalm_valid.jsonl``, ``ievalm_test.jsonl`` and ``items.csv``, or with ``.gz``. The
truth is what the data say that the turns before a turn of the system mention. The second and third
column take the years out of what is said, and then the capitals. Last, the seconds for 100,000
made-up titles, and for a text.
"""

import argparse
import re
import time

import numpy as np

from warmstart.conversation.common_words import COMMON_WORDS
from warmstart.conversation.title_mentions import TitleMentions
from warmstart.data.readers.redial_requests import read_redial_requests
from warmstart.data.splits.dialogue_split import requests_of

_YEAR = re.compile(r"\s*\((?:18|19|20)\d\d\)")


def texts_and_items(dialogues, part):
    """The text before each turn of the system, and the items that it mentions."""
    asked = requests_of(dialogues, np.array([name == part for name in dialogues.parts]))
    texts = asked.queries.texts
    first = {(asked.dialogues[row], text): row for row, text in enumerate(texts)}
    rows = sorted(first.values())
    return [texts[row] for row in rows], [set(asked.queries.histories[row]) for row in rows]


def precision_and_recall(found, truth):
    hits = sum(len(set(items) & right) for items, right in zip(found, truth, strict=True))
    return hits / max(sum(map(len, found)), 1), hits / sum(map(len, truth))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    data = read_redial_requests(parser.parse_args().folder)
    mentions = TitleMentions(data.catalogue.names)
    for part in ("valid", "test"):
        said, truth = texts_and_items(data.dialogues, part)
        without_years = [_YEAR.sub("", text) for text in said]
        small = [text.lower() for text in without_years]
        for name, texts in (("as it is", said), ("no years", without_years), ("small", small)):
            found = mentions.find(texts)
            lists = [found[query].tolist() for query in range(len(found))]
            precision, recall = precision_and_recall(lists, truth)
            print(f"{part} {len(texts)} {name}: precision {precision:.3f}, recall {recall:.3f}")
    rng, words = np.random.default_rng(0), sorted(COMMON_WORDS)
    titles = [" ".join(rng.choice(words, rng.integers(1, 6))).title() for _ in range(100_000)]
    started = time.perf_counter()
    mentions = TitleMentions(titles)
    built = time.perf_counter()
    mentions.find(said[:1000])
    seconds = built - started, (time.perf_counter() - built) / 1000
    print(f"100,000 titles: {seconds[0]:.1f} s; a text: {seconds[1] * 1000:.2f} ms")


if __name__ == "__main__":
    main()
