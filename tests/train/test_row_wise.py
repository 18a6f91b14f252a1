"""AdamW with row-wise tables: one number per row, fused and sparse updates equal the plain ones."""

from copy import deepcopy

import pytest
import torch

from warmstart.train.blocked_softmax import blocked_softmax
from warmstart.train.row_wise import RowWiseAdamW
from warmstart.train.sampled_softmax import gather_rows

ROWS, WIDTH, BATCH = 30, 4, 6


def parameters():
    generator = torch.Generator().manual_seed(0)
    shapes = [(ROWS, WIDTH), (ROWS,), (BATCH, WIDTH)]
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]


def optimiser(table, bias, queries):
    groups = [
        {"params": [table, bias], "lr": 0.03, "row_wise": True},
        {"params": [queries], "lr": 0.01},
    ]
    return RowWiseAdamW(groups)


def pairs():
    return torch.arange(BATCH), torch.arange(BATCH) * 4


def train(steps=4, *, fused):
    table, bias, queries = parameters()
    chosen = optimiser(table, bias, queries)
    update = chosen.fused(table, bias) if fused else None
    for _ in range(steps):
        picked, normalisers = blocked_softmax(
            queries, table, *pairs(), bias=bias, block=7, update=update
        )
        (normalisers.mean() - picked.mean()).backward()
        assert (table.grad is None) == fused
        chosen.step()
        chosen.zero_grad()
    return chosen, table, bias, queries


def test_a_step_is_the_formula_of_the_docstring():
    table, bias, queries = parameters()
    chosen, rates, decay = optimiser(table, bias, queries), 0.03, 0.999
    expected, moments = table.detach().clone(), torch.zeros(ROWS)
    for step in range(1, 4):
        gradient = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(step))
        table.grad = gradient.clone()
        chosen.step()
        moments = decay * moments + (1 - decay) * gradient.square().mean(1)
        size = (moments / (1 - decay**step)).sqrt() + 1e-8
        expected -= rates * gradient / size[:, None]
        torch.testing.assert_close(table.detach(), expected)


def test_a_row_that_comes_late_starts_with_the_size_of_the_rate():
    table, bias, queries = parameters()
    chosen, before = optimiser(table, bias, queries), table.detach().clone()
    for _ in range(500):
        gather_rows(table, torch.tensor([0])).sum().backward()
        chosen.step()
    gather_rows(table, torch.tensor([1])).sum().backward()
    chosen.step()
    torch.testing.assert_close(before[1] - table.detach()[1], torch.full((WIDTH,), 0.03))


def test_the_update_in_the_backward_pass_equals_that_of_the_step():
    plain, fused = train(fused=False), train(fused=True)
    for one, other in zip(plain[1:], fused[1:], strict=True):
        torch.testing.assert_close(one, other)
    for name in ("step", "row_moment"):
        for index in (1, 2):
            torch.testing.assert_close(
                plain[0].state[plain[index]][name], fused[0].state[fused[index]][name]
            )


def test_sparse_gradients_change_their_rows_only_and_repeated_rows_add_up():
    rows = torch.tensor([3, 9, 3])
    weights = torch.tensor([1.0, 2.0, 4.0])
    tables = []
    for gather in (gather_rows, lambda table, rows: table[rows]):
        table, bias, queries = parameters()
        chosen, before = optimiser(table, bias, queries), table.detach().clone()
        (gather(table, rows) * weights[:, None]).sum().backward()
        (gather(bias, rows) * weights).sum().backward()
        assert table.grad.is_sparse == bias.grad.is_sparse == (gather is gather_rows)
        chosen.step()
        changed = (table != before).any(1).nonzero().flatten().tolist()
        assert changed == [3, 9]
        tables += [(table.detach(), bias.detach())]
    torch.testing.assert_close(*tables)


def test_the_state_is_one_number_per_row_and_survives_a_round_trip():
    chosen, table, bias, queries = train(fused=True)
    assert chosen.state[table]["row_moment"].shape == chosen.state[bias]["row_moment"].shape
    assert chosen.state[table]["row_moment"].shape == (ROWS,)
    assert chosen.state[queries]["exp_avg"].shape == (BATCH, WIDTH)
    copies = [part.detach().clone().requires_grad_() for part in (table, bias, queries)]
    other = optimiser(*copies)
    other.load_state_dict(deepcopy(chosen.state_dict()))
    for step, tensors in ((chosen, (table, bias, queries)), (other, copies)):
        for tensor in tensors:
            tensor.grad = torch.ones_like(tensor)
        step.step()
    for one, copy in zip((table, bias, queries), copies, strict=True):
        torch.testing.assert_close(one, copy)


def test_without_row_wise_groups_it_is_adamw():
    results = []
    for make in (RowWiseAdamW, lambda groups: torch.optim.AdamW(groups, weight_decay=0.0)):
        tensors = parameters()
        chosen = make([{"params": tensors, "lr": 0.1}])
        for step in range(3):
            for tensor in tensors:
                tensor.grad = torch.full_like(tensor, step - 0.5)
            chosen.step()
        results += [tensors]
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("n_steps", [0, 2])
def test_parameters_without_gradient_stay(n_steps):
    table, bias, queries = parameters()
    before = table.detach().clone()
    chosen = optimiser(table, bias, queries)
    for _ in range(n_steps):
        chosen.step()
    assert torch.equal(table, before)
