"""Causal self-attention with rotary positions, for training and for cached acting.

Positions count the tokens of the context, from 0: they never restart at an episode. Where they do, attention across
episodes, and with it in-context learning, is gone.

Shape suffixes: B lanes, T tokens, D width, H heads, E channels of a head, F = E / 2 frequencies, C context length.
"""

from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROTARY_BASE = 10_000.0


class AttentionCache(Protocol):
    """What attention asks of a cache: see `icrl.models.cache`."""

    def positions(self, num_tokens: int) -> slice | Tensor:
        """Positions of the tokens of this forward: a slice, or one per lane `(B,)` where they differ (T = 1)."""

    def attend(self, layer: int, q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
        """Stores keys and values and returns the attended values `(B, H, T, E)`."""


@lru_cache(maxsize=16)
def rotary_table(length: int, head_width: int, device: torch.device) -> Tensor:
    """Angles t · base^(-f/F) as cosines and sines: `(2, length, F)`, float32 (Su et al., 2021).

    A cached function and not a buffer: there is nothing to save, to broadcast between processes or to lose in
    `from_pretrained`. Made outside inference mode, since a table first made while acting may be trained with later.
    """
    with torch.inference_mode(False):
        half = head_width // 2
        frequency_F = ROTARY_BASE ** (-torch.arange(half, dtype=torch.float64) / half)
        angle_TF = torch.arange(length, dtype=torch.float64)[:, None] * frequency_F
        return torch.stack([angle_TF.cos(), angle_TF.sin()]).float().to(device)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the pairs (x[..., f], x[..., f + F]) by their angles; cos and sin broadcast against `(..., F)`."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class CausalSelfAttention(nn.Module):
    """Multi-head attention, queries, keys and values from one product, no biases."""

    def __init__(self, width: int, n_head: int, layer: int, dropout: float) -> None:
        super().__init__()
        self.n_head, self.layer, self.dropout = n_head, layer, dropout
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BTD: Tensor, cos: Tensor, sin: Tensor, cache: AttentionCache | None = None) -> Tensor:
        """Args: cos, sin: broadcast against `(B, T, 2, H, F)`."""
        B, T, D = x_BTD.shape
        qkv_BT3HE = self.qkv(x_BTD).view(B, T, 3, self.n_head, D // self.n_head)
        qk_BT2HE = rotate(qkv_BT3HE[:, :, :2], cos, sin)
        q_BHTE, k_BHTE = qk_BT2HE[:, :, 0].transpose(1, 2), qk_BT2HE[:, :, 1].transpose(1, 2)
        v_BHTE = qkv_BT3HE[:, :, 2].transpose(1, 2)
        if cache is None:
            dropout = self.dropout if self.training else 0.0
            y_BHTE = F.scaled_dot_product_attention(q_BHTE, k_BHTE, v_BHTE, is_causal=True, dropout_p=dropout)
        else:
            y_BHTE = cache.attend(self.layer, q_BHTE, k_BHTE, v_BHTE)
        return self.out(y_BHTE.transpose(1, 2).reshape(B, T, D))
