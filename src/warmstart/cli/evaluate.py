"""``warmstart evaluate``."""

from typing import TYPE_CHECKING

from warmstart.cli.inputs import load_saved, read_control
from warmstart.cli.options import (
    CausalLMSource,
    Html,
    Json,
    ListControl,
    Masks,
    ModelFolder,
    SplitFolder,
    TextEncoderSource,
    example,
)
from warmstart.cli.output import print_table, progress
from warmstart.cli.tables import check_masks, write_comparisons
from warmstart.data.splits.files import load_split

if TYPE_CHECKING:
    from warmstart.data.splits.base import Mask
    from warmstart.evaluation.comparison import Comparison

EXAMPLE = example(
    "warmstart evaluate models/ridge splits/ml1m",
    "warmstart evaluate models/ridge splits/ml1m --mask all --mask train --json ridge.json",
)


def evaluate(
    model: ModelFolder,
    split: SplitFolder,
    mask: Masks = None,
    control: ListControl = None,
    encoder: TextEncoderSource = None,
    lm: CausalLMSource = None,
    json: Json = None,
    report: Html = None,
) -> None:
    """Answer every test task of a split: rank all candidates, or predict labels."""
    from warmstart.evaluation.compare import compare
    from warmstart.evaluation.evaluate import evaluate as measure

    masks = check_masks(mask)
    tables: dict[Mask, Comparison] = {}
    with progress() as bar:
        bar.stage(f"load {model}")
        loaded = load_saved(model, encoder, lm)
        parts = load_split(split)
        wish = read_control(control)
        for name in masks or parts.masks[:1]:
            result = measure(loaded, parts, mask=name, control=wish, progress=bar.ranked)
            tables[name] = compare([result], command="evaluate")
    for table in tables.values():
        print_table(table.table())
    write_comparisons(tables, json, report)


command = evaluate
