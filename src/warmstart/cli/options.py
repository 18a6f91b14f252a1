"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option


def example(*lines: str) -> str:
    """The example at the end of a command's help; the mark keeps its line breaks."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])


ModelFolder = Annotated[Path, Argument(metavar="MODEL", help="what fit wrote")]
SplitFolder = Annotated[Path, Argument(metavar="SPLIT", help="what split wrote")]
NewItems = Annotated[
    Path,
    Option("--items", help="csv, jsonl or parquet with the column item and the text columns"),
]
LM = Annotated[
    str | None,
    Option(
        "--lm",
        help="language model: default, package:NAME, hub:ORG/NAME, a folder, or a .toml file with "
        "the settings of warmstart.lm.LMConfig",
    ),
]
Masks = Annotated[
    list[str] | None,
    Option(
        "--mask",
        help="all: every known positive is left out of the ranking; train: training positives "
        "only. Given twice: both tables  [default: all]",
    ),
]
StoreUrl = Annotated[
    str | None,
    Option(
        "--store",
        help="sqlite:///FILE or postgresql://...  [default: WARMSTART_STORE, else warmstart.db]",
    ),
]
Json = Annotated[Path | None, Option("--json", help="write the results as one JSON object")]
Html = Annotated[Path | None, Option("--report", help="write an HTML report that opens offline")]
FitSeed = Annotated[int, Option("--seed", help="of all randomness", min=0)]
Seed = Annotated[int | None, Option("--seed", help="the first training seed", min=0)]
RunFolder = Annotated[
    Path | None,
    Option("--run", help="folder for checkpoints: an interrupted command goes on where it was"),
]
Config = Annotated[Path | None, Option("--config", help="TOML file with settings")]
Overrides = Annotated[
    list[str] | None,
    Option("--set", help="one setting, such as backbone.kind=lightgcn; may be repeated"),
]

Methods = Annotated[
    list[str] | None,
    Option(
        "--methods",
        help="a,b,c: each NAME or NAME[BACKBONE], with settings NAME:key=value;key=value",
    ),
]
Seeds = Annotated[
    int | None,
    Option("--seeds", help="how many training seeds; a method without randomness runs once"),
]
Against = Annotated[
    str | None, Option("--against", help="the method that the others are compared with")
]
Controls = Annotated[
    bool,
    Option(
        "--controls", help="add the oracle, blind audiences, permuted texts, popularity and chance"
    ),
]
Isolate = Annotated[
    bool,
    Option(
        "--isolate",
        help="each fit in a process of its own, so that its peak memory is its own; else it is "
        "the highest of the process so far",
    ),
]
NoCache = Annotated[
    bool,
    Option(
        "--no-cache",
        help="every method encodes the texts anew, so that its seconds stand alone; else only "
        "the first one pays",
    ),
]
