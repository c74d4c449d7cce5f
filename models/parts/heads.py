"""From the last block's channels to a distribution over actions; the head is chosen by the action space."""

from typing import Any

import torch
from torch import Tensor, nn

from icrl.errors import UsageError
from icrl.models.backbones.kernels import Linear
from icrl.models.parts.encoders import middle_and_half_width
from icrl.spaces import bounds_of


class DiscreteHead(nn.Module):
    """One logit per action: `(B, T, D)` to `(B, T, A)`."""

    def __init__(self, num_actions: int, width: int) -> None:
        super().__init__()
        self.logits = Linear(width, num_actions)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.logits(x_BTD)


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


def make_action_head(space: dict[str, Any], width: int, scaled: bool = False) -> nn.Module:
    """The head of a space given as `icrl.spaces.space_to_dict` gives it."""
    match space:
        case {"kind": "discrete", "n": n}:
            return DiscreteHead(n, width)
        case {"kind": "box", "shape": shape}:
            return GaussianHead(shape, *bounds_of(space), width, scaled)
    raise UsageError(f"no head for the action space {space}: expected Discrete or Box")
