"""Speed of the causal LM against plain transformers, side by side in one process.

    python benchmarks/causal_lm.py --json causal-lm.json
    python benchmarks/causal_lm.py --source hub:ORG/NAME --rounds 1

Tokens per second, median over rounds, for each type of weights:

- ``states``      last states of prompts of different lengths
- ``tuning``      LoRA (rank 8, query and value maps), loss on the answer alone
- ``writing``     up to 64 greedy tokens after each prompt, with a key-value cache
- ``likelihoods`` 20 candidates' titles after each prompt, the prompt read once against each time

"Plain" is what one writes with transformers and peft alone: batches in the given order, padded to
the longest of the batch. Also: seconds to convert the package's file and to load it, and the text
encoder in bfloat16 against float32 (texts per second, share of the 10 nearest neighbours kept).
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import peft
import torch
import transformers

import warmstart as ws
from warmstart.lm import LMConfig, load_language_model
from warmstart.lm.generate import generate
from warmstart.lm.lora import LoRAConfig, TunableLM
from warmstart.lm.prompts import Text, tokenize_prompts
from warmstart.lm.source import resolve
from warmstart.lm.supervised import Examples, SupervisedConfig, SupervisedTuning
from warmstart.lm.texts import token_ids

PROMPTS, CANDIDATES, BATCH, NEW = 16, 20, 8, 64
LORA = LoRAConfig(rank=8, alpha=32, dropout=0.0)


def texts(n: int, seed: int = 0) -> list[str]:
    """Texts of generated books, of different lengths."""
    data = ws.synthetic(50, n, rng=np.random.default_rng(seed))
    return list(data.catalogue.texts)


def prompts_of(n: int) -> tuple[list[str], list[list[str]]]:
    """Prompts with a history of 2 to 6 texts, and the titles of candidates."""
    books, rng = texts(400), np.random.default_rng(0)
    prompts = [
        "Somebody has read these books:\n"
        + "\n".join(books[row] for row in rng.choice(400, rng.integers(2, 7), replace=False))
        + "\nThe next book:"
        for _ in range(n)
    ]
    titles = [" " + " ".join(book.split()[:6]) for book in books]
    return prompts, [[titles[row] for row in rng.choice(400, CANDIDATES)] for _ in range(n)]


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turn(rounds: int, ours: Callable[[], object], plain: Callable[[], object]) -> dict:
    """Median seconds of both, run in turn; the first run of each is not counted."""
    ours(), plain()
    pairs = [(seconds(ours), seconds(plain)) for _ in range(rounds)]
    return {
        "seconds": median(a for a, _ in pairs),
        "plain_seconds": median(b for _, b in pairs),
        "times_as_fast": median(b / a for a, b in pairs),
    }


class Plain:
    """The same work with transformers and peft alone."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.tokenizer.padding_side = "left"
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    def batches(self, prompts):
        for start in range(0, len(prompts), BATCH):
            yield self.tokenizer(prompts[start : start + BATCH], return_tensors="pt", padding=True)

    @torch.inference_mode()
    def states(self, prompts):
        for batch in self.batches(prompts):
            self.model.model(**batch).last_hidden_state[:, -1].float().numpy()

    @torch.inference_mode()
    def write(self, prompts):
        for batch in self.batches(prompts):
            self.model.generate(
                **batch,
                max_new_tokens=NEW,
                do_sample=False,
                pad_token_id=self.tokenizer.eos_token_id,
            )

    def tuning(self, prompts, answers):
        config = peft.LoraConfig(r=8, lora_alpha=32, target_modules=["q_proj", "v_proj"])
        model = peft.get_peft_model(self.model, config)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimiser = torch.optim.AdamW(weights, lr=1e-4)
        self.tokenizer.padding_side = "right"
        rows = [
            (self.tokenizer(prompt)["input_ids"], self.tokenizer(answer)["input_ids"])
            for prompt, answer in zip(prompts, answers, strict=True)
        ]

        def epoch():
            model.train()
            for start in range(0, len(rows), BATCH):
                some = rows[start : start + BATCH]
                longest = max(len(prompt) + len(answer) for prompt, answer in some)
                ids = torch.full((len(some), longest), self.tokenizer.eos_token_id)
                labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
                for row, (prompt, answer) in enumerate(some):
                    length = len(prompt) + len(answer)
                    ids[row, :length] = torch.tensor(prompt + answer)
                    labels[row, len(prompt) : length] = torch.tensor(answer)
                    mask[row, :length] = 1
                loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
                loss.backward()
                optimiser.step()
                optimiser.zero_grad()

        return epoch


def measure(source: str, dtype: str, rounds: int) -> dict:
    """All measurements with one type of weights."""
    config = ws.CausalLMConfig(source=source, device="cpu", dtype=dtype, batch_size=BATCH)
    started = time.perf_counter()
    model = ws.load_causal_lm(config)
    found: dict = {"load_seconds": time.perf_counter() - started}
    folder = resolve(source, causal=True).folder
    plain = Plain(folder, getattr(torch, dtype))
    prompts, candidates = prompts_of(PROMPTS)
    tokens = tokenize_prompts(model.lm, [[Text(prompt)] for prompt in prompts])
    n_tokens = int(tokens.lengths.sum())

    def states():
        with torch.inference_mode():
            for _, batch, _ in model.batches(tokens, None):
                model.last_states(batch).float().numpy()

    titles = [token_ids(model.lm, given, special=False) for given in candidates]
    found["states"] = in_turn(rounds, states, lambda: plain.states(prompts)) | {"tokens": n_tokens}
    found["likelihoods"] = in_turn(
        rounds,
        lambda: model.log_likelihoods(tokens, titles),
        lambda: model.log_likelihoods(tokens, titles, share_prompts=False),
    )
    both = [model.log_likelihoods(tokens, titles, share_prompts=shared) for shared in (True, False)]
    found["likelihoods"] |= {
        "prompt_tokens": float(tokens.lengths.mean()),
        "title_tokens": float(np.mean([len(ids) for given in titles for ids in given])),
        "largest_difference": float(max(abs(a - b).max() for a, b in zip(*both, strict=True))),
    }
    some = prompts[:BATCH]
    short = tokenize_prompts(model.lm, [[Text(prompt)] for prompt in some])
    found["writing"] = in_turn(
        rounds,
        lambda: generate(model, short, max_new_tokens=NEW),
        lambda: plain.write(some),
    ) | {"tokens": sum(map(len, generate(model, short, max_new_tokens=NEW)))}
    answers = [given[0] for given in candidates]
    examples = Examples.of_answers(tokens, [given[0] for given in titles], max_tokens=1024)
    tunable = TunableLM(model.lm, LORA, np.random.default_rng(0))
    tuning = SupervisedTuning(tunable, examples, SupervisedConfig(batch_size=BATCH))
    rng = np.random.default_rng(0)
    found["tuning"] = in_turn(
        rounds, lambda: list(tuning.epoch(rng, 1)), plain.tuning(prompts, answers)
    ) | {"tokens": int(examples.texts.lengths.sum())}
    for name in ("states", "writing", "tuning"):
        row = found[name]
        row["tokens_per_second"] = row["tokens"] / row["seconds"]
        row["plain_tokens_per_second"] = row["tokens"] / row["plain_seconds"]
    return found


def convert_seconds(source: str) -> float | None:
    """Seconds to make the folder of a source in an empty cache; None if nothing is converted."""
    before = os.environ.get("WARMSTART_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WARMSTART_CACHE"] = folder
        took = seconds(lambda: resolve(source, causal=True))
        converted = any(Path(folder).rglob("*.safetensors"))
        if before is None:
            del os.environ["WARMSTART_CACHE"]
        else:
            os.environ["WARMSTART_CACHE"] = before
    return took if converted else None


def encoder_types(rounds: int) -> dict:
    """The text encoder in bfloat16 against float32."""
    books = texts(2000, seed=1)
    encoders = {
        dtype: ws.TextEncoder(
            load_language_model(LMConfig(dtype=dtype, device="cpu")), use_cache=False
        )
        for dtype in ("float32", "bfloat16")
    }
    vectors = {dtype: encoder.encode(books) for dtype, encoder in encoders.items()}
    row = in_turn(
        rounds,
        lambda: encoders["bfloat16"].encode(books[:512]),
        lambda: encoders["float32"].encode(books[:512]),
    )
    neighbours = {}
    for dtype, found in vectors.items():
        similarities = found @ found.T
        np.fill_diagonal(similarities, -np.inf)
        neighbours[dtype] = np.argsort(-similarities, axis=1)[:, :10]
    kept = [len(set(a) & set(b)) for a, b in zip(*neighbours.values(), strict=True)]
    return {
        "texts_per_second_bfloat16": 512 / row["seconds"],
        "texts_per_second_float32": 512 / row["plain_seconds"],
        "times_as_fast": row["times_as_fast"],
        "neighbours_kept": float(np.mean(kept)) / 10,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result: dict = {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "convert_seconds": convert_seconds(arguments.source),
    }
    for dtype in arguments.dtypes.split(","):
        result[dtype] = measure(arguments.source, dtype, arguments.rounds)
    result["text_encoder"] = encoder_types(arguments.rounds)
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
