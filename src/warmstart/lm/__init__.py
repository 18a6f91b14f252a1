"""Language models: loading, cached text encoding, LoRA tuning, pretraining of small ones.

Only this package imports transformers, tokenizers and peft, and only when it needs a model.
"""

from warmstart.lm.encode import TextEncoder, load_lm
from warmstart.lm.load import CausalLMConfig, LanguageModel, LMConfig, LMSpec, load_language_model

__all__ = [
    "CausalLMConfig",
    "LMConfig",
    "LMSpec",
    "LanguageModel",
    "TextEncoder",
    "load_language_model",
    "load_lm",
]
