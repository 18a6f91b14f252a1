"""Language models: load, encode with a cache, tune with LoRA, user tokens.

Only this package imports transformers, tokenizers and peft, and only when a model is needed.
"""

from warmstart.lm.encode import TextEncoder, load_lm
from warmstart.lm.load import LanguageModel, LMConfig, LMSpec, load_language_model

__all__ = [
    "LMConfig",
    "LMSpec",
    "LanguageModel",
    "TextEncoder",
    "load_language_model",
    "load_lm",
]
