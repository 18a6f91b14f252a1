"""``warmstart compare``."""

from warmstart.cli.inputs import lm_settings, read_control
from warmstart.cli.options import (
    Against,
    CausalLMSource,
    Config,
    Controls,
    Html,
    Isolate,
    Json,
    ListControl,
    Masks,
    Methods,
    NoCache,
    RunFolder,
    Seed,
    Seeds,
    SplitFolder,
    TextEncoderSource,
    example,
)
from warmstart.cli.output import print_table, progress
from warmstart.cli.tables import check_masks, cost_table, difference_table, write_comparisons
from warmstart.data.splits.files import load_split

EXAMPLE = example(
    "warmstart compare splits/ml1m --methods popular,content_knn,text_ridge,ease_text",
    "warmstart compare splits/ml1m --methods 'text_ridge,filterllm[lightgcn],cf_only[ials]' \\",
    "    --against text_ridge --seeds 3 --mask all --mask train --controls --run runs/ml1m",
    "warmstart compare splits/ml1m --methods 'text_ridge:kernel=linear;l2=30'",
    "warmstart compare splits/ml1m --config experiments/all.toml --report ml1m.html",
    "warmstart compare splits/next --methods popular,markov,item_knn --control n_genres=5",
)


def compare(
    split: SplitFolder,
    methods: Methods = None,
    config: Config = None,
    encoder: TextEncoderSource = None,
    lm: CausalLMSource = None,
    seed: Seed = None,
    seeds: Seeds = None,
    mask: Masks = None,
    control: ListControl = None,
    against: Against = None,
    controls: Controls = False,
    run: RunFolder = None,
    isolate: Isolate = False,
    no_cache: NoCache = False,
    json: Json = None,
    report: Html = None,
) -> None:
    """Fit and evaluate several methods on one split; prints one table per mask.

    The methods come from --methods, from the [[method]] tables of --config, or from both; options
    override the file. Each fit makes its choices on the validation part; the numbers are those of
    the test part.
    """
    from warmstart.experiment.runner import run_experiment
    from warmstart.experiment.spec import read_experiment

    experiment = read_experiment(
        config,
        methods or (),
        seed=seed,
        seeds=seeds,
        masks=check_masks(mask) if mask else None,
        against=against,
        control=read_control(control),
        controls=controls or None,
        encoder=lm_settings(encoder) or None,
        lm=lm_settings(lm) or None,
    )
    if report is not None:
        from warmstart.evaluation.html_report import check_packages

        check_packages()
    with progress() as bar:
        bar.stage(f"read {split}")
        parts = load_split(split)
        tables = run_experiment(
            experiment,
            parts,
            folder=run,
            isolate=isolate,
            use_cache=not no_cache,
            progress=bar.ranked,
        )
    for table in tables.values():
        print_table(table.table())
        if table.differences:
            print_table(difference_table(table))
    print_table(cost_table(next(iter(tables.values()))))
    write_comparisons(tables, json, report)


command = compare
