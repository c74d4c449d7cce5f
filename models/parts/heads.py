"""From the last block's channels to the numbers of a distribution over actions.

Shape suffixes: B lanes, T tokens, D width, A actions, F factors, N bits.
"""

import numpy as np
import torch
from torch import Tensor, nn

from icrl.models.backbones.kernels import Linear
from icrl.models.parts.encoders import middle_and_half_width


class DiscreteHead(nn.Module):
    """One logit per action: `(B, T, D)` to `(B, T, A)`."""

    def __init__(self, num_actions: int, width: int) -> None:
        super().__init__()
        self.logits = Linear(width, num_actions)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.logits(x_BTD)


class FactorHead(nn.Module):
    """A block of logits for each factor of a MultiDiscrete action, one after another: `(B, T, D)` to `(B, T, ΣA)`."""

    def __init__(self, sizes: list[int], width: int) -> None:
        super().__init__()
        self.logits = Linear(width, sum(sizes))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.logits(x_BTD)


class BitHead(nn.Module):
    """One logit per bit of a MultiBinary action, of its being set: `(B, T, D)` to `(B, T, *action_shape)`."""

    def __init__(self, shape: list[int], width: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.logits = Linear(width, int(np.prod(shape)))

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.logits(x_BTD).unflatten(-1, self.shape)


LOG_STD_LOW, LOG_STD_HIGH = -4.0, 1.0
"""Bounds of the logarithm of a standard deviation, in units of the action's scale: 2% to 270% of one."""


class GaussianHead(nn.Module):
    """Mean and log standard deviation of every number of a Box action: `(B, T, D)` to `(B, T, 2, *action_shape)`.

    Both are of the scaled action (`icrl.ranges`), so that every number of it starts alike. Without scales they are in
    the action's own units, and what comes out of the layer counts in half-widths of its range, from the middle.
    """

    def __init__(
        self, shape: list[int], low: list[float | None], high: list[float | None], width: int, scaled: bool = False
    ) -> None:
        super().__init__()
        self.shape, self.scaled = tuple(shape), scaled
        # Plain arrays rather than buffers: a buffer that is not saved comes back uninitialised from `from_pretrained`.
        self._centre, self._half = middle_and_half_width(low, high)
        self.numbers = Linear(width, 2 * len(low))

    def forward(self, x_BTD: Tensor) -> Tensor:
        mean, spread = self.numbers(x_BTD).float().chunk(2, dim=-1)
        log_std = LOG_STD_LOW + 0.5 * (LOG_STD_HIGH - LOG_STD_LOW) * (1.0 + torch.tanh(spread))
        if not self.scaled:
            centre, half = (torch.from_numpy(a).to(mean.device) for a in (self._centre, self._half))
            mean, log_std = centre + half * mean, log_std + half.log()
        both = torch.stack((mean, log_std), dim=2)
        return both.unflatten(-1, self.shape) if self.shape else both.squeeze(-1)
