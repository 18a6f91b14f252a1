"""Memory plan: what tuning with user tokens will need, computed before it starts."""

from dataclasses import dataclass

from warmstart.lm.load import LanguageModel
from warmstart.lm.lora import LoRAConfig
from warmstart.lm.memory import FLOAT, MOMENTS, MemoryPlan, adapter_size, saved_bytes, weight_bytes
from warmstart.simulate.user_tokens import DENSE_USERS
from warmstart.train.blocked_softmax import BLOCK_LOGITS


@dataclass(frozen=True)
class TokenTuningPlan(MemoryPlan):
    """Memory of a tuning in bytes, by purpose.

    Attributes:
        base_weights: weights of the frozen LM.
        adapter: LoRA matrices.
        head: map from text vectors to the space of user tokens.
        user_table: user tokens and user biases.
        gradients: gradients of all trained parameters.
        optimiser: AdamW's two moments of all trained parameters; of a row-wise table, one number
            per row.
        activations: what the LM saves for the backward pass of one batch; an estimate.
        logits: logits over users that are in memory at the same time, with their gradient.
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
    row_wise: bool = False,
    dense_offset: bool = False,
    sampled: int = 0,
    processes: int = 1,
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
        row_wise: whether the user table has the row-wise optimiser, and no gradient of its size.
        dense_offset: whether logits of all users are added, from a ridge head that is no product.
        sampled: users whose logits a step computes, if the softmax is sampled; 0 is the full
            softmax.
        processes: processes that share the work; the plan is that of one of them.
    """
    adapter = adapter_size(lm, lora)
    head = lm.width * token_width + token_width
    if two_layer:
        hidden = max(lm.width, token_width)
        head = (lm.width + 1) * hidden + (hidden + 1) * token_width
    per_user = token_width + user_bias
    own_users = -(-n_users // processes)  # whose gradients and state this process has
    table, small = own_users * per_user, adapter + head + 1  # plus the temperature
    state = own_users * (1 + user_bias) if row_wise else table * MOMENTS
    # A sampled softmax copies the rows of the sample, and makes a gradient of the copy.
    gradients = 2 * sampled * per_user
    if not row_wise or (dense_offset and not sampled):
        gradients += table
    users = sampled or own_users
    if sampled or (not dense_offset and (row_wise or n_users > DENSE_USERS)):
        logits = min(batch_size * users, max(BLOCK_LOGITS, batch_size))
    else:
        logits = 2 * batch_size * users
    return TokenTuningPlan(
        base_weights=weight_bytes(lm),
        adapter=adapter * FLOAT,
        head=head * FLOAT,
        user_table=n_users * per_user * FLOAT,
        gradients=(small + gradients) * FLOAT,
        optimiser=(small * MOMENTS + state) * FLOAT,
        activations=saved_bytes(lm, -(-batch_size // processes) * tokens) if lora.rank else 0,
        logits=logits * FLOAT,
    )
