"""Pure functions of policy gradients: advantages, the clipped loss, the distance to a reference.

Schulman et al. 2017, "Proximal Policy Optimization Algorithms" (PPO); Shao et al. 2024,
"DeepSeekMath" (GRPO, equations 3 and 4). A text is an episode, a token an action. All arrays have
shape (texts, tokens) unless said; ``written`` marks the tokens that the policy wrote.
"""

import torch
from torch import Tensor

_TINY = 1e-6


def group_advantages(rewards: Tensor, *, scale: bool = True) -> Tensor:
    """Compare each text with the others that were written for the same prompt (GRPO).

    Args:
        rewards: float, shape (prompts, texts): the reward of each text.
        scale: divide by the standard deviation over the texts of the prompt. Without it, prompts
            whose texts are all good or all bad do not count more (Liu et al. 2025).

    Returns:
        The same shape; each row has mean 0, and is 0 where all rewards of a prompt are equal.
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    if not scale:
        return centred
    return centred / (rewards.std(dim=1, keepdim=True, correction=0) + _TINY)


def final_rewards(rewards: Tensor, written: Tensor) -> Tensor:
    """Put the reward of each text at its last written token, and 0 at all others.

    Args:
        rewards: float, shape (texts,).
        written: bool.
    """
    order = torch.arange(1, written.shape[1] + 1, device=written.device)
    last = (written * order).argmax(dim=1)
    placed = torch.zeros_like(written, dtype=rewards.dtype)
    found = written.any(dim=1)
    placed[found, last[found]] = rewards[found]
    return placed


def generalised_advantages(
    rewards: Tensor, values: Tensor, written: Tensor, *, decay: float = 0.95, discount: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Estimate advantages from the rewards of tokens and a value function (PPO).

    Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage
    Estimation", equation 16.

    Args:
        rewards: float; rewards of the tokens.
        values: float; expected sums of the rewards from each token on, before it is chosen.
        written: bool; the written tokens of a text are neighbours.
        decay: lambda; 1 sums the rewards, 0 trusts the values.
        discount: gamma.

    Returns:
        Advantages and returns (targets of the values), 0 where nothing was written.
    """
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(following)
    for place in range(rewards.shape[1] - 1, -1, -1):
        surprise = rewards[:, place] + discount * next_value - values[:, place]
        following = (surprise + discount * decay * following) * written[:, place]
        next_value = values[:, place] * written[:, place]
        advantages[:, place] = following
    return advantages, (advantages + values) * written


def clipped_loss(
    log_p: Tensor, old_log_p: Tensor, advantages: Tensor, written: Tensor, *, clip: float = 0.2
) -> Tensor:
    """Compute the loss of PPO: minus the advantage times the ratio of probabilities, clipped.

    Args:
        log_p: log-probabilities of the written tokens by the policy, with gradients.
        old_log_p: the same by the policy that wrote them.
        advantages: of each token, or of each text, shape (texts, 1).
        written: bool.
        clip: how far the ratio may move from 1.

    Returns:
        The mean over the written tokens, a scalar.
    """
    ratio = torch.exp(log_p - old_log_p)
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return -masked_mean(torch.minimum(ratio * advantages, clipped * advantages), written)


def clipped_fraction(
    log_p: Tensor, old_log_p: Tensor, written: Tensor, *, clip: float = 0.2
) -> float:
    """The fraction of the written tokens whose ratio is beyond the clip."""
    beyond = (torch.exp(log_p - old_log_p) - 1).abs() > clip
    return float(masked_mean(beyond.float(), written))


def divergence(log_p: Tensor, reference_log_p: Tensor) -> Tensor:
    """Estimate KL(policy, reference) at tokens that the policy wrote: never negative, unbiased.

    With r = p_reference / p: r - 1 - log r (Schulman 2020, "Approximating KL Divergence", k3).
    """
    log_ratio = reference_log_p - log_p
    return torch.expm1(log_ratio) - log_ratio


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over the places of the mask, a scalar; 0 for an empty mask."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
