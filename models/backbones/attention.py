"""Self-attention with rotary positions or none, for training, for cached acting, and among a set.

Positions count the tokens of the context, from 0: they never restart at an episode. Where they do, attention across
episodes, and with it in-context learning, is gone.

Shape suffixes: B lanes, T tokens, D width, H heads, E channels of a head.
"""

from typing import Protocol

from torch import Tensor, nn

from icrl.models.backbones.kernels import Linear, attention_dtype, causal_attention, rotary


class Memory(Protocol):
    """What is attended to beside, or instead of, the tokens of a causal forward: `cache` and `sets` hold such."""

    def store(self, layer: int, k_BHTE: Tensor, v_BHTE: Tensor) -> None:
        """Stores keys and values."""

    def attend(self, layer: int, q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
        """Stores keys and values and returns the attended values `(B, H, T, E)`."""


class SelfAttention(nn.Module):
    """Multi-head attention, queries, keys and values from one product, no biases."""

    def __init__(self, width: int, n_head: int, layer: int, dropout: float) -> None:
        super().__init__()
        self.n_head, self.layer, self.dropout = n_head, layer, dropout
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width, gain=0.0)

    def forward(self, x_BTD: Tensor, table: Tensor | None, memory: Memory | None = None) -> Tensor:
        """Attention of each token to those up to it, or to what the memory says.

        Args:
            table: of `kernels.rotary_table`, the rows of these tokens' positions; None where they have none.
        """
        q_BHTE, k_BHTE, v_BHTE = self._project(x_BTD, table)
        if memory is None:
            y_BHTE = causal_attention(q_BHTE, k_BHTE, v_BHTE, self.dropout if self.training else 0.0)
        else:
            y_BHTE = memory.attend(self.layer, q_BHTE, k_BHTE, v_BHTE)
        y_BTD = y_BHTE.transpose(1, 2).reshape(x_BTD.shape)
        # Attention on a CPU is in fp32 where the model may be in bf16: see `attention_dtype`.
        return self.out(y_BTD.to(x_BTD.dtype) if y_BTD.device.type == "cpu" else y_BTD)

    def store(self, x_BTD: Tensor, table: Tensor | None, memory: Memory) -> None:
        """Puts the keys and values of these tokens into the memory and goes no further: the end of a prefill."""
        _, k_BHTE, v_BHTE = self._project(x_BTD, table)
        memory.store(self.layer, k_BHTE, v_BHTE)

    def _project(self, x_BTD: Tensor, table: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        B, T, D = x_BTD.shape
        qkv_BT3HE = self.qkv(x_BTD).view(B, T, 3, self.n_head, D // self.n_head)
        turned_BT3HE = qkv_BT3HE.to(attention_dtype(qkv_BT3HE)) if table is None else rotary(qkv_BT3HE, table)
        return tuple(part_BTHE.transpose(1, 2) for part_BTHE in turned_BT3HE.unbind(2))
