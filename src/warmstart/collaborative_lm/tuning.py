"""Stage 2 of A-LLMRec: train projectors and heads on the next items of the training histories.

Every prompt asks for the item after each of its events: cross-entropy of h . g over all warm items.
Some prompts go on with a question and the title of the answer, the published task: cross-entropy of
the title's tokens alone. The backbone and the LM are frozen; an adapter of the LM can be trained.
"""

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from pydantic import Field, model_validator
from scipy import sparse
from torch import Tensor

from warmstart.backbones.graph import sample_negatives
from warmstart.backbones.sequence.losses import softmax_loss
from warmstart.collaborative_lm.model import PromptHistories, PromptModel, with_answers
from warmstart.collaborative_lm.network import NetworkConfig
from warmstart.collaborative_lm.prompts import PromptConfig, neutral_order
from warmstart.data.histories import Histories
from warmstart.lm.lora import LoRAConfig, TunableLM
from warmstart.lm.memory import FLOAT, MOMENTS, TuningPlan, saved_bytes, weight_bytes
from warmstart.train import StepConfig, TorchTrainee
from warmstart.train.seed import torch_seed

_WARMUP = 0.05  # of the steps; the learning rate then falls linearly to zero


class PromptTuningConfig(PromptConfig, NetworkConfig):
    """Settings of stage 2; see also ``PromptConfig`` and ``NetworkConfig``.

    Attributes:
        question_rate: share of the prompts that ask for a title among candidates. 1 as published;
            0 trains no titles, which "likelihood" and "generation" need.
        title_weight: weight of the loss of titles.
        retrieval_weight: weight of the loss of h . g; 0 as published.
        n_candidates: items of a question: the next one and others that the user never had.
        text_vector_rate: probability that an item counts as new in a step: the joint vector of its
            text stands for that of its interactions, or nothing for the vector of the backbone. So
            the LM knows both.
        user_token_dropout: probability that a state of the backbone is left out in training. The
            states know the training events better than any others, so the LM would rely on them.
        lora: adapter of the LM; of rank 0, the LM is frozen, as published.
        epochs: maximum number of epochs; with validation the best one is kept; 0 does not
            train.
        patience: validations without improvement before training stops.
        histories_per_epoch: training histories of an epoch, drawn anew for each; None takes all.
        batch_size: prompts per step.
        learning_rate: highest learning rate of AdamW; it rises over the first twentieth of the
            steps and falls linearly to zero at the last of ``epochs``.
        weight_decay: its weight decay.
        validation_queries: queries of each validation slice that the best epochs of both stages
            and the weights of the scores are chosen on.
    """

    question_rate: float = Field(default=0.25, ge=0, le=1)
    title_weight: float = Field(default=1.0, ge=0)
    retrieval_weight: float = Field(default=1.0, ge=0)
    n_candidates: int = Field(default=20, ge=2)
    text_vector_rate: float = Field(default=0.3, ge=0, le=1)
    user_token_dropout: float = Field(default=0.3, ge=0, lt=1)
    lora: LoRAConfig = LoRAConfig(rank=0)
    epochs: int = Field(default=3, ge=0)
    patience: int = Field(default=2, ge=1)
    histories_per_epoch: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    validation_queries: int = Field(default=2000, ge=1)

    @model_validator(mode="after")
    def _every_prompt_has_a_loss(self) -> Self:
        titles = self.question_rate == 1 and self.title_weight > 0
        if self.epochs and not self.retrieval_weight and not titles:
            raise ValueError(
                "retrieval_weight 0 leaves prompts without a loss; allowed with question_rate 1 "
                "and title_weight above 0, or with epochs 0"
            )
        return self


class PromptTrainee(TorchTrainee):
    """Trains the network of a prompt model, and the adapter of its LM if there is one.

    Args:
        model: trained in place.
        tunable: the LM that ``model`` prompts.
        told: the training histories without their last items; see ``training_windows``.
        targets: the item after each event of ``told``, int64, shape (events,).
        warm: rows of the items that may follow, int64, ascending.
        from_text: the vectors of all items by their texts, float32, shape (items, item width).
        seen: the items of each history, CSR, shape (histories, items).
        config: the settings.

    Raises:
        UnsupportedError: the training needs more memory than there is.
    """

    def __init__(
        self,
        model: PromptModel,
        tunable: TunableLM,
        told: PromptHistories,
        targets: np.ndarray,
        warm: np.ndarray,
        from_text: np.ndarray,
        seen: sparse.csr_matrix,
        config: PromptTuningConfig,
    ) -> None:
        self.model, self.tunable, self.told, self.targets = model, tunable, told, targets
        self.warm, self.seen, self.config = warm, seen, config
        tables = model.vectors, from_text, model.text_states[warm]
        self.vectors, self.from_text, self.text_states = (
            torch.from_numpy(np.ascontiguousarray(table)).to(model.device) for table in tables
        )
        self.prompts = model.writer.write(told.histories)
        self.place = np.full(len(from_text), -1)
        self.place[warm] = np.arange(len(warm))
        network = dict(model.network.named_parameters())
        adapter = {f"lm.{name}": w for name, w in tunable.adapter_parameters().items()}
        parameters = {**network, **adapter}
        optimiser = torch.optim.AdamW(
            parameters.values(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        n_steps = config.epochs * (-(-self._histories_of_epoch // config.batch_size) + 1)
        warmup = min(round(_WARMUP * n_steps), n_steps - 1)
        steps = StepConfig(clip_norm=1.0, warmup_steps=warmup, total_steps=n_steps)
        super().__init__(parameters, optimiser, steps)
        self._check_memory()

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        config = self.config
        rows = rng.permutation(len(self.prompts))[: self._histories_of_epoch]
        n_asked = round(config.question_rate * len(rows))
        groups = [(rows[:n_asked], True), (rows[n_asked:], False)]
        batches = [
            (batch, asked)
            for group, asked in groups
            for batch in self.prompts.texts.shuffled_batches(group, config.batch_size, rng)
        ]
        self.model.network.train()
        with torch_seed(rng):
            self.tunable.train()
            for number in rng.permutation(len(batches)).tolist():
                batch, asked = batches[number]
                yield self.step(self.loss(batch, asked, rng))
            self.tunable.eval()
        self.model.network.eval()

    @property
    def _histories_of_epoch(self) -> int:
        return min(len(self.prompts), self.config.histories_per_epoch or len(self.prompts))

    def loss(self, rows: np.ndarray, asked: bool, rng: np.random.Generator) -> Tensor:
        """Compute the loss of some prompts, with a question or without one: a scalar."""
        config, model, device = self.config, self.model, self.model.device
        vectors = self._vectors(rng)
        told = self.told.take(rows)
        targets, last = self._targets(rows), told.histories.offsets[1:] - 1
        answers: list[list[int]] = [[]] * len(rows)
        if asked:
            candidates = self._candidates(rows, targets[last], rng)
            prompts = model.writer.write(told.histories, list(candidates))
            answers = [model.writer.answer_of(item) for item in targets[last].tolist()]
        else:
            prompts = model.writer.write(told.histories)
        states = np.where(
            rng.random((len(told.states), 1)) < config.user_token_dropout, 0, told.states
        )
        whole = np.arange(len(rows))
        slots = model.slot_vectors(prompts, whole, states, vectors)
        batch = with_answers(prompts.texts, answers).batch(whole, device)
        hidden = model.causal.hidden(batch, slots)
        total = hidden.new_zeros((), dtype=torch.float32)
        if config.retrieval_weight:
            total = total + config.retrieval_weight * self._retrieval_loss(
                hidden, prompts.users, targets, vectors
            )
        if asked and config.title_weight:
            total = total + config.title_weight * self._title_loss(
                hidden, prompts.texts.lengths, answers
            )
        return total

    def _retrieval_loss(
        self,
        hidden: Tensor,
        users: tuple[np.ndarray, ...],
        targets: np.ndarray,
        vectors: Tensor,
    ) -> Tensor:
        model, device = self.model, self.model.device
        owners = np.repeat(np.arange(len(users)), [len(places) for places in users])
        at = torch.from_numpy(owners).to(device), torch.from_numpy(np.concatenate(users)).to(device)
        queries = model.network.users(hidden[at])
        rows = vectors[torch.from_numpy(self.warm).to(device)]
        followed = torch.from_numpy(self.place[targets]).to(device)
        return softmax_loss(queries, model.network.items(self.text_states, rows), followed)

    def _title_loss(self, hidden: Tensor, lengths: np.ndarray, answers: list[list[int]]) -> Tensor:
        """Mean of -log p over the tokens of the answers, each after the state before it."""
        device, sizes = self.model.device, [len(answer) for answer in answers]
        rows = np.repeat(np.arange(len(answers)), sizes)
        places = np.concatenate(
            [length - 1 + np.arange(size) for length, size in zip(lengths, sizes, strict=True)]
        )
        wanted = torch.tensor([token for answer in answers for token in answer], device=device)
        at = torch.from_numpy(rows).to(device), torch.from_numpy(places).to(device)
        return -self.model.causal.token_log_likelihoods(hidden[at], wanted).mean()

    def _targets(self, rows: np.ndarray) -> np.ndarray:
        histories = self.told.histories
        return Histories(histories.offsets, self.targets).take(rows).items

    def _candidates(
        self, rows: np.ndarray, targets: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """The next item of each history and items it never had, in an order that tells nothing."""
        n = self.config.n_candidates - 1
        drawn = sample_negatives(
            np.repeat(rows, n), self.seen.indptr, self.seen.indices, self.warm,
            int(rng.integers(2**31)),
        )  # fmt: skip
        found = np.concatenate([targets[:, None], drawn.reshape(len(rows), n)], axis=1)
        return np.take_along_axis(found, neutral_order(found), axis=1)

    def _vectors(self, rng: np.random.Generator) -> Tensor:
        """The vectors of the items in a step, some of them by their texts."""
        new = rng.random((len(self.vectors), 1)) < self.config.text_vector_rate
        return torch.where(
            torch.from_numpy(new).to(self.model.device), self.from_text, self.vectors
        )

    def _check_memory(self) -> None:
        lm, config = self.model.causal.lm, self.config
        lengths = np.sort(self.prompts.texts.lengths)[::-1][: config.batch_size]
        tokens = int(lengths[0]) if len(lengths) else 0
        learned = 0
        if config.question_rate:
            tokens += (config.n_candidates + 2) * (config.title_tokens + 3)
            learned = config.batch_size * (config.title_tokens + 1)
        own = sum(w.numel() for w in self.parameters.values()) * FLOAT
        plan = TuningPlan(
            base_weights=weight_bytes(lm),
            adapter=own,
            gradients=own,
            optimiser=own * MOMENTS,
            activations=saved_bytes(lm, config.batch_size * tokens),
            logits=3 * learned * self.model.causal.n_tokens * FLOAT,
        )
        plan.check("stage 2", lm.device, "lower tuning.batch_size or tuning.history_length")


def training_windows(histories: Histories, length: int) -> tuple[Histories, np.ndarray, np.ndarray]:
    """Cut training histories into windows of at most ``length`` events and the item after each.

    Windows are cut from the newest event backwards, so that each event but the first of a history
    is asked for once.

    Returns:
        The windows without their last items; the event of ``histories`` of each of their events,
        int64; and the history of each window, int64.
    """
    starts, ends, owners = [], [], []
    for row, (begin, end) in enumerate(zip(histories.offsets, histories.offsets[1:], strict=False)):
        at = int(end)
        while at - begin >= 2:
            start = max(int(begin), at - length - 1)
            starts.append(start)
            ends.append(at - 1)
            owners.append(row)
            at = start + 1
    lengths = np.asarray(ends, np.int64) - np.asarray(starts, np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    events = np.repeat(np.asarray(starts, np.int64) - offsets[:-1], lengths)
    events = events + np.arange(offsets[-1])
    return Histories(offsets, histories.items[events]), events, np.asarray(owners, np.int64)
