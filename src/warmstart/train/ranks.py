"""The processes that share a training (``torch.distributed``), and the sums between them.

``torchrun`` starts the same program several times, and each process computes the same fit; a
trainee may share its work between them. ``Ranks`` has the operations that this needs.
The loss is computed alike in every process, so a gradient is complete where a value is the same
everywhere, and must be added up where a process used the value for its own part only: the operators
f and g of Megatron-LM (Shoeybi et al. 2019, arXiv 1909.08053, section 3).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, distributed

from warmstart.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The processes of a shared training, as seen by one of them.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes, at least 2.
    """

    rank: int
    size: int

    @classmethod
    def current(cls) -> "Ranks | None":
        """Return the processes that share this training; None for a process on its own."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return None
        size = distributed.get_world_size()
        return cls(distributed.get_rank(), size) if size > 1 else None

    def rows(self, n_rows: int, rank: int | None = None) -> slice:
        """Return the rows of a table that a process (this one by default) holds.

        Raises:
            ConfigError: there are fewer rows than processes.
        """
        if n_rows < self.size:
            raise ConfigError(f"{self.size} processes cannot share a table of {n_rows} rows")
        return self.share(n_rows, rank)

    def share(self, n: int, rank: int | None = None) -> slice:
        """Return the part of n things that a process (this one by default) has to work on."""
        rank = self.rank if rank is None else rank
        return slice(n * rank // self.size, n * (rank + 1) // self.size)

    def gather_rows_(self, table: Tensor) -> Tensor:
        """Fill a table, of which each process has set its own ``rows``; returns it."""
        for source in range(self.size):
            distributed.broadcast(table[self.rows(len(table), source)], source)
        return table

    def agreed(self, value: T) -> T:
        """Return the value that the first process has, any object that can be pickled."""
        values = [value]
        distributed.broadcast_object_list(values, 0)
        return values[0]

    def broadcast_(self, tensor: Tensor) -> None:
        """Overwrite a tensor by that of the first process."""
        distributed.broadcast(tensor, 0)

    def average_(self, tensors: list[Tensor]) -> None:
        """Replace tensors by their means over the processes, in one exchange."""
        if not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = flat.div_(self.size).split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def spread(self, tensor: Tensor) -> Tensor:
        """Use a value, the same everywhere, for a part of the work: gradients are added up."""
        return _exchanged(tensor, None, _all_reduced)

    def total(self, tensor: Tensor) -> Tensor:
        """Add up the parts that the processes have computed; each part gets the whole gradient."""
        return _exchanged(tensor, _all_reduced, None)

    def log_sum_exp(self, tensor: Tensor) -> Tensor:
        """Combine log-normalisers over parts of a table to those over the whole table."""
        largest = tensor.detach().clone()
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return self.total((tensor - largest).exp()).log() + largest

    def batched(self, part: Tensor, rows: slice, batch: int) -> Tensor:
        """Put a batch together, of which this process has computed ``rows``.

        The gradient of the part is multiplied by the number of processes, because the gradients of
        the weights that computed it are averaged over the processes, as FSDP and DDP do.
        """
        part = _exchanged(part, None, lambda gradient: gradient * self.size)
        before = part.new_zeros(rows.start, *part.shape[1:])
        after = part.new_zeros(batch - rows.stop, *part.shape[1:])
        return self.total(torch.cat([before, part, after]))


@contextmanager
def process_group() -> Iterator[bool]:
    """Join the processes that ``torchrun`` has started, for as long as the block lasts.

    Without ``torchrun`` nothing happens. With GPUs, each process of a machine takes its own.

    Yields:
        Whether this process is the first, which writes and prints.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield True
        return
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # Tables are in the memory of the processor, language models may be on a GPU.
    distributed.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo")
    try:
        yield distributed.get_rank() == 0
    finally:
        distributed.destroy_process_group()


def is_first_process() -> bool:
    """Whether this process writes what all have computed; true for a process on its own."""
    ranks = Ranks.current()
    return ranks is None or ranks.rank == 0


Change: TypeAlias = Callable[[Tensor], Tensor] | None


def _exchanged(tensor: Tensor, forward: Change, backward: Change) -> Tensor:
    """Change a value in the forward pass, and its gradient in the backward pass."""
    return _Exchange.apply(tensor, forward, backward)  # pyright: ignore[reportReturnType]


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, forward: Change, backward: Change) -> Tensor:
        ctx.change = backward
        return tensor.view_as(tensor) if forward is None else forward(tensor)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return gradient if ctx.change is None else ctx.change(gradient), None, None


def _all_reduced(tensor: Tensor) -> Tensor:
    reduced = tensor.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(reduced)
    return reduced
