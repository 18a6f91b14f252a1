"""Recommend items nobody has clicked yet.

    import warmstart as ws

    data = ws.read_dataset("my-shop")                  # interactions and item texts
    model = ws.EaseText().fit(data, lm=ws.load_lm())
    model.add_items("new-items.csv")                   # recommendable from here on
    model.recommend(["u42"], k=10)

Names below are loaded when first used: importing this package imports neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    # "as" marks a name as public for type checkers.
    from warmstart.config import Config as Config
    from warmstart.core import AddsItems as AddsItems
    from warmstart.core import Recommender as Recommender
    from warmstart.core import Simulates as Simulates
    from warmstart.core import Traits as Traits
    from warmstart.data.catalogue import Catalogue as Catalogue
    from warmstart.data.dataset import Dataset as Dataset
    from warmstart.data.files import read_dataset as read_dataset
    from warmstart.data.files import read_items as read_items
    from warmstart.data.files import write_dataset as write_dataset
    from warmstart.data.interactions import Interactions as Interactions
    from warmstart.data.protocols import split as split
    from warmstart.data.sources.synthetic import synthetic as synthetic
    from warmstart.data.sources.synthetic import synthetic_items as synthetic_items
    from warmstart.data.split import Split as Split
    from warmstart.errors import ArtefactError as ArtefactError
    from warmstart.errors import ConfigError as ConfigError
    from warmstart.errors import DataError as DataError
    from warmstart.errors import NotFittedError as NotFittedError
    from warmstart.errors import UnsupportedError as UnsupportedError
    from warmstart.errors import WarmstartError as WarmstartError
    from warmstart.evaluate.compare import compare as compare
    from warmstart.evaluate.comparison import Comparison as Comparison
    from warmstart.evaluate.evaluation import Report as Report
    from warmstart.evaluate.evaluation import evaluate as evaluate
    from warmstart.evaluate.report import write_report as write_report
    from warmstart.lm import LMConfig as LMConfig
    from warmstart.lm import TextEncoder as TextEncoder
    from warmstart.lm import load_lm as load_lm
    from warmstart.methods import METHODS as METHODS
    from warmstart.methods import build as build
    from warmstart.methods import load_model as load_model
    from warmstart.methods.cf_only import CFOnly as CFOnly
    from warmstart.methods.coldllm import ColdLLM as ColdLLM
    from warmstart.methods.content_knn import ContentKNN as ContentKNN
    from warmstart.methods.ease_text import EaseText as EaseText
    from warmstart.methods.filterllm import FilterLLM as FilterLLM
    from warmstart.methods.popular import Popular as Popular
    from warmstart.methods.random import Random as Random
    from warmstart.methods.text_ridge import TextRidgeMethod as TextRidge  # noqa: F401
    from warmstart.run import Run as Run

_HOMES = {
    "AddsItems": "warmstart.core:AddsItems",
    "ArtefactError": "warmstart.errors:ArtefactError",
    "CFOnly": "warmstart.methods.cf_only:CFOnly",
    "Catalogue": "warmstart.data.catalogue:Catalogue",
    "ColdLLM": "warmstart.methods.coldllm:ColdLLM",
    "Comparison": "warmstart.evaluate.comparison:Comparison",
    "Config": "warmstart.config:Config",
    "ConfigError": "warmstart.errors:ConfigError",
    "ContentKNN": "warmstart.methods.content_knn:ContentKNN",
    "DataError": "warmstart.errors:DataError",
    "Dataset": "warmstart.data.dataset:Dataset",
    "EaseText": "warmstart.methods.ease_text:EaseText",
    "FilterLLM": "warmstart.methods.filterllm:FilterLLM",
    "Interactions": "warmstart.data.interactions:Interactions",
    "LMConfig": "warmstart.lm:LMConfig",
    "METHODS": "warmstart.methods:METHODS",
    "NotFittedError": "warmstart.errors:NotFittedError",
    "Popular": "warmstart.methods.popular:Popular",
    "Random": "warmstart.methods.random:Random",
    "Recommender": "warmstart.core:Recommender",
    "Report": "warmstart.evaluate.evaluation:Report",
    "Run": "warmstart.run:Run",
    "Simulates": "warmstart.core:Simulates",
    "Split": "warmstart.data.split:Split",
    "TextEncoder": "warmstart.lm:TextEncoder",
    "TextRidge": "warmstart.methods.text_ridge:TextRidgeMethod",
    "Traits": "warmstart.core:Traits",
    "UnsupportedError": "warmstart.errors:UnsupportedError",
    "WarmstartError": "warmstart.errors:WarmstartError",
    "build": "warmstart.methods:build",
    "compare": "warmstart.evaluate.compare:compare",
    # The package itself: calling it calls the function. Its name would hide the function anyhow.
    "evaluate": "warmstart.evaluate",
    "load_lm": "warmstart.lm:load_lm",
    "load_model": "warmstart.methods:load_model",
    "read_dataset": "warmstart.data.files:read_dataset",
    "read_items": "warmstart.data.files:read_items",
    "split": "warmstart.data.protocols:split",
    "synthetic": "warmstart.data.sources.synthetic:synthetic",
    "synthetic_items": "warmstart.data.sources.synthetic:synthetic_items",
    "write_dataset": "warmstart.data.files:write_dataset",
    "write_report": "warmstart.evaluate.report:write_report",
}

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    "__version__",
    *_HOMES,
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'warmstart' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = import_module(module)
    if attribute:
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
