"""Settings with which every method learns the toy data quickly; the contract tests use them.

A key is ``method`` or ``method/variant``; a value is a nested dict of settings for ``build``.
"""

from typing import Any

_GRAPH = {"width": 16, "epochs": 12, "learning_rate": 0.1, "negatives": 16}

BACKBONE_SETTINGS: dict[str, dict[str, Any]] = {
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

_PROMPTS = {
    **{"history_length": 3, "title_tokens": 3, "n_candidates": 4, "head_width": 16},
    **{"introduction": "this person chose", "question": "choose", "answer": "answer"},
    **{"epochs": 4, "learning_rate": 3e-3, "question_rate": 0.5},
}
_ALIGNED = {
    "backbone": {
        **{"kind": "sasrec", "width": 16, "epochs": 30, "learning_rate": 1e-2},
        **{"dropout": 0.1, "batch_size": 64},
    },
    "alignment": {"width": 16, "epochs": 30, "learning_rate": 1e-2, "batch_size": 256},
    "tuning": _PROMPTS,
}

_RECOMMENDER = {
    **{"kind": "fism", "width": 16, "epochs": 30, "learning_rate": 1e-2},
    **{"dropout": 0.1, "batch_size": 64},
}
# Without words after the dialogue: the state of a tiny LM depends mostly on the last few words.
_DIALOGUES = {
    **{"introduction": "", "question": "", "list_start": "", "title_tokens": 6},
    **{"page_introduction": "", "page_question": ""},
}

# Two genres of which no history has both are too much for the places of so small an LM.
_WRITTEN = {
    "plan": "without_filling",
    **{"history_length": 4, "list_length": 3, "depth": 500, "beam": 500, "max_windows": 100},
    **{"hidden_rate": 0.7, "augmentation": {"noise": False, "numbers": False}},
    "prompts": {
        **{"introduction": "", "number_hint": "{number}", "genres_hint": "{genres}"},
        **{"ask_genres": "", "ask_places": "", "ask_items": "", "title_tokens": 4},
    },
    "lora": {"rank": 8, "alpha": 32, "targets": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    "training": {
        **{"learning_rate": 1e-2, "batch_size": 16, "patience": 30},
        "epochs": {"genres": 25, "items": 20},
    },
}

METHOD_SETTINGS: dict[str, dict[str, Any]] = {
    "random": {},
    "popular": {},
    "item_knn": {},
    "markov": {},
    "sasrec": {"width": 16, "epochs": 30, "learning_rate": 1e-2, "dropout": 0.1, "batch_size": 64},
    "gru4rec": {"width": 16, "epochs": 30, "learning_rate": 1e-2, "dropout": 0.1, "batch_size": 64},
    "fism": {"width": 16, "epochs": 30, "learning_rate": 1e-2, "dropout": 0.1, "batch_size": 64},
    "logistic_ctr": {},
    "deepfm": {"width": 8, "epochs": 3, "hidden": [8]},
    "din": {"width": 8, "epochs": 3, "hidden": [8]},
    "content_knn": {"neighbours": 10},
    "content_mean": {},
    "text_ridge": _RIDGE,
    "text_ridge/rank": {**_RIDGE, "rank": 12},
    "text_ridge/items": {**_RIDGE, "rank": 12, "items_per_user": 10},
    "text_to_vector": {"backbone": BACKBONE_SETTINGS["ials"], "ridge": _RIDGE},
    "ease_text": {"ease": {"l2": 5}, "ridge": _RIDGE},
    "cf_only": {"backbone": BACKBONE_SETTINGS["bpr"]},
    "filterllm": {"backbone": BACKBONE_SETTINGS["bpr"], "ridge": _RIDGE, "epochs": 3, **_TOKENS},
    "filterllm/rank": {
        "backbone": BACKBONE_SETTINGS["ials"],
        "ridge": {**_RIDGE, "rank": 12},
        "epochs": 3,
        **_TOKENS,
    },
    "filterllm/lora": {
        "backbone": BACKBONE_SETTINGS["ials"],
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
    "a_llmrec": _ALIGNED,
    "a_llmrec/ridge": {
        **{**_ALIGNED, "scoring": "alignment"},
        "alignment": {"kind": "ridge", "ridge": _RIDGE},
    },
    "a_llmrec/lora": {
        "backbone": {**_ALIGNED["backbone"], "kind": "gru4rec"},
        "alignment": {
            **{"width": 16, "text_encoder": "lora", "lora": {"rank": 2}, "batch_size": 64},
            **{"epochs": 20, "learning_rate": 3e-3, "encoder_learning_rate": 1e-3},
        },
        "tuning": {**_PROMPTS, "lora": {"rank": 2}, "item_token": "backbone"},
    },
    "co_mention": {},
    "nbcrs": {"neighbours": 20},
    "rta": {
        **{"mentioned": _RECOMMENDER, "bias": {"steps": 50}, "stand_ins": 5},
        "lm": {"prompts": _DIALOGUES, "aggregator": "mean"},
    },
    "rta/encoder": {
        **{"lm": None, "mentioned": _RECOMMENDER},
        **{"bias": {"steps": 50, "kind": "both"}, "gate": {"kind": "query"}, "stand_ins": 5},
    },
    # English stop words include most of the words of the toy data.
    "text_search": {},
    "text_search/tfidf": {"kind": "tfidf", "stop_words": None},
    "lm_ranking": {"depth": 500, "beam": 500, "prompts": _DIALOGUES},
    "dlcrec": _WRITTEN,
    "coldllm": {"backbone": BACKBONE_SETTINGS["bpr"], **_FUNNEL},
    "coldllm/causal": {
        "backbone": BACKBONE_SETTINGS["ials"],
        **_FUNNEL,
        "judge": {**_FUNNEL["judge"], "lm": "causal"},
    },
    "coldllm/towers": {
        "backbone": BACKBONE_SETTINGS["ials"],
        **_FUNNEL,
        "filter": {"ridge": None, "content_tower": _TOWER, "behaviour_tower": _TOWER},
        "judge": None,
        "update": "retrain",
        "cold_score": "fold_in",
    },
}
"""Every method and its main variants; all checks run on them."""

BACKBONE_VARIANTS: dict[str, dict[str, Any]] = {
    f"{method}/{kind}": {**METHOD_SETTINGS[method], "backbone": settings}
    for method in ("cf_only", "filterllm", "coldllm", "a_llmrec")
    for kind, settings in BACKBONE_SETTINGS.items()
    if settings != METHOD_SETTINGS[method]["backbone"] and (method, kind) != ("a_llmrec", "ease")
}
"""Methods on each other kind of backbone; only the checks that share one fit run on them."""
