"""Attention over a set that was encoded once: to the set itself, and of queries to it, each query on its own.

Shape suffixes: B lanes, N tokens of the set, Q queries, T tokens of either, H heads, E channels of a head.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from icrl.models.backbones.cache import CachedState

_NEVER = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class SetMemory:
    """Keys and values of a set in every layer, with gradients where it was encoded with them."""

    rank_BN: Tensor
    """`(B, N)` int64: the how-many-th token of its set a place holds, from 0; a largest number where it holds none."""
    causal: bool
    """A token read only those before it, so that any first part of the set is a set of its own."""
    keys_BHNE: list[Tensor] = field(default_factory=list)
    values_BHNE: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, state: CachedState) -> "SetMemory":
        """What the lanes of a state hold, one set a lane."""
        lengths_B = torch.from_numpy(state.lengths)
        longest = int(lengths_B.max())
        held = (
            [layer_BHCE[state.places, :, :longest] for layer_BHCE in layers]
            for layers in (state.keys_BHCE, state.values_BHCE)
        )
        return cls(ranks(len(lengths_B), longest, lengths_B, state.device), True, *held)

    def put(self, layer: int, k_BHNE: Tensor, v_BHNE: Tensor) -> None:
        """Keeps a layer's keys and values; one that is computed again (gradient checkpointing) puts them anew."""
        self.keys_BHNE[layer : layer + 1] = [k_BHNE]
        self.values_BHNE[layer : layer + 1] = [v_BHNE]

    def layer(self, layer: int, like_BHTE: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's keys and values; none, of the shape of those at hand, where nothing was ever read."""
        if layer >= len(self.keys_BHNE):
            return like_BHTE[:, :, :0], like_BHTE[:, :, :0]
        return self.keys_BHNE[layer], self.values_BHNE[layer]

    def bias(self, seen_BQ: Tensor | None, dtype: torch.dtype) -> Tensor:
        """`(B, 1, Q, N)`: 0 where a query reads a place, minus infinity elsewhere; Q is 1 where all read alike."""
        hidden_BQN = self.rank_BN[:, None] >= (_NEVER if seen_BQ is None else seen_BQ[..., None])
        return torch.zeros(hidden_BQN.shape, dtype=dtype, device=hidden_BQN.device).masked_fill_(
            hidden_BQN, -torch.inf
        )[:, None]


def ranks(lanes: int, tokens: int, lengths: Tensor | None, device: torch.device) -> Tensor:
    """`(B, N)` of a `SetMemory` whose sets are right-padded."""
    rank_BN = torch.arange(tokens, device=device).expand(lanes, tokens)
    return rank_BN if lengths is None else rank_BN.masked_fill(rank_BN >= lengths.to(device)[:, None], _NEVER)


def set_mask(rank_BN: Tensor, causal: bool) -> Tensor:
    """`(B, 1, N, N)` bool: which tokens of a set each of them reads; padding reads itself, so that no row is empty."""
    N = rank_BN.shape[1]
    read_BNN = (rank_BN < _NEVER)[:, None].expand(-1, N, -1)
    if causal:
        read_BNN = read_BNN & torch.ones(N, N, dtype=torch.bool, device=rank_BN.device).tril()
    return (read_BNN | torch.eye(N, dtype=torch.bool, device=rank_BN.device))[:, None]


class EncodeSet:
    """The set attends to itself; where a memory is given, it takes the keys and values."""

    def __init__(self, mask: Tensor, dropout: float, memory: SetMemory | None = None) -> None:
        self.mask, self.dropout, self.memory = mask, dropout, memory

    def store(self, layer: int, k_BHTE: Tensor, v_BHTE: Tensor) -> None:
        if self.memory is not None:
            self.memory.put(layer, k_BHTE, v_BHTE)

    def attend(self, layer: int, q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
        self.store(layer, k_BHTE, v_BHTE)
        return F.scaled_dot_product_attention(q_BHTE, k_BHTE, v_BHTE, attn_mask=self.mask, dropout_p=self.dropout)


class QuerySet:
    """Queries attend to a set and to themselves."""

    def __init__(self, memory: SetMemory, seen_BQ: Tensor | None, dropout: float) -> None:
        self.memory, self.seen_BQ, self.dropout = memory, seen_BQ, dropout

    def store(self, layer: int, k_BHTE: Tensor, v_BHTE: Tensor) -> None:
        """A query leaves nothing behind."""

    def attend(self, layer: int, q_BHTE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
        keys_BHNE, values_BHNE = self.memory.layer(layer, k_BHTE)
        q_BHTE = q_BHTE * q_BHTE.shape[-1] ** -0.5
        to_set_BHQN = q_BHTE @ keys_BHNE.transpose(2, 3) + self.memory.bias(self.seen_BQ, q_BHTE.dtype)
        to_self_BHQ1 = (q_BHTE * k_BHTE).sum(-1, keepdim=True)
        weights = torch.cat((to_set_BHQN, to_self_BHQ1), dim=-1).softmax(-1)
        weights = F.dropout(weights, self.dropout) if self.dropout else weights
        return weights[..., :-1] @ values_BHNE + weights[..., -1:] * v_BHTE
