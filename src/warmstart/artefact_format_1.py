"""Upgrade artefacts of format 1 to the names of the present format.

Format 2 renamed settings and arrays to the field's terms. It also stores the pairs rated below the
threshold of a positive, and it stores item columns as text.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

FILES = (
    "users.parquet",
    "items.parquet",
    "columns.parquet",
    "seen.safetensors",
    "state.safetensors",
)

# Old and new names of settings, by table of the configuration ("" is the top level).
_SETTINGS: Mapping[str, Mapping[str, str]] = {
    "": {
        "audience": "audience_size",
        "candidates": "shortlist_size",
        "chance": "platt",
        "guidance": "guidance_weight",
        "magnitude": "norm_exponent",
        "own": "user_std_exponent",
        "refine": "select",
        "sample": "sample_users",
        "scale": "cold_weight",
        "share": "text_weight",
        "sharpness": "ridge_logit_scale",
        "simulated_per_item": "users_per_item",
        "table_gib": "max_score_table_gib",
        "tune": "lm_tuning",
    },
    "backbone": {
        "fold_alpha": "fold_in_alpha",
        "fold_in": "fold_in_solver",
        "fold_l2": "fold_in_l2",
        "fold_steps": "fold_in_steps",
        "map_rate": "map_learning_rate_factor",
        "memory_gib": "max_memory_gib",
        "scaling": "frequency_exponent",
        "slope": "leaky_relu_slope",
    },
    "ease": {"memory_gib": "max_memory_gib"},
    "filter": {
        "behaviour": "behaviour_tower",
        "content": "content_tower",
        "degree_power": "activity_penalty",
        "share": "content_weight",
        "sides": "signals",
    },
    "filter.behaviour": {
        "identification": "identification_weight",
        "ranking": "ranking_weight",
        "rating": "rating_weight",
    },
    "judge": {
        "depth": "hard_pool",
        "hard": "hard_pairs",
        "items": "training_items",
        "random": "random_pairs",
        "shown": "history_length",
    },
    "refine": {
        "budget": "expected_interactions",
        "filter": "filter_coefficient",
        "judge": "judge_coefficient",
        "keep": "users_per_item",
        "word": "judge_weight",
    },
}
_VALUES: Mapping[str, Mapping[str, str]] = {
    "cold_score": {"folded": "fold_in", "distribution": "text"},
    "update": {"fold": "fold_in"},
    "backbone.fold_in": {"gradient": "newton"},
    "refine.rank_by": {"mixture": "both"},
}
_ARRAYS: Mapping[str, str] = {
    "audience": "audience_size",
    "blend": "fusion",
    "filter.blend": "filter.fusion",
    "filter.correction": "filter.user_penalty",
    "gains": "item_scales",
    "scale": "user_factors",
    "sharpness": "ridge_logit_scale",
    "table": "text_scores",
}
_PREFIXES: Mapping[str, str] = {
    "candidates.": "shortlist.",
    "judge.head.facts.": "judge.head.features.",
}

_LM: Mapping[str, str] = {"weights": "weights_sha256"}


def upgraded_settings(settings: Mapping[str, Any], table: str = "") -> dict[str, Any]:
    """Rename settings or choices of format 1; ``table`` is the dotted path of their table."""
    names, upgraded = _SETTINGS.get(table, {}), {}
    for name, value in settings.items():
        path = f"{table}.{name}" if table else name
        if isinstance(value, dict):
            value = upgraded_settings(value, path)
        elif isinstance(value, str):
            value = _VALUES.get(path, {}).get(value, value)
        upgraded[names.get(name, name)] = value
    return upgraded


def upgraded_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Rename settings and choices, and make the reference to a language model that of the encoder.

    What is not of the right kind stays, and is refused with the whole manifest.
    """
    upgraded = dict(manifest)
    for part in ("config", "choices"):
        if isinstance(upgraded.get(part), Mapping):
            upgraded[part] = upgraded_settings(upgraded[part])
    if "lm" in upgraded:
        spec = upgraded.pop("lm")
        upgraded["lms"] = spec
        if spec is None:
            upgraded["lms"] = {}
        elif isinstance(spec, Mapping):
            upgraded["lms"] = {"encoder": {_LM.get(key, key): spec[key] for key in spec}}
    return upgraded


def upgraded_state(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename arrays of format 1 and set no user limits, since format 1 had none."""
    upgraded = {}
    for name, array in state.items():
        for old, new in _PREFIXES.items():
            if name.startswith(old):
                name = new + name.removeprefix(old)
        upgraded[_ARRAYS.get(name, name)] = array
    if "user_factors" in upgraded:
        upgraded["user_limits"] = np.full_like(upgraded["user_factors"], np.inf)
    return upgraded
