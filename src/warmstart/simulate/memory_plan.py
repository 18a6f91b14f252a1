"""Memory plan: what tuning with user tokens will need, computed before it starts."""

from dataclasses import dataclass

from warmstart.lm.load import LanguageModel
from warmstart.lm.lora import LoRAConfig
from warmstart.lm.memory import FLOAT, MOMENTS, MemoryPlan, adapter_size, saved_bytes, weight_bytes


@dataclass(frozen=True)
class TokenTuningPlan(MemoryPlan):
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


def token_tuning_plan(
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
) -> TokenTuningPlan:
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
    adapter = adapter_size(lm, lora)
    head = lm.width * token_width + token_width
    if two_layer:
        hidden = max(lm.width, token_width)
        head = (lm.width + 1) * hidden + (hidden + 1) * token_width
    table = n_users * (token_width + user_bias)
    trained = adapter + head + table + 1  # plus the temperature
    return TokenTuningPlan(
        base_weights=weight_bytes(lm),
        adapter=adapter * FLOAT,
        head=head * FLOAT,
        user_table=table * FLOAT,
        gradients=trained * FLOAT,
        optimiser=trained * MOMENTS * FLOAT,
        activations=saved_bytes(lm, batch_size * tokens) if lora.rank else 0,
        logits=2 * batch_size * (negatives or n_users) * FLOAT,
    )
