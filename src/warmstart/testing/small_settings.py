"""Settings small enough for the toy world: one table for every contract run.

A key is ``method`` or ``method/variant``; the value is what ``build`` takes.
"""

from typing import Any

_GRAPH = {"width": 16, "epochs": 12, "learning_rate": 0.1, "negatives": 16}

BACKBONES: dict[str, dict[str, Any]] = {
    "bpr": {"kind": "bpr", "width": 16, "epochs": 20, "learning_rate": 0.2, "negatives": 4},
    "ials": {"kind": "ials", "width": 8, "epochs": 5, "alpha": 5, "l2": 3},
    "ease": {"kind": "ease", "l2": 5},
    "lightgcn": {"kind": "lightgcn", **_GRAPH},
    "ngcf": {"kind": "ngcf", **_GRAPH},
}

_RIDGE = {"l2": 0.3, "gamma": 2.0}
_TOKENS = {"width": 16, "batch_size": 16, "users_per_item": 10}
_TOWER = {
    **{"width": 32, "hidden": 128, "batch_size": 256},
    **{"learning_rate": 3e-3, "weight_decay": 0.5, "epochs": 60, "patience": 8},
}
_FUNNEL = {
    "filter": {"signals": "content", "ridge": _RIDGE},
    "shortlist_size": 10,
    "judge": {"lora": {"rank": 2}, "history_length": 3, "hard_pool": 10, "epochs": 4},
}

SMALL: dict[str, dict[str, Any]] = {
    "random": {},
    "popular": {},
    "content_knn": {"neighbours": 10},
    "text_ridge": _RIDGE,
    "ease_text": {"ease": {"l2": 5}, "ridge": _RIDGE},
    "cf_only": {"backbone": BACKBONES["bpr"]},
    "filterllm": {"backbone": BACKBONES["bpr"], "ridge": _RIDGE, "epochs": 3, **_TOKENS},
    "filterllm/lora": {
        "backbone": BACKBONES["ials"],
        "lm_tuning": "lora",
        "lora": {"rank": 2, "alpha": 8},
        "ridge": None,
        "epochs": 6,
        "learning_rate": 1e-2,
        "head_learning_rate": 1e-2,
        "token_learning_rate": 1e-2,
        "cold_score": "fold_in",
        **_TOKENS,
    },
    "coldllm": {"backbone": BACKBONES["bpr"], **_FUNNEL},
    "coldllm/towers": {
        "backbone": BACKBONES["ials"],
        **_FUNNEL,
        "filter": {"ridge": None, "content": _TOWER, "behaviour": _TOWER},
        "judge": None,
        "update": "retrain",
        "cold_score": "fold_in",
    },
}
"""Every method, and its main variants: for all checks."""

OVER_BACKBONES: dict[str, dict[str, Any]] = {
    f"{method}/{kind}": {**SMALL[method], "backbone": settings}
    for method in ("cf_only", "filterllm", "coldllm")
    for kind, settings in BACKBONES.items()
    if settings != SMALL[method]["backbone"]
}
"""The methods with a backbone over every other kind of it: for the checks that share one fit."""
