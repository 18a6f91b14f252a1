"""Arguments and options that several commands share, and the examples in their help."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from warmstart.errors import ConfigError


def example(*lines: str) -> str:
    r"""The example at the end of a command's help; the leading \b keeps its line breaks."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])


def _check_suffix(out: Path | None) -> Path | None:
    if out is not None and out.suffix not in ("", ".csv", ".jsonl", ".parquet"):
        raise ConfigError(f"--out {str(out)!r}; allowed: a file named .csv, .jsonl or .parquet")
    return out


ModelFolder = Annotated[Path, Argument(metavar="MODEL", help="folder written by fit")]
SplitFolder = Annotated[Path, Argument(metavar="SPLIT", help="folder written by split")]
NewItems = Annotated[
    Path,
    Option("--items", help="csv, jsonl or parquet file with a column item and the text columns"),
]
_SOURCES = "default, package:NAME, hub:ORG/NAME, a folder, a GGUF file, or a .toml file with the "
TextEncoderSource = Annotated[
    str | None,
    Option("--encoder", help=f"text encoder: {_SOURCES}settings of warmstart.lm.LMConfig"),
]
CausalLMSource = Annotated[
    str | None,
    Option("--lm", help=f"causal LM: {_SOURCES}settings of warmstart.lm.CausalLMConfig"),
]
Masks = Annotated[
    list[str] | None,
    Option(
        "--mask",
        help="positives of a user to leave out of the ranking. all: every known one; train: those "
        "of the training part; none. Repeat the option for several tables  [default: the first "
        "that the protocol knows]",
    ),
]
ListControl = Annotated[
    str | None,
    Option(
        "--control",
        help="what every list should be like: n_genres=5, genres=Comedy,Drama, calibrate=true or "
        "diversity=0.3; with first_genre_only=true after a semicolon, as DLCRec counts genres",
    ),
]
StoreUrl = Annotated[
    str | None,
    Option(
        "--store",
        help="sqlite:///FILE or postgresql://...  [default: WARMSTART_STORE, else warmstart.db]",
    ),
]
TableOut = Annotated[
    Path | None,
    Option(
        "--out",
        help="csv, jsonl or parquet file for the result, instead of printing it",
        callback=_check_suffix,
    ),
]
Json = Annotated[Path | None, Option("--json", help="write the results as one JSON object")]
Html = Annotated[Path | None, Option("--report", help="write an HTML report that opens offline")]
FitSeed = Annotated[int, Option("--seed", help="seed of all randomness", min=0)]
Seed = Annotated[int | None, Option("--seed", help="the first training seed", min=0)]
RunFolder = Annotated[
    Path | None,
    Option("--run", help="folder for checkpoints: an interrupted command resumes from there"),
]
RayAddress = Annotated[
    str | None,
    Option(
        "--ray",
        metavar="ADDRESS|local",
        help="share the work among the machines of a Ray cluster, given as HOST:PORT, of which "
        "this machine is a part; local starts Ray on this machine alone",
    ),
]
RayDivision = Annotated[
    Literal["items", "users"] | None,
    Option(
        "--by",
        help="with --ray: what is divided among the workers. items: each holds the whole model; "
        "users: each holds some users, for models that no machine can hold, of methods whose users "
        "are rows of a table  [default: items]",
    ),
]
RayWorkers = Annotated[
    int | None,
    Option(
        "--workers",
        min=1,
        help="with --ray: workers on all machines together  [default: one for each GPU, or else "
        "for every four cores]",
    ),
]
IndexFolder = Annotated[
    Path | None,
    Option(
        "--approximate",
        metavar="FOLDER",
        help="search the users approximately, by an index in this folder, which the first command "
        "builds (extra ann), and print the share of the exact users that it finds; for methods "
        "whose users are vectors in a table and whose weights are scores",
    ),
]
Probes = Annotated[
    int | None,
    Option(
        "--probes",
        min=1,
        help="with --approximate: lists of the index that each item reads; more find more and take "
        "longer  [default: one in 8]",
    ),
]
Config = Annotated[Path | None, Option("--config", help="TOML file with settings")]
Overrides = Annotated[
    list[str] | None,
    Option("--set", help="one setting, such as backbone.kind=lightgcn; repeatable"),
]

Methods = Annotated[
    list[str] | None,
    Option(
        "--methods",
        help="comma-separated; each is NAME or NAME[BACKBONE], with settings "
        "NAME:key=value;key=value",
    ),
]
Seeds = Annotated[
    int | None,
    Option("--seeds", help="number of training seeds; a method without randomness runs once"),
]
Against = Annotated[
    str | None, Option("--against", help="baseline: the method that the others are compared with")
]
Controls = Annotated[
    bool,
    Option(
        "--controls",
        help="add control rows: oracle, blind audiences, permuted texts, popular, random",
    ),
]
Isolate = Annotated[
    bool,
    Option(
        "--isolate",
        help="run each fit in a separate process, so that its peak memory is measured alone; "
        "otherwise it is the highest of the process so far",
    ),
]
NoCache = Annotated[
    bool,
    Option(
        "--no-cache",
        help="let every method encode the texts again, so that its seconds include it; otherwise "
        "only the first method pays for encoding",
    ),
]
