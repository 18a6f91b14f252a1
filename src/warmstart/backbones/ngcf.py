"""NGCF: graph convolution with learned maps and element-wise interaction.

Wang, He, Wang, Feng, Chua, "Neural Graph Collaborative Filtering", SIGIR 2019, eq. 7-9. With A the
normalised adjacency, layer l + 1 is

    E' = LeakyReLU( (A + I) E W1 + (A E * E) W2 )

and the final vectors are the concatenation of all layers.

Differences from the paper: the maps are initialised to W1 = I and W2 = 0, which is plain smoothing,
because a few hundred steps from random maps learn nothing; single layers are not normalised; there
is no message dropout and no bias. ``width`` is the width of the final vectors, split equally among
the layers.
"""

from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from scipy import sparse
from torch.nn import functional

from warmstart.backbones.base import FactorTrainee, shape_of
from warmstart.backbones.graph import GraphConfig, GraphTrainee, default_device
from warmstart.backbones.propagation import Batch, Propagate
from warmstart.backbones.sampled_factor import SampledFactorBackbone


class NgcfConfig(GraphConfig):
    """Settings of NGCF; see ``GraphConfig``. ``width`` must be a multiple of layers + 1.

    Attributes:
        leaky_relu_slope: slope of the LeakyReLU below zero.
        map_learning_rate_factor: learning rate of the maps W1 and W2 relative to
            ``learning_rate``; small, because Adam changes every entry of a map by a similar step
            and a dense map changes all vectors at once.
    """

    kind: Literal["ngcf"] = "ngcf"
    epochs: int = Field(default=80, ge=1)
    layers: int = Field(default=1, ge=0)
    leaky_relu_slope: float = Field(default=0.2, ge=0, le=1)
    map_learning_rate_factor: float = Field(default=0.05, ge=0)

    @model_validator(mode="after")
    def _check_width(self) -> Self:
        if self.width % (self.layers + 1):
            raise ValueError(
                f"width must be a multiple of layers + 1 = {self.layers + 1}, got {self.width}"
            )
        return self


class Ngcf(SampledFactorBackbone):
    """NGCF, on CUDA if available, else on the CPU."""

    name = "ngcf"
    config_type = NgcfConfig

    def _trainee(self, train: sparse.csr_matrix, rng: np.random.Generator) -> FactorTrainee:
        return _Convolution(train, self.config, rng)


class _Convolution(GraphTrainee):
    """Trains a table of user and item vectors and two maps per layer."""

    config: NgcfConfig

    def __init__(
        self, train: sparse.csr_matrix, config: NgcfConfig, rng: np.random.Generator
    ) -> None:
        device, part = default_device(), config.width // (config.layers + 1)
        table = rng.normal(0, 0.1 / np.sqrt(part), (sum(shape_of(train)), part))
        parameters = {"table": torch.tensor(table, dtype=torch.float32, device=device)}
        for layer in range(config.layers):
            parameters[f"sum{layer}"] = torch.eye(part, device=device)
            parameters[f"product{layer}"] = torch.zeros(part, part, device=device)
        for parameter in parameters.values():
            parameter.requires_grad_()
        slow = config.learning_rate * config.map_learning_rate_factor
        rates = {name: slow for name in parameters if name != "table"}
        super().__init__(train, config, parameters, device, rates)

    def propagate(self, batch: Batch) -> torch.Tensor:
        vectors, n_layers = self.parameters["table"], self.config.layers
        layers = [batch.select(vectors)]
        for layer in range(n_layers):
            last = layer == n_layers - 1  # only the rows of the batch are needed
            neighbours = Propagate.apply(vectors, batch.graph, batch if last else None)
            assert isinstance(neighbours, torch.Tensor)
            own = layers[-1] if last else vectors
            mixed = (neighbours + own) @ self.parameters[f"sum{layer}"]
            mixed = mixed + (neighbours * own) @ self.parameters[f"product{layer}"]
            vectors = functional.leaky_relu(mixed, self.config.leaky_relu_slope)
            layers.append(vectors if last else batch.select(vectors))
        return torch.cat(layers, dim=1)
