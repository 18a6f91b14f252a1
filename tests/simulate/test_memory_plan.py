import numpy as np
import pytest
import torch

from warmstart.lm.lora import LoRAConfig, TunableLM
from warmstart.lm.texts import TokenBatch
from warmstart.simulate.memory_plan import token_tuning_plan
from warmstart.simulate.user_tokens import PositivePairs, UserTokens

BATCH, LENGTH = 8, 48


def plan_and_parts(lm, rank, head):
    lora = LoRAConfig(rank=rank)
    tunable = TunableLM(lm, lora, np.random.default_rng(0))
    users = UserTokens(
        np.ones((70, 12)), lm.width, np.random.default_rng(0), head=head, degrees=np.ones(70)
    )
    plan = token_tuning_plan(
        lm,
        lora,
        n_users=70,
        token_width=12,
        batch_size=BATCH,
        tokens=LENGTH,
        two_layer=head == "two-layer",
    )
    return plan, tunable, users


def batch(lm):
    ids = torch.from_numpy(np.random.default_rng(0).integers(4, 14, (BATCH, LENGTH)))
    return TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool))


@pytest.mark.parametrize("head", ["linear", "two-layer"])
@pytest.mark.parametrize("rank", [0, 4])
def test_weights_gradients_and_optimiser_are_exact(lm, rank, head):
    plan, tunable, users = plan_and_parts(lm, rank, head)
    assert plan.adapter == sum(array.nbytes for array in tunable.adapter().values())
    assert plan.head == sum(weight.nbytes for weight in users.head.parameters())
    assert plan.user_table == 4 * 70 * 13
    assert plan.base_weights == sum(w.numel() * 4 for w in lm.with_head.parameters())
    trained = [*tunable.adapter_parameters().values(), *users.parameters()]
    optimiser = torch.optim.AdamW(trained)
    for weight in trained:
        weight.grad = torch.ones_like(weight)
    optimiser.step()
    assert plan.gradients == sum(w.grad.nbytes for w in trained)
    moments = [v for s in optimiser.state.values() for n, v in s.items() if n.startswith("exp")]
    assert plan.optimiser == sum(moment.nbytes for moment in moments)
    assert plan.gradients == plan.adapter + plan.head + plan.user_table + 4


def test_activations_are_within_a_factor_of_two(lm):
    plan, tunable, users = plan_and_parts(lm, 4, "linear")
    tunable.train()
    fixed = {weight.untyped_storage().data_ptr() for weight in tunable.parameters()}
    saved = {}

    def save(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in fixed:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        pooled = tunable(batch(lm))
    actual = sum(saved.values())
    assert actual / 2 < plan.activations < actual * 2
    pair = PositivePairs(torch.tensor([0]), torch.tensor([1]), torch.tensor([1.0]))
    assert users.loss(users.queries(pooled), pair).requires_grad


def test_a_frozen_lm_saves_no_activations(lm):
    plan, tunable, _ = plan_and_parts(lm, 0, "linear")
    assert plan.activations == plan.adapter == 0
    assert not tunable(batch(lm)).requires_grad


def plan_of(lm, n_users, **more):
    return token_tuning_plan(
        lm, LoRAConfig(rank=0), n_users=n_users, token_width=64, batch_size=2, tokens=8, **more
    )


def test_logits_do_not_grow_with_the_number_of_users(lm):
    assert plan_of(lm, 60_000).logits == 2 * 2 * 60_000 * 4
    assert plan_of(lm, 10**9).logits == plan_of(lm, 10**7).logits == 2**20 * 4
    assert plan_of(lm, 10**9, sampled=1000).logits == 2 * 1000 * 4
    assert plan_of(lm, 10**6, dense_offset=True).logits == 2 * 2 * 10**6 * 4


def test_a_row_wise_table_has_one_number_per_row_and_no_gradient(lm):
    adamw, row_wise = (plan_of(lm, 10**7, row_wise=flag) for flag in (False, True))
    assert adamw.user_table == row_wise.user_table == 10**7 * 65 * 4
    assert adamw.gradients - row_wise.gradients == row_wise.user_table
    small = 2 * 4 * (adamw.head // 4 + 1)
    assert row_wise.optimiser - small == 10**7 * 2 * 4  # tokens and biases
    assert adamw.optimiser - small == 2 * adamw.user_table
    sampled = plan_of(lm, 10**7, row_wise=True, sampled=1000)
    assert sampled.gradients - row_wise.gradients == 2 * 1000 * 65 * 4


def test_processes_share_gradients_and_state_of_the_table(lm):
    alone, shared = plan_of(lm, 10**6), plan_of(lm, 10**6, processes=4)
    assert shared.user_table == alone.user_table
    assert alone.gradients - shared.gradients == alone.user_table * 3 // 4
    assert alone.optimiser - shared.optimiser == 2 * alone.user_table * 3 // 4


def test_the_table_has_a_line_per_purpose_and_the_total(lm):
    plan, _, _ = plan_and_parts(lm, 4, "linear")
    lines = plan.table().splitlines()
    assert lines[-1].split() == ["total", f"{plan.total / 1e6:.1f}", "MB"]
    assert [line.split()[0] for line in lines[:3]] == ["base_weights", "adapter", "head"]
