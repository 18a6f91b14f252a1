"""``warmstart encode``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from typer import Argument, Option

from warmstart.cli.inputs import lm_settings, load_for_texts, read_data, read_new_items
from warmstart.cli.options import Json, RayAddress, RayWorkers, TextEncoderSource, example
from warmstart.cli.output import print_line, progress, timings_of, write_frame, write_json
from warmstart.errors import ConfigError, UnsupportedError

if TYPE_CHECKING:
    from warmstart.core import Recommender
    from warmstart.data.catalogue import Catalogue
    from warmstart.lm.encode import TextEncoder

EXAMPLE = example(
    "warmstart encode my-shop",
    "warmstart encode new.jsonl --model models/shop --out vectors.parquet",
    "warmstart encode my-shop --ray 10.0.0.1:6379",
)


def encode(
    source: Annotated[
        Path,
        Argument(
            metavar="DIR|SPLIT|ITEMS",
            help="a folder of data, a split, or with --model a csv, jsonl or parquet file of items",
        ),
    ],
    model: Annotated[
        Path | None,
        Option(
            "--model",
            help="saved model, whose encoder and, for a file of items, text columns are used",
        ),
    ] = None,
    encoder: TextEncoderSource = None,
    out: Annotated[
        Path | None,
        Option("--out", help="also write the vectors to this parquet file: item, vector"),
    ] = None,
    ray: RayAddress = None,
    workers: RayWorkers = None,
    json: Json = None,
) -> None:
    """Encode the texts of a catalogue into the cache, where fit, compare, add and simulate look.

    What is in the cache is not encoded again, so an interrupted command resumes.
    """
    if workers is not None and ray is None:
        raise ConfigError("--workers applies with --ray only")
    with progress() as bar:
        bar.stage(f"read {source}")
        loaded, lm = _encoder(model, encoder)
        catalogue = _catalogue(source, loaded)
        new = len(lm.missing(catalogue.texts))
        counts = {"items": len(catalogue), "distinct_texts": _distinct(catalogue), "new": new}
        bar.stage("encode {new} new of {distinct_texts} texts of {items} items".format(**counts))
        started = time.perf_counter()
        if ray is None:
            vectors = lm.encode(catalogue.texts, progress=bar.encoded)
        else:
            from warmstart.distributed.cluster import cluster
            from warmstart.distributed.encoding import encode_missing

            with cluster(ray, workers) as places:
                encode_missing(lm, catalogue.texts, places, bar.encoded)
            vectors = None if out is None else lm.encode(catalogue.texts)
        seconds = time.perf_counter() - started
        if out is not None and vectors is not None:
            write_frame(out, _frame(catalogue, vectors))
    print_line("{new} of {distinct_texts} texts encoded, in {s:.1f} s".format(**counts, s=seconds))
    if out is not None:
        print_line(str(out))
    described = {"name": source.name, "encoder": lm.spec}
    write_json(json, "encode", described, [counts], timings_of("encode", {"encode": seconds}))


command = encode


def _encoder(model: Path | None, source: str | None) -> "tuple[Recommender | None, TextEncoder]":
    """The encoder of a saved model, with the model, or that of ``--encoder``."""
    from warmstart.lm import LMConfig, load_encoder

    if model is None:
        return None, load_encoder(LMConfig.build(lm_settings(source)))
    loaded, encoder = load_for_texts(model, source, None)
    if encoder is None:
        raise UnsupportedError(f"{loaded.name} has no text encoder")
    return loaded, encoder


def _catalogue(source: Path, model: "Recommender | None") -> "Catalogue":
    from warmstart.data.splits.base import Split

    if source.is_file():
        if model is None:
            raise ConfigError(
                f"{source} is a file of items; give --model too, whose text columns it has, or a "
                "folder of data"
            )
        return read_new_items(source, model)
    data = read_data(source)
    return data.dataset.catalogue if isinstance(data, Split) else data.catalogue


def _distinct(catalogue: "Catalogue") -> int:
    return len({text for text in catalogue.texts if text.strip()})


def _frame(catalogue: "Catalogue", vectors: np.ndarray) -> Any:
    import polars as pl

    from warmstart.data.ids import id_column

    items = id_column(catalogue.item_ids, np.arange(len(catalogue)))
    return pl.DataFrame({"item": items, "vector": vectors})
