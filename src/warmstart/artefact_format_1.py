"""Artefacts of format 1, as warmstart 0.1 wrote them, in the names of the present format.

Format 2 renamed settings and arrays to the field's terms, keeps what users rated below the
threshold of a positive beside the positives, and stores item columns as text.
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

# By table of the configuration ("" is the top level): the old names of settings, and the new ones.
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


def upgraded_settings(settings: Mapping[str, Any], table: str = "") -> dict[str, Any]:
    """Settings, or choices, of format 1 in the present names; None stays None."""
    names, upgraded = _SETTINGS.get(table, {}), {}
    for name, value in settings.items():
        path = f"{table}.{name}" if table else name
        if isinstance(value, dict):
            value = upgraded_settings(value, path)
        elif isinstance(value, str):
            value = _VALUES.get(path, {}).get(value, value)
        upgraded[names.get(name, name)] = value
    return upgraded


def upgraded_state(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of format 1 in the present names; cold scores of format 1 had no limit."""
    upgraded = {}
    for name, array in state.items():
        for old, new in _PREFIXES.items():
            if name.startswith(old):
                name = new + name.removeprefix(old)
        upgraded[_ARRAYS.get(name, name)] = array
    if "user_factors" in upgraded:
        upgraded["user_limits"] = np.full_like(upgraded["user_factors"], np.inf)
    return upgraded
