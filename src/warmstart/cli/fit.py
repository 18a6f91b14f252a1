"""``warmstart fit``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from warmstart.cli.inputs import load_models, read_data
from warmstart.cli.options import (
    CausalLMSource,
    Config,
    FitSeed,
    Json,
    Overrides,
    RunFolder,
    TextEncoderSource,
    example,
)
from warmstart.cli.output import (
    frame_table,
    print_line,
    print_table,
    progress,
    timings_of,
    write_json,
)

EXAMPLE = example(
    "warmstart fit splits/ml1m --method text_ridge --out models/ridge",
    "warmstart fit splits/ml1m --method filterllm[lightgcn] --set backbone.width=256 --out m",
    "warmstart fit my-shop --method filterllm --run runs/shop --out models/shop",
    "torchrun --nproc-per-node 2 -m -- warmstart fit my-shop --method filterllm --out models/shop",
)


def fit(
    data: Annotated[Path, Argument(metavar="SPLIT|DIR", help="a split, or a folder of data")],
    method: Annotated[str, Option("--method", help="NAME or NAME[BACKBONE]; see docs/methods")],
    out: Annotated[Path, Option("--out", help="folder for the model")],
    config: Config = None,
    overrides: Overrides = None,
    encoder: TextEncoderSource = None,
    lm: CausalLMSource = None,
    seed: FitSeed = 0,
    run: RunFolder = None,
    choose: Annotated[
        bool,
        Option(
            "--choose/--no-choose",
            help="on a folder: choose epochs and scales on an inner split first",
        ),
    ] = True,
    json: Json = None,
) -> None:
    """Fit a method and save it.

    On a split: learns from the training part and chooses epochs and scales on the validation part.

    On a folder of data, for production: fits twice. The first fit, on an inner split (of the
    dialogues if the method reads them, else time-cold if the interactions have times, else
    random-cold), chooses epochs and scales; the second learns
    from all interactions with these choices. --no-choose skips the first fit and uses the settings
    unchanged.

    A tuning may be shared by several processes, on one machine or more, started by torchrun. Each
    computes the same fit, and the first one saves it.
    """
    from warmstart.data.splits.base import Split
    from warmstart.experiment.choose_settings import choose_settings
    from warmstart.methods import build
    from warmstart.run import Run
    from warmstart.train.ranks import process_group

    name, settings = _method(method, config, overrides)
    model = build(name, settings)
    given = _flat(model.config.model_dump(mode="json"))
    with process_group() as is_first, progress() as bar:
        bar.stage(f"read {data}")
        source = read_data(data)
        models = load_models(model.needs, encoder, lm, bar.encoded)
        choosing, fitting = Run(run), Run(run)
        if isinstance(source, Split):
            dataset, protocol, valid = source.train, source.protocol, source.validation()
        else:
            dataset, protocol, valid = source, None, None
            if choose:
                model = build(
                    name, choose_settings(model, source, models=models, seed=seed, run=choosing)
                )
        model.fit(
            dataset, valid=valid, encoder=models.encoder, lm=models.causal, rng=seed, run=fitting
        )
        if not is_first:
            return
        model.save(out)
    seconds = {f"choose: {stage}": t for stage, t in choosing.seconds.items()} | fitting.seconds
    title = f"{model.name} on {dataset.name}: {sum(seconds.values()):.1f} s"
    print_table(frame_table(["stage", "seconds"], list(seconds.items()), title))
    for setting, value in _flat(model.chosen.model_dump(mode="json")).items():
        if value != given.get(setting):
            print_line(f"chosen on validation: {setting} = {value}")
    print_line(str(out))
    described = {"name": dataset.name, "hash": dataset.hash, "protocol": protocol}
    results = [{"method": model.name, "config": model.chosen.model_dump(mode="json")}]
    write_json(json, "fit", described, results, timings_of(model.name, seconds))


command = fit


def _method(
    text: str, config: Path | None, overrides: list[str] | None
) -> tuple[str, dict[str, Any]]:
    """Method name and settings; ``--method`` takes precedence over ``--set`` and ``--config``."""
    from warmstart.config import read_settings
    from warmstart.experiment.spec import parse_method

    short = parse_method(text)
    return short.method, short.with_settings(read_settings(config, overrides)).full_settings


def _flat(settings: Mapping[str, Any], table: str = "") -> dict[str, Any]:
    """Name nested settings as ``--set`` does: ``a.b``."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{table}{name}.")
        else:
            flat[table + name] = value
    return flat
