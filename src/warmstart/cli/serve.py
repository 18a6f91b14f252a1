"""``warmstart serve``."""

from pathlib import Path
from typing import Annotated

from typer import Exit, Option

from warmstart.cli.options import CausalLMSource, ModelFolder, StoreUrl, TextEncoderSource, example
from warmstart.cli.output import print_problem

EXAMPLE = example(
    "warmstart keys create --name shop --scope backend --store sqlite:///shop.db",
    "warmstart serve models/shop --store sqlite:///shop.db --port 8000",
)


def serve(
    model: ModelFolder,
    store: StoreUrl = None,
    host: Annotated[str | None, Option("--host", help="address to listen on")] = None,
    port: Annotated[int | None, Option("--port", help="port to listen on")] = None,
    workers: Annotated[
        int | None, Option("--workers", help="number of processes that answer requests")
    ] = None,
    models_folder: Annotated[
        Path | None,
        Option("--models-folder", help="models may be swapped in from this folder and below"),
    ] = None,
    encoder: TextEncoderSource = None,
    lm: CausalLMSource = None,
) -> None:
    """Serve a model: REST API, console, durable store. All settings: docs/serving/settings.md."""
    from warmstart.serve.main import AddressError, run
    from warmstart.serve.settings import Settings

    given = {
        "store": store,
        "host": host,
        "port": port,
        "workers": workers,
        "models_folder": models_folder,
        "encoder": encoder,
        "lm": lm,
    }
    try:
        run(Settings.read(model=model, **given))
    except AddressError as error:  # not bad input (2): the same command may work later
        print_problem(str(error))
        raise Exit(1) from None


command = serve
