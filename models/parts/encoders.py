"""Encoders of observations and of actions, chosen by their space.

Shape suffixes: B lanes, T tokens, D width, N coordinates.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from icrl.errors import UsageError
from icrl.spaces import bounds_of

EMBEDDING_STD = 0.05
"""Initial standard deviation of what each part of a token adds. A residual stream that starts small is soon ruled by
the blocks: on 9×9 Dark Room the model then adapts to unseen goals after fewer steps of training than from 1.0."""


def squash(u: Tensor) -> Tensor:
    """u where |u| <= 1, and sign(u) (1 + ln |u|) beyond: what is a million times too large still tells from others."""
    return u.clamp(-1.0, 1.0) + torch.copysign(u.abs().clamp(min=1.0).log(), u)


def middle_and_half_width(
    low: list[float | None], high: list[float | None]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Of the range of each number of a Box; 0 and 1 where it is not bounded on both sides."""
    bounds = [(lo, hi) if lo is not None and hi is not None and hi > lo else (-1.0, 1.0)
              for lo, hi in zip(low, high, strict=True)]  # fmt: skip
    middle, half = ([(hi + sign * lo) / 2 for lo, hi in bounds] for sign in (1, -1))
    with np.errstate(over="ignore"):  # Bounds beyond float32 are for scaled numbers, which need neither.
        return np.array(middle, np.float32), np.array(half, np.float32)


class DiscreteEncoder(nn.Module):
    """One learned vector per observation of a Discrete space."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(size, width)

    def forward(self, observations_BT: Tensor) -> Tensor:
        return self.table(observations_BT.long())


class MultiDiscreteEncoder(nn.Module):
    """One learned vector per value of each coordinate, summed over the coordinates.

    A cell that was rarely or never visited is made of coordinates that were, so it still has a meaning; a table per
    cell has to learn each one apart. (Projecting the concatenated coordinates is the same family of functions.)
    """

    def __init__(self, sizes: list[int], width: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)

    def forward(self, observations_BTN: Tensor) -> Tensor:
        coordinates = observations_BTN.long().unbind(-1)
        return sum(table(values_BT) for table, values_BT in zip(self.tables, coordinates, strict=True))


class BoxEncoder(nn.Module):
    """A Box, flattened, through one hidden layer. Scaled numbers (`icrl.ranges`) are squashed first; without scales
    they are mapped to [-1, 1] where they are bounded on both sides.
    """

    def __init__(self, low: list[float | None], high: list[float | None], width: int, scaled: bool = False) -> None:
        super().__init__()
        self.scaled = scaled
        # Plain arrays rather than buffers: a buffer that is not saved comes back uninitialised from `from_pretrained`.
        self._centre, half = middle_and_half_width(low, high)
        self._scale = 1.0 / half
        self.hidden = nn.Linear(len(low), width)
        self.out = nn.Linear(width, width, bias=False)
        self.out.gain = EMBEDDING_STD

    def forward(self, observations_BTx: Tensor) -> Tensor:
        x_BTN = observations_BTx.reshape(*observations_BTx.shape[:2], -1).float()  # A Box of shape () is one number.
        if self.scaled:
            x_BTN = squash(x_BTN)
        else:
            centre_N, scale_N = (torch.from_numpy(a).to(x_BTN.device) for a in (self._centre, self._scale))
            x_BTN = (x_BTN - centre_N) * scale_N
        return self.out(F.silu(self.hidden(x_BTN.to(self.hidden.weight.dtype))))


def make_observation_encoder(space: dict[str, Any], width: int, scaled: bool = False) -> nn.Module:
    """The encoder of a space given as `icrl.spaces.space_to_dict` gives it."""
    match space:
        case {"kind": "discrete", "n": n}:
            return DiscreteEncoder(n, width)
        case {"kind": "multi_discrete", "nvec": sizes}:
            return MultiDiscreteEncoder(sizes, width)
        case {"kind": "box"}:
            return BoxEncoder(*bounds_of(space), width, scaled)
    raise UsageError(f"no encoder for the observation space {space}: expected Discrete, MultiDiscrete or Box")


def make_action_encoder(space: dict[str, Any], width: int, scaled: bool = False) -> nn.Module:
    """The encoder of actions: of a Discrete space with one row more, for "none"; of a Box "none" is all zeros."""
    match space:
        case {"kind": "discrete", "n": n}:
            return nn.Embedding(n + 1, width)
        case {"kind": "box"}:
            return BoxEncoder(*bounds_of(space), width, scaled)
    raise UsageError(f"no encoder for the action space {space}: expected Discrete or Box")
