"""Causal self-attention with rotary positions, for training and for cached acting.

Positions count the tokens of the context, from 0: they never restart at an episode. Where they do, attention across
episodes, and with it in-context learning, is gone.

Shape suffixes: B lanes, T tokens, D width, H heads, E channels of a head.
"""

from typing import Protocol

from torch import Tensor, nn

from icrl.models.kernels import Linear, causal_attention, rotary


class AttentionCache(Protocol):
    """What attention asks of a cache: see `icrl.models.cache`."""

    def positions(self, num_tokens: int) -> slice | Tensor:
        """Positions of the tokens of this forward: a slice, or one per lane `(B,)` where they differ (T = 1)."""

    def store(self, layer: int, k_BHTE: Tensor, v_BHTE: Tensor) -> None:
        """Stores keys and values."""

    def attend(self, layer: int, q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
        """Stores keys and values and returns the attended values `(B, H, T, E)`."""


class CausalSelfAttention(nn.Module):
    """Multi-head attention, queries, keys and values from one product, no biases."""

    def __init__(self, width: int, n_head: int, layer: int, dropout: float) -> None:
        super().__init__()
        self.n_head, self.layer, self.dropout = n_head, layer, dropout
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width, gain=0.0)

    def forward(self, x_BTD: Tensor, table: Tensor, cache: AttentionCache | None = None) -> Tensor:
        """Args: table: of `kernels.rotary_table`, the rows of these tokens' positions."""
        q_BHTE, k_BHTE, v_BHTE = self._project(x_BTD, table)
        if cache is None:
            y_BHTE = causal_attention(q_BHTE, k_BHTE, v_BHTE, self.dropout if self.training else 0.0)
        else:
            y_BHTE = cache.attend(self.layer, q_BHTE, k_BHTE, v_BHTE)
        y_BTD = y_BHTE.transpose(1, 2).reshape(x_BTD.shape)
        # Attention on a CPU is in fp32 where the model may be in bf16: see `attention_dtype`.
        return self.out(y_BTD.to(x_BTD.dtype) if y_BTD.device.type == "cpu" else y_BTD)

    def store(self, x_BTD: Tensor, table: Tensor, cache: AttentionCache) -> None:
        """Puts the keys and values of these tokens into the cache and goes no further: the end of a prefill."""
        _, k_BHTE, v_BHTE = self._project(x_BTD, table)
        cache.store(self.layer, k_BHTE, v_BHTE)

    def _project(self, x_BTD: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        B, T, D = x_BTD.shape
        turned_BT3HE = rotary(self.qkv(x_BTD).view(B, T, 3, self.n_head, D // self.n_head), table)
        return tuple(part_BTHE.transpose(1, 2) for part_BTHE in turned_BT3HE.unbind(2))
