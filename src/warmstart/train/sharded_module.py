"""A network whose weights are divided between processes (FSDP2, ``fully_shard``).

Each process holds a part of every weight and gathers a layer's weights while it computes the layer
(Zhao et al. 2023, arXiv 2304.11277). On processors this works over gloo, but for
``set_gradient_divide_factor``, which needs a sum that gloo lacks: gradients are means over the
processes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


class ShardedModule:
    """Divides the weights of a network between all processes; each layer is gathered as a whole.

    Args:
        network: the network; its parameters become parts (``DTensor``).
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._whole = dict(network.named_parameters())
        device = next(iter(self._whole.values())).device.type
        mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
        layers = [layer for layers in _lists_of_layers(network) for layer in layers]
        for module in (*layers, network):
            divided = fully_shard(module, mesh=mesh)
            # The buffers are made at the first use. Made in inference mode, they could not be
            # trained with afterwards.
            divided.unshard()
            divided.reshard()

    @contextmanager
    def without_whole_weights(self) -> Iterator[None]:
        """Free the frozen weights that other networks share with this one, inside the block.

        Those networks cannot compute meanwhile. Afterwards they have the same weights again.
        """
        frozen = {name: w for name, w in self._whole.items() if not w.requires_grad}
        for weight in frozen.values():
            weight.data = weight.data.new_empty(0)
        try:
            yield
        finally:
            parts = dict(self.network.named_parameters())
            for name, weight in frozen.items():
                weight.data = whole(parts[name].detach())


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that may be divided between processes as a whole; all must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_like(array: np.ndarray, tensor: Tensor) -> Tensor:
    """Turn a whole array into a tensor that is divided as ``tensor`` is, if at all."""
    values = torch.from_numpy(np.asarray(array))
    if not isinstance(tensor, DTensor) or values.ndim == 0:
        return values
    return distribute_tensor(values.to(tensor.device), tensor.device_mesh, tensor.placements)


def _lists_of_layers(network: nn.Module) -> list[nn.ModuleList]:
    """The lists of layers that are in no other one."""
    lists = {n: m for n, m in network.named_modules() if isinstance(m, nn.ModuleList)}
    return [
        module
        for name, module in lists.items()
        if not any(name.startswith(f"{other}.") for other in lists)
    ]
