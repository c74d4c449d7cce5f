"""The tokens that stand in the context of each lane, and the rule by which a full context makes room.

Past the full context nothing rolls: where a lane's next tokens would not fit, the oldest C - K go, the others are
encoded anew from position 0, and acting goes on from there. So what is computed through a state is at every step a
plain causal forward over tokens s(t) … t, which an uncached model computes as well.

Shape suffixes: B lanes, T tokens, D width, C context, K kept, both in tokens.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icrl.errors import UsageError
from icrl.models.backbones.base import on
from icrl.models.backbones.held import HeldState

# Tokens encoded at once in a prefill: enough to keep the cores busy, few enough for their caches.
_PREFILL_TOKENS = 4096


class WindowState(HeldState):
    """The embedded tokens of every lane, for a backbone that encodes them anew when its context is full.

    Weights are frozen while acting, so embedded tokens stay what they are.

    Args:
        lanes: B.
        context, kept: C and K.
        like: any weight of the model `(..., )`, for its device and type.
        width: D.
    """

    def __init__(self, lanes: int, context: int, kept: int, width: int, like: Tensor) -> None:
        super().__init__(lanes, like.device)
        self.context, self.kept = context, kept
        self.tokens_BCD = torch.zeros((lanes, context, width), device=like.device, dtype=like.dtype)

    def set_lengths(self, lengths_B: NDArray[np.int64]) -> None:
        """States how many tokens each lane that is held has."""
        self.held_lengths = lengths_B

    def fill(self, x_BTD: Tensor, lengths_B: NDArray[np.int64]) -> None:
        """Takes over the tokens of a prompt."""
        longest = int(lengths_B.max(initial=0))
        if longest > self.context:
            raise UsageError(f"a prompt of {longest} tokens does not fit the model's context of {self.context}")
        self.tokens_BCD[:, :longest] = x_BTD[:, :longest]
        self.set_lengths(lengths_B.astype(np.int64))

    def make_room(self, num_tokens: int) -> NDArray[np.int64]:
        """Drops the oldest tokens of the lanes that have no place for so many; returns those lanes, whose tokens are
        to be encoded anew."""
        lengths_B = self.held_lengths
        if int(lengths_B.max(initial=0)) + num_tokens <= self.context:
            return np.empty(0, np.int64)
        lanes = np.flatnonzero(lengths_B + num_tokens > self.context)
        dropped = self.context - self.kept
        if (lengths_B[lanes] < dropped).any():
            raise UsageError(
                f"a step of {num_tokens} tokens holds some of the decision before, of which a full context keeps "
                f"{self.kept} tokens: choose a larger context_keep, or step by the tokens of one decision"
            )
        left = int(lengths_B[lanes].max()) - dropped
        index = on(lanes, self.device)
        if left:
            self.tokens_BCD[index, :left] = self.tokens_BCD[index, dropped : dropped + left]
        lengths_B = lengths_B.copy()
        lengths_B[lanes] -= dropped
        self.set_lengths(lengths_B)
        return lanes

    def write(self, x_BTD: Tensor) -> None:
        """Puts T more tokens behind those of every lane; the lengths are to be set afterwards."""
        lengths_B, tokens = self.held_lengths, x_BTD.shape[1]
        longest = int(lengths_B.max(initial=0))
        if (lengths_B == longest).all():
            self.tokens_BCD[:, longest : longest + tokens] = x_BTD
        else:
            places_BT = on(lengths_B[:, None] + np.arange(tokens), self.device)
            self.tokens_BCD[torch.arange(len(lengths_B), device=self.device)[:, None], places_BT] = x_BTD

    def parts(self, lanes: NDArray[np.int64], num_tokens: int) -> Iterator[tuple[slice | Tensor, Tensor]]:
        """These lanes, a few at a time, each part with the first `num_tokens` tokens of its lanes."""
        if num_tokens == 0:
            return
        chunk = max(1, _PREFILL_TOKENS // num_tokens)
        for start in range(0, len(lanes), chunk):
            part = lanes[start : start + chunk]
            contiguous = part[-1] - part[0] == len(part) - 1
            index = slice(int(part[0]), int(part[-1]) + 1) if contiguous else on(part, self.device)
            yield index, self.tokens_BCD[index, :num_tokens]

    def _take(self, index: NDArray[np.int64]) -> None:
        self.tokens_BCD = self.tokens_BCD.index_select(0, on(index, self.device))
        self.set_lengths(self.held_lengths[index])

    def _clear(self, index: NDArray[np.int64]) -> None:
        lengths_B = self.held_lengths.copy()
        lengths_B[index] = 0
        self.set_lengths(lengths_B)
