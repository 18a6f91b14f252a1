"""Memory plan: what tuning with user tokens will need, computed before it starts.

Weights, gradients and optimiser state are exact. Activations (saved for the backward pass of the
longest batch) are estimated from the shape of the network; a test checks a factor of two.
"""

from dataclasses import dataclass, fields

from warmstart.lm.load import LanguageModel
from warmstart.lm.lora import LoRAConfig, lora_targets

_FLOAT = 4  # bytes of a float32
_MOMENTS = 2  # AdamW keeps two averages per trained parameter
# Values saved per token and layer, as multiples of the hidden and of the feed-forward width. An
# encoder's frozen linear maps do not save their inputs; a causal LM's gated feed-forward layer and
# rotary positions save more.
_SAVED_PER_TOKEN = {"encoder": (10, 1), "causal": (12, 3)}


@dataclass(frozen=True)
class MemoryPlan:
    """Memory of a tuning in bytes, by purpose.

    Attributes:
        base_weights: weights of the frozen LM.
        adapter: LoRA matrices.
        head: map from text vectors to the space of user tokens.
        user_table: user tokens and user biases.
        gradients: gradients of all trained parameters.
        optimiser: AdamW's two moments of all trained parameters.
        activations: what the LM saves for the backward pass of one batch; an estimate.
        logits: logits over users for one batch, with their gradient.
    """

    base_weights: int
    adapter: int
    head: int
    user_table: int
    gradients: int
    optimiser: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """Sum of all purposes in bytes."""
        return sum(getattr(self, field.name) for field in fields(self))

    def table(self) -> str:
        """Format one line per purpose, in MB (10^6 bytes), and the total."""
        names = [field.name for field in fields(self)]
        lines = [f"{name:<14}{getattr(self, name) / 1e6:>12.1f} MB" for name in names]
        return "\n".join([*lines, f"{'total':<14}{self.total / 1e6:>12.1f} MB"])


def memory_plan(
    lm: LanguageModel,
    lora: LoRAConfig,
    *,
    n_users: int,
    token_width: int,
    batch_size: int,
    tokens: int,
    two_layer: bool = False,
    user_bias: bool = True,
    negatives: int = 0,
) -> MemoryPlan:
    """Compute the memory of tuning ``lm`` with user tokens; nothing large is allocated.

    Args:
        lm: the loaded base LM.
        lora: the adapter's shape; rank 0 saves no activations.
        n_users: rows of the user table.
        token_width: width of a user token.
        batch_size: items per step.
        tokens: number of LM tokens in the longest text of a batch.
        two_layer: whether the head has two layers.
        user_bias: whether every user has a bias.
        negatives: users sampled for the normaliser; 0 means the full softmax.
    """
    adapter = _adapter_size(lm, lora)
    head = lm.width * token_width + token_width
    if two_layer:
        hidden = max(lm.width, token_width)
        head = (lm.width + 1) * hidden + (hidden + 1) * token_width
    table = n_users * (token_width + user_bias)
    trained = adapter + head + table + 1  # plus the temperature
    return MemoryPlan(
        base_weights=sum(w.numel() * w.element_size() for w in lm.with_head.parameters()),
        adapter=adapter * _FLOAT,
        head=head * _FLOAT,
        user_table=table * _FLOAT,
        gradients=trained * _FLOAT,
        optimiser=trained * _MOMENTS * _FLOAT,
        activations=_activations(lm, batch_size * tokens) if lora.rank else 0,
        logits=2 * batch_size * (negatives or n_users) * _FLOAT,
    )


def _adapter_size(lm: LanguageModel, lora: LoRAConfig) -> int:
    if not lora.rank:
        return 0
    targets = lora_targets(lm, lora)
    sizes = [
        sum(weight.shape)
        for name, weight in lm.body.named_parameters()
        if name.removesuffix(".weight").rpartition(".")[2] in targets and weight.ndim == 2
    ]
    return lora.rank * sum(sizes)


def _activations(lm: LanguageModel, tokens: int) -> int:
    config = getattr(lm.with_head, "config", None)
    layers = int(getattr(config, "num_hidden_layers", 12))
    inner = int(getattr(config, "intermediate_size", None) or 4 * lm.width)
    of_width, of_inner = _SAVED_PER_TOKEN[lm.spec.kind]
    return tokens * layers * (of_width * lm.width + of_inner * inner) * _FLOAT
