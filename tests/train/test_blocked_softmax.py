"""The softmax in blocks against the dense one: values, gradients, and what it keeps in memory."""

import pytest
import torch

from warmstart.errors import DataError
from warmstart.train.blocked_softmax import (
    FixedLogits,
    blocked_log_normalisers,
    blocked_softmax,
)

BATCH, ROWS, WIDTH, PAIRS = 5, 37, 4, 23


def world(dtype=torch.float64, rows=ROWS):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    queries, table, bias = normal(BATCH, WIDTH), normal(rows, WIDTH), normal(rows)
    for learned in (queries, table, bias):
        learned.requires_grad_()
    pair_queries = torch.randint(BATCH, (PAIRS,), generator=generator)
    pair_rows = torch.randint(rows, (PAIRS,), generator=generator)  # with repetitions
    fixed = FixedLogits(normal(BATCH, 3), normal(rows, 3))
    return queries, table, bias, pair_queries, pair_rows, fixed


def dense(queries, table, pair_queries, pair_rows, *, bias=None, fixed=None):
    logits = queries @ table.T
    if bias is not None:
        logits = logits + bias
    if fixed is not None:
        logits = logits + fixed.queries @ fixed.table.T
    return logits[pair_queries, pair_rows], logits.logsumexp(1)


def gradients(results, learned):
    picked, normalisers = results
    weights = torch.arange(1.0, PAIRS + 1, dtype=picked.dtype)
    loss = (normalisers * torch.arange(BATCH)).sum() - (picked * weights).sum()
    return torch.autograd.grad(loss, learned)


@pytest.mark.parametrize("block", [1, 7, 36, 37, 1000, None])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_fixed", [False, True])
def test_values_and_gradients_are_those_of_the_dense_softmax(block, with_bias, with_fixed):
    queries, table, bias, pair_queries, pair_rows, fixed = world()
    more = {"bias": bias if with_bias else None, "fixed": fixed if with_fixed else None}
    learned = [queries, table, bias] if with_bias else [queries, table]
    expected = dense(queries, table, pair_queries, pair_rows, **more)
    found = blocked_softmax(queries, table, pair_queries, pair_rows, block=block, **more)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, learned), gradients(expected, learned))
    normalisers = blocked_log_normalisers(queries, table, block=block, **more)
    torch.testing.assert_close(normalisers, expected[1])


def test_gradients_of_float32_are_close_to_the_dense_ones():
    queries, table, bias, pair_queries, pair_rows, fixed = world(torch.float32, rows=5000)
    more = {"bias": bias, "fixed": fixed}
    found = blocked_softmax(queries, table, pair_queries, pair_rows, block=64, **more)
    expected = dense(queries, table, pair_queries, pair_rows, **more)
    learned = [queries, table, bias]
    torch.testing.assert_close(
        gradients(found, learned), gradients(expected, learned), rtol=1e-4, atol=1e-5
    )


def test_finite_differences_agree():
    queries, table, bias, pair_queries, pair_rows, fixed = world()

    def function(queries, table, bias):
        return blocked_softmax(
            queries, table, pair_queries, pair_rows, bias=bias, fixed=fixed, block=8
        )

    assert torch.autograd.gradcheck(function, (queries, table, bias))


def test_frozen_tables_get_no_gradient():
    queries, table, bias, pair_queries, pair_rows, _ = world()
    picked, normalisers = blocked_softmax(
        queries, table.detach(), pair_queries, pair_rows, bias=bias.detach()
    )
    (normalisers.sum() - picked.sum()).backward()
    assert queries.grad is not None
    assert table.grad is bias.grad is None


def test_large_logits_do_not_overflow():
    queries, table, bias, pair_queries, pair_rows, _ = world(torch.float32)
    _, normalisers = blocked_softmax(queries * 1e4, table, pair_queries, pair_rows, block=5)
    assert normalisers.isfinite().all()
    assert all(part.isfinite().all() for part in torch.autograd.grad(normalisers.sum(), [queries]))
    _, lowest = blocked_softmax(queries, table, pair_queries, pair_rows, bias=bias - 1e4, block=5)
    assert lowest.isfinite().all()


def test_nothing_of_the_size_of_all_logits_is_saved_or_computed():
    queries, table, bias, pair_queries, pair_rows, fixed = world(torch.float32, rows=4000)
    largest = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest.append(result.numel())
            return result

    with Sizes():
        picked, normalisers = blocked_softmax(
            queries, table, pair_queries, pair_rows, bias=bias, fixed=fixed, block=16
        )
        (normalisers.sum() - picked.sum()).backward()
    assert max(largest) == table.numel()  # its gradient
    assert sorted(set(largest))[-2] <= len(table)  # the gradient of the bias


def test_an_update_gets_the_gradients_block_by_block_and_nothing_is_kept():
    queries, table, bias, pair_queries, pair_rows, fixed = world()
    more = {"bias": bias, "fixed": fixed, "block": 10}
    expected = gradients(
        blocked_softmax(queries, table, pair_queries, pair_rows, **more), [queries, table, bias]
    )
    found = {}

    def update(rows, for_table, for_bias):
        found[rows.start] = (for_table, for_bias)
        with torch.no_grad():
            table[rows] = 0  # the block is not needed any more

    results = blocked_softmax(queries, table, pair_queries, pair_rows, update=update, **more)
    (for_queries,) = gradients(results, [queries])
    assert list(found) == [0, 10, 20, 30]
    torch.testing.assert_close(for_queries, expected[0])
    for position in (0, 1):
        whole = torch.cat([parts[position] for parts in found.values()])
        torch.testing.assert_close(whole, expected[1 + position])
    assert table.grad is bias.grad is None


def test_shapes_that_do_not_fit_and_rows_outside_are_refused():
    queries, table, bias, pair_queries, pair_rows, fixed = world()
    with pytest.raises(DataError, match=r"do not fit together: queries \(5, 4\), table \(37, 3\)"):
        blocked_softmax(queries, table[:, :3], pair_queries, pair_rows)
    with pytest.raises(DataError, match=r"bias \(36,\)"):
        blocked_softmax(queries, table, pair_queries, pair_rows, bias=bias[1:])
    wrong = FixedLogits(fixed.queries[1:], fixed.table)
    with pytest.raises(DataError, match=r"fixed.queries \(4, 3\)"):
        blocked_softmax(queries, table, pair_queries, pair_rows, fixed=wrong)
    with pytest.raises(DataError, match=r"within 0\.\.36"):
        blocked_softmax(queries, table, pair_queries, pair_rows + 30)
