"""Causal self-attention with rotary positions, for training and for cached acting.

Positions count the tokens of the context, from 0: they never restart at an episode. Where they do, attention across
episodes, and with it in-context learning, is gone.

Shape suffixes: B lanes, T tokens, D width, H heads, E channels of a head.
"""

from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from icrl.models.kernels import Linear, rotary


class AttentionCache(Protocol):
    """What attention asks of a cache: see `icrl.models.cache`."""

    def positions(self, num_tokens: int) -> slice | Tensor:
        """Positions of the tokens of this forward: a slice, or one per lane `(B,)` where they differ (T = 1)."""

    def attend(self, layer: int, q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
        """Stores keys and values and returns the attended values `(B, H, T, E)`."""


class CausalSelfAttention(nn.Module):
    """Multi-head attention, queries, keys and values from one product, no biases."""

    def __init__(self, width: int, n_head: int, layer: int, dropout: float) -> None:
        super().__init__()
        self.n_head, self.layer, self.dropout = n_head, layer, dropout
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, x_BTD: Tensor, table: Tensor, cache: AttentionCache | None = None) -> Tensor:
        """Args: table: of `kernels.rotary_table`, the rows of these tokens' positions."""
        B, T, D = x_BTD.shape
        qkv_BT3HE = rotary(self.qkv(x_BTD).view(B, T, 3, self.n_head, D // self.n_head), table)
        q_BHTE, k_BHTE, v_BHTE = (x_BTHE.transpose(1, 2) for x_BTHE in qkv_BT3HE.unbind(2))
        if cache is None:
            dropout = self.dropout if self.training else 0.0
            y_BHTE = F.scaled_dot_product_attention(q_BHTE, k_BHTE, v_BHTE, is_causal=True, dropout_p=dropout)
        else:
            y_BHTE = cache.attend(self.layer, q_BHTE, k_BHTE, v_BHTE)
        return self.out(y_BHTE.transpose(1, 2).reshape(B, T, D))
