"""Trees of values in PyTorch: nested dicts of tensors, with the names that the structured arrays have for their parts.

Shape suffixes: B lanes, T tokens, D width, U random numbers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from icrl.models.parts.distributions import Distribution, Metrics


def to_torch(values: Any) -> Any:
    """A tensor that shares the array's memory; of a structured array, or of a dict of arrays, a dict of tensors."""
    if isinstance(values, Mapping):
        return {name: to_torch(part) for name, part in values.items()}
    if values.dtype.names:
        return {name: to_torch(values[name]) for name in values.dtype.names}
    # A part of a structured array may lie between the others, at places that a tensor cannot have.
    odd = not values.flags.aligned or any(stride % values.itemsize for stride in values.strides)
    return torch.from_numpy(np.ascontiguousarray(values) if odd else values)


class _ByPart(nn.Module):
    """One module for each part of a tree."""

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        # A name may be one that a module has for itself, "type" for instance.
        self.parts = nn.ModuleDict({f"part_{name}": module for name, module in parts.items()})
        self.names = list(parts)

    def named(self) -> list[tuple[str, nn.Module]]:
        return [(name, self.parts[f"part_{name}"]) for name in self.names]


class TreeEncoder(_ByPart):
    """The sum of the parts, each embedded: `(B, T, D)`."""

    def forward(self, values: Mapping[str, Any]) -> Tensor:
        return sum(module(values[name]) for name, module in self.named())


class TreeHead(_ByPart):
    """A head for each part: `(B, T, D)` to a dict of what they say."""

    def forward(self, x_BTD: Tensor) -> dict[str, Any]:
        return {name: module(x_BTD) for name, module in self.named()}


class Parts(Distribution):
    """Parts that are independent of each other, given the token.

    Args:
        parts: their distributions.
        num_uniforms: how many random numbers each part takes.
    """

    def __init__(self, parts: Mapping[str, Distribution], num_uniforms: Mapping[str, int]) -> None:
        self.parts, self._num_uniforms = dict(parts), dict(num_uniforms)

    def loss(
        self, outputs: Mapping[str, Any], actions: Mapping[str, Any], unseen_BT: Tensor, label_smoothing: float = 0.0
    ) -> tuple[Tensor, Metrics]:
        """The sum of the parts' losses; their metrics with the part's name before them, "grip.accuracy"."""
        total, metrics = 0.0, {}
        for name, part in self.parts.items():
            loss, of_part = part.loss(outputs[name], actions[name], unseen_BT, label_smoothing)
            total = total + loss
            metrics |= {f"{name}.{metric}": value for metric, value in of_part.items() if metric != "loss"}
        return total, {"loss": total.detach(), **metrics}

    def act(self, outputs: Mapping[str, Any], uniforms: NDArray[np.float64] | None) -> dict[str, Any]:
        found, first = {}, 0
        for name, part in self.parts.items():
            last = first + self._num_uniforms[name]
            found[name] = part.act(outputs[name], None if uniforms is None else uniforms[:, first:last])
            first = last
        return found
