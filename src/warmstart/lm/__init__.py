"""Language models: loading, cached text encoding, LoRA tuning, pretraining of small ones.

Only this package imports transformers, tokenizers and peft, and only when it needs a model.
"""

from warmstart.lm.causal import CausalLM, load_causal_lm
from warmstart.lm.encode import TextEncoder, load_encoder
from warmstart.lm.load import CausalLMConfig, LanguageModel, LMConfig, LMSpec, load_language_model

__all__ = [
    "CausalLM",
    "CausalLMConfig",
    "LMConfig",
    "LMSpec",
    "LanguageModel",
    "TextEncoder",
    "load_causal_lm",
    "load_encoder",
    "load_language_model",
]
