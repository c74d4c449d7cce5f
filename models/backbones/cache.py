"""Keys and values of the context, kept, so that acting costs the tokens of one decision on and past a full context.

Shape suffixes: B lanes, T tokens, D width, H heads, E channels of a head, C context, S = length + T, N = B H.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from icrl.models.backbones.base import on
from icrl.models.backbones.kernels import attention_dtype, causal_attention
from icrl.models.backbones.window import WindowState


class CachedState(WindowState):
    """The tokens of every lane, with their keys and values in every layer, for lanes of unequal length.

    Args: as of a `WindowState`.
    """

    def __init__(self, lanes: int, context: int, kept: int, width: int, like: Tensor) -> None:
        super().__init__(lanes, context, kept, width, like)
        self.keys_BHCE: list[Tensor] = []
        """One per layer, made when the layer's first are stored."""
        self.values_BHCE: list[Tensor] = []
        self._none = torch.zeros((), device=like.device, dtype=attention_dtype(like))
        self.set_lengths(self.held_lengths)

    def set_lengths(self, lengths_B: NDArray[np.int64]) -> None:
        super().set_lengths(lengths_B)
        self.longest = int(lengths_B.max(initial=0))
        # Equal lengths, the common case, need no index.
        self.equal = bool((lengths_B == self.longest).all())

    def expect(self, num_tokens: int) -> slice | Tensor:
        """Makes ready for T more tokens in every lane; returns their places, a slice or `(B, T)` where lanes
        differ."""
        self._end = self.longest + num_tokens
        self._bias_NTS = None
        if self.equal:
            self._places = slice(self.longest, self._end)
        else:
            self._lanes_B1 = torch.arange(len(self.held_lengths), device=self.device)[:, None]
            self._places = on(self.held_lengths[:, None] + np.arange(num_tokens), self.device)
        return self._places

    def bias(self) -> Tensor:
        """0 for the places up to a token's own, minus infinity for those behind it: `(B, T, S)`, or `(1, T, S)` where
        lanes are equal."""
        places_BT = self._places
        if self.equal:
            places_BT = torch.arange(self.longest, self._end, device=self.device)[None]
        absent_BTS = torch.arange(self._end, device=self.device) > places_BT[..., None]
        zeros_BTS = torch.zeros(absent_BTS.shape, device=self.device, dtype=self._none.dtype)
        return zeros_BTS.masked_fill_(absent_BTS, -torch.inf)

    def store(self, layer: int, k_BHTE: Tensor, v_BHTE: Tensor) -> None:
        """Appends T tokens to every lane."""
        for held_BHCE, new_BHTE in zip(self.layer(layer, k_BHTE, v_BHTE), (k_BHTE, v_BHTE), strict=True):
            if self.equal:
                held_BHCE[:, :, self._places] = new_BHTE
            else:
                held_BHCE[self._lanes_B1, :, self._places] = new_BHTE.transpose(1, 2)

    def held(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values `(B, H, S, E)` up to the newest tokens."""
        return self.keys_BHCE[layer][:, :, : self._end], self.values_BHCE[layer][:, :, : self._end]

    def attend(self, layer: int, q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
        """Appends T tokens to every lane and attends to all that the lane holds up to each: softmax(q kᵀ / √E) v.

        Two batched products: reading long keys for few queries, they are faster than the attention kernel.
        """
        self.store(layer, k_BHTE, v_BHTE)
        _, H, T, E = q_BHTE.shape
        if self._bias_NTS is None and not (self.equal and T == 1):
            bias_BTS = self.bias()
            self._bias_NTS = bias_BTS if self.equal else bias_BTS.repeat_interleave(H, dim=0)
        q_NTE = q_BHTE.reshape(-1, T, E)
        held = (self.keys_BHCE[layer], self.values_BHCE[layer])
        keys_NSE, values_NSE = (x_BHCE.flatten(0, 1)[:, : self._end] for x_BHCE in held)
        bias, beta = (self._none, 0) if self._bias_NTS is None else (self._bias_NTS, 1)
        scores_NTS = torch.baddbmm(bias, q_NTE, keys_NSE.transpose(1, 2), beta=beta, alpha=E**-0.5)
        return torch.bmm(scores_NTS.softmax(-1), values_NSE).view(q_BHTE.shape)

    def layer(self, layer: int, k_BHTE: Tensor, v_BHTE: Tensor) -> tuple[Tensor, Tensor]:
        """The places of a layer's keys and values. Those that none are stored in are read where lanes are unequal,
        and weigh nothing: they must hold numbers, hence zeros."""
        if layer == len(self.keys_BHCE):
            for layers, new_BHTE in ((self.keys_BHCE, k_BHTE), (self.values_BHCE, v_BHTE)):
                _, H, _, E = new_BHTE.shape
                layers.append(new_BHTE.new_zeros((len(self.held_lengths), H, self.context, E)))
        return self.keys_BHCE[layer], self.values_BHCE[layer]

    def _take(self, index: NDArray[np.int64]) -> None:
        rows = on(index, self.device)
        self.keys_BHCE = [held_BHCE.index_select(0, rows) for held_BHCE in self.keys_BHCE]
        self.values_BHCE = [held_BHCE.index_select(0, rows) for held_BHCE in self.values_BHCE]
        super()._take(index)


class Prefill:
    """Fills the first T places of some lanes of a state, during one forward over the tokens of those lanes.

    Tokens are right-padded: a padded place is never attended to from a place before it, and its keys are overwritten
    before the lane's length reaches it.
    """

    def __init__(self, state: CachedState, lanes: slice | Tensor) -> None:
        self.state, self.lanes = state, lanes

    def store(self, layer: int, k_BHTE: Tensor, v_BHTE: Tensor) -> None:
        for held_BHCE, new_BHTE in zip(self.state.layer(layer, k_BHTE, v_BHTE), (k_BHTE, v_BHTE), strict=True):
            held_BHCE[self.lanes, :, : new_BHTE.shape[2]] = new_BHTE

    def attend(self, layer: int, q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
        self.store(layer, k_BHTE, v_BHTE)
        return causal_attention(q_BHTE, k_BHTE, v_BHTE)
