"""``warmstart compare``."""

from typing import Annotated

from typer import Option

from warmstart.cli.inputs import lm_settings
from warmstart.cli.options import (
    LM,
    Config,
    Html,
    Json,
    Masks,
    RunFolder,
    Seed,
    SplitFolder,
    example,
)
from warmstart.cli.output import progress, show
from warmstart.cli.tables import (
    check_masks,
    cost_table,
    difference_table,
    write_comparisons,
)

EXAMPLE = example(
    "warmstart compare splits/ml1m --methods popular,content_knn,text_ridge,ease_text",
    "warmstart compare splits/ml1m --methods 'text_ridge,filterllm[lightgcn],cf_only[ials]' \\",
    "    --against text_ridge --seeds 3 --mask all --mask train --controls --run runs/ml1m",
    "warmstart compare splits/ml1m --methods 'text_ridge:kernel=linear;l2=30'",
    "warmstart compare splits/ml1m --config experiments/all.toml --report ml1m.html",
)


def compare(
    split: SplitFolder,
    methods: Annotated[
        list[str] | None,
        Option(
            "--methods",
            help="a,b,c: each NAME or NAME[BACKBONE], with settings NAME:key=value;key=value",
        ),
    ] = None,
    config: Config = None,
    lm: LM = None,
    seed: Seed = None,
    seeds: Annotated[
        int | None,
        Option("--seeds", help="how many training seeds; a method without randomness runs once"),
    ] = None,
    mask: Masks = None,
    against: Annotated[
        str | None, Option("--against", help="the method that the others are compared with")
    ] = None,
    controls: Annotated[
        bool,
        Option(
            "--controls",
            help="add the oracle, blind audiences, permuted texts, popularity and chance",
        ),
    ] = False,
    run: RunFolder = None,
    isolate: Annotated[
        bool,
        Option(
            "--isolate",
            help="each fit in a process of its own, so that its peak memory is its own; else it is "
            "the highest of the process so far",
        ),
    ] = False,
    no_cache: Annotated[
        bool,
        Option(
            "--no-cache",
            help="every method encodes the texts anew, so that its seconds stand alone; else only "
            "the first one pays",
        ),
    ] = False,
    json: Json = None,
    report: Html = None,
) -> None:
    """Fit and evaluate several methods on one split; one table a mask.

    The methods come from --methods, from the [[method]] tables of --config, or from both; options
    override the file. Every fit chooses on the validation part and is measured on the test part.
    """
    from warmstart.data.split import Split
    from warmstart.experiment.runner import run_experiment
    from warmstart.experiment.spec import read_experiment

    experiment = read_experiment(
        config,
        methods or (),
        seed=seed,
        seeds=seeds,
        masks=check_masks(mask) if mask else None,
        against=against,
        controls=controls or None,
        lm=lm_settings(lm) or None,
    )
    if report is not None:
        from warmstart.evaluate.report import check_packages

        check_packages()
    with progress() as bar:
        bar.stage(f"read {split}")
        parts = Split.load(split)
        tables = run_experiment(
            experiment,
            parts,
            folder=run,
            isolate=isolate,
            use_cache=not no_cache,
            progress=bar.ranked,
        )
    for table in tables.values():
        show(table.table())
        if table.differences:
            show(difference_table(table))
    show(cost_table(next(iter(tables.values()))))
    write_comparisons(tables, json, report)


command = compare
