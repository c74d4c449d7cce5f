"""Encoders of observations and of actions.

Shape suffixes: B lanes, T tokens, D width, N coordinates or numbers, M images, CHW channels, height and width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

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
    """One learned vector per observation of a Discrete space, the first of which is `start`."""

    def __init__(self, size: int, width: int, start: int = 0) -> None:
        super().__init__()
        self.start = start
        self.table = nn.Embedding(size, width)

    def forward(self, observations_BT: Tensor) -> Tensor:
        return self.table(observations_BT.long() - self.start if self.start else observations_BT.long())


class ActionTable(nn.Embedding):
    """One learned vector per action of a Discrete space; the last is that of "none"."""

    def __init__(self, size: int, width: int, start: int = 0) -> None:
        super().__init__(size, width)
        self.start = start

    def forward(self, actions_BT: Tensor) -> Tensor:
        return super().forward(actions_BT.long() - self.start if self.start else actions_BT.long())


class MultiDiscreteEncoder(nn.Module):
    """One learned vector per value of each coordinate, summed over the coordinates.

    A cell that was rarely or never visited is made of coordinates that were, so it still has a meaning; a table per
    cell has to learn each one apart. (Projecting the concatenated coordinates is the same family of functions.)

    Args:
        sizes: how many values each coordinate has, in the order of the flattened array.
        start: the first value of each, in nested lists of any depth; 0 throughout where there is none.
    """

    def __init__(self, sizes: list[int], width: int, start: Sequence | None = None) -> None:
        super().__init__()
        self._start = None if start is None else np.ravel(start)
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)

    def forward(self, values_BTx: Tensor) -> Tensor:
        values_BTN = values_BTx.flatten(2).long()
        if self._start is not None:
            values_BTN = values_BTN - torch.from_numpy(self._start).to(values_BTN.device)
        coordinates = values_BTN.unbind(-1)
        return sum(table(values_BT) for table, values_BT in zip(self.tables, coordinates, strict=True))


class BitEncoder(nn.Module):
    """One learned vector per bit that is set, summed; and one per bit that is "none", which is 2, where there may be
    such."""

    def __init__(self, shape: list[int], width: int, with_none: bool = False) -> None:
        super().__init__()
        self.with_none = with_none
        self.vectors = nn.Linear(int(np.prod(shape)) * (1 + with_none), width)
        self.vectors.gain = EMBEDDING_STD

    def forward(self, values_BTx: Tensor) -> Tensor:
        values_BTN = values_BTx.flatten(2)
        set_BTN = values_BTN == 1
        if self.with_none:
            set_BTN = torch.cat((set_BTN, values_BTN == 2), dim=-1)
        return self.vectors(set_BTN.to(self.vectors.weight.dtype))


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


LARGEST_SIDE = 7
"""Strided convolutions halve an image until its sides are no longer than that."""
CHANNELS = 32


class ImageEncoder(nn.Module):
    """Bytes of an image through small convolutions, flattened, and one hidden layer.

    A 3×3 convolution, then as many strided ones as bring the sides down to `LARGEST_SIDE`.

    Args:
        shape: (H, W), (H, W, C) or (C, H, W), or with more axes before: those are channels too.
        centre, unit: a byte b is read as squash((b - centre) / unit).
    """

    def __init__(self, shape: Sequence[int], width: int, centre: float, unit: float) -> None:
        super().__init__()
        self.centre, self.unit = centre, unit
        self.axes = len(shape)
        self.channels_last = channels_last(shape)
        *others, height, wide = shape if not self.channels_last else (*shape[:-3], shape[-1], *shape[-3:-1])
        counts = [int(np.prod(others)), CHANNELS // 2]
        layers = [nn.Conv2d(*counts, kernel_size=3, padding=1)]
        while max(height, wide) > LARGEST_SIDE:
            counts.append(CHANNELS)
            height, wide = -(-height // 2), -(-wide // 2)
            layers.append(nn.Conv2d(*counts[-2:], kernel_size=3, stride=2, padding=1))
        self.convolutions = nn.ModuleList(layers)
        self.hidden = nn.Linear(counts[-1] * height * wide, width)
        self.out = nn.Linear(width, width, bias=False)
        self.out.gain = EMBEDDING_STD

    def forward(self, pixels_BTx: Tensor) -> Tensor:
        B, T = pixels_BTx.shape[:2]
        dtype = self.hidden.weight.dtype
        x = squash((pixels_BTx.flatten(0, 1).float() - self.centre) / self.unit).to(dtype)
        if self.channels_last:
            x = x.movedim(-1, -3)
        x_MCHW = x.reshape(B * T, -1, *x.shape[-2:])
        for layer in self.convolutions:
            x_MCHW = F.silu(layer(x_MCHW))
        x_BTN = rearrange(x_MCHW, "(b t) c h w -> b t (c h w)", b=B)
        return self.out(F.silu(self.hidden(x_BTN)))


def channels_last(shape: Sequence[int]) -> bool:
    """Whether the last axis of an image holds channels: of two equal sides and another, the other is theirs; else the
    shorter one of the first and the last. An image of two axes has no channels."""
    if len(shape) < 3:
        return False
    first, middle, last = shape[-3:]
    if (first == middle) != (middle == last):
        return first == middle
    return last <= first
