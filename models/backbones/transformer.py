"""The project's own decoder: pre-norm blocks with RMSNorm, rotary positions, squared-ReLU or SwiGLU MLPs, no biases.

Shape suffixes: B lanes, T tokens, D width, N tokens of a set, Q queries.
"""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization
from transformers.modeling_layers import GradientCheckpointingLayer

from icrl.errors import UsageError
from icrl.models.backbones.attention import Memory, SelfAttention
from icrl.models.backbones.base import Backbone
from icrl.models.backbones.cache import CachedState, Prefill
from icrl.models.backbones.kernels import Linear, rms_norm, rotary_table, squared_relu
from icrl.models.backbones.sets import EncodeSet, QuerySet, SetMemory, ranks, set_mask
from icrl.models.options import ModelOptions


class SquaredReLU(nn.Module):
    """max(x W, 0)² V (So et al., 2021)."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        hidden = round(ratio * width)
        self.up = Linear(width, hidden)
        self.down = Linear(hidden, width, gain=0.0)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.down(squared_relu(self.up(x_BTD)))


class SwiGLU(nn.Module):
    """(silu(x W) · x U) V (Shazeer, 2020), with 2/3 of the channels: as many weights as the other."""

    def __init__(self, width: int, ratio: float) -> None:
        super().__init__()
        hidden = max(8, round(ratio * width * 2 / 3 / 8) * 8)
        self.up = Linear(width, 2 * hidden)
        self.down = Linear(hidden, width, gain=0.0)

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate, value = self.up(x_BTD).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class Block(GradientCheckpointingLayer):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, options: ModelOptions, layer: int) -> None:
        super().__init__()
        self.dropout = options.residual_dropout
        self.attention = SelfAttention(options.width, options.n_head, layer, options.attention_dropout)
        self.mlp = (SquaredReLU if options.mlp == "relu2" else SwiGLU)(options.width, options.mlp_ratio)

    def forward(self, x_BTD: Tensor, table: Tensor | None, memory: Memory | None = None) -> Tensor:
        x_BTD = x_BTD + self._drop(self.attention(rms_norm(x_BTD), table, memory))
        return x_BTD + self._drop(self.mlp(rms_norm(x_BTD)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


class Transformer(Backbone):
    """Attention over a context that may span many episodes of one task."""

    Options: ClassVar[type] = ModelOptions
    reads_sets: ClassVar[bool] = True
    no_split_modules: ClassVar[tuple[str, ...]] = ("Block",)

    def __init__(self, options: ModelOptions, *, tokens_per_decision: int = 1, positions: bool = True) -> None:
        super().__init__(options, tokens_per_decision=tokens_per_decision, positions=positions)
        self.blocks = nn.ModuleList(Block(options, layer) for layer in range(options.n_layer))

    @torch.no_grad()
    def init_weights(self, module: nn.Module) -> None:
        """Blocks add nothing at first: what they give to the residual stream starts at zero."""
        if isinstance(module, Linear):
            initialization.normal_(module.weight, std=module.gain * module.in_features**-0.5)

    def forward(self, x_BTD: Tensor, *, causal: bool = True, lengths: Tensor | None = None) -> Tensor:
        B, T, _ = x_BTD.shape
        self._check_context(T)
        memory = None
        if not causal:
            memory = EncodeSet(set_mask(ranks(B, T, lengths, x_BTD.device), causal), self._attention_dropout)
        return rms_norm(self._blocks(self._drop(x_BTD), self._table(x_BTD, slice(0, T)), memory))

    def start(self, lanes: int) -> CachedState:
        return CachedState(lanes, self.context, self.kept, self.width, self._weight)

    @torch.inference_mode()
    def prefill(self, x_BTD: Tensor, lengths_B: NDArray[np.int64], state: CachedState) -> None:
        state.fill(x_BTD, lengths_B)
        self._encode(state, np.arange(len(lengths_B)), int(lengths_B.max(initial=0)))

    @torch.inference_mode()
    def step(self, x_BTD: Tensor, state: CachedState) -> Tensor:
        self._check_step(x_BTD, state)
        x_BTD = state.spread(x_BTD)
        tokens = x_BTD.shape[1]
        if len(lanes := state.make_room(tokens)):
            self._encode(state, lanes, int(state.held_lengths[lanes].max()))
        state.write(x_BTD)
        places = state.expect(tokens)
        y_BTD = rms_norm(self._blocks(x_BTD, self._table(x_BTD, places), state))
        state.set_lengths(state.held_lengths + tokens)
        return state.shown(y_BTD)

    def encode_set(self, x_BND: Tensor, lengths: Tensor | None = None, *, causal: bool = False) -> SetMemory:
        if self.positions:
            raise UsageError("a set has no order: make the backbone with positions=False")
        B, N, _ = x_BND.shape
        rank_BN = ranks(B, N, lengths, x_BND.device)
        memory = SetMemory(rank_BN, causal)
        encode = EncodeSet(set_mask(rank_BN, causal), self._attention_dropout, memory)
        x_BND = self._drop(x_BND)
        for block in self.blocks[:-1]:
            x_BND = block(x_BND, None, encode)
        self.blocks[-1].attention.store(rms_norm(x_BND), None, encode)
        return memory

    def query(self, x_BQD: Tensor, memory: SetMemory, seen: Tensor | None = None) -> Tensor:
        if seen is not None and not memory.causal:
            raise UsageError("seen needs a set that was encoded with causal=True: its tokens have read one another")
        return rms_norm(self._blocks(self._drop(x_BQD), None, QuerySet(memory, seen, self._attention_dropout)))

    def memory_of(self, state: CachedState) -> SetMemory:
        return SetMemory.of(state)

    def _blocks(self, x_BTD: Tensor, table: Tensor | None, memory: Memory | None) -> Tensor:
        for block in self.blocks:
            x_BTD = block(x_BTD, table, memory)
        return x_BTD

    def _encode(self, state: CachedState, lanes: NDArray[np.int64], num_tokens: int) -> None:
        """Keys and values of the first tokens of these lanes; nothing is predicted, so the last block stops there."""
        for index, x_BTD in state.parts(lanes, num_tokens):
            table, prefill = self._table(x_BTD, slice(0, num_tokens)), Prefill(state, index)
            for block in self.blocks[:-1]:
                x_BTD = block(x_BTD, table, prefill)
            self.blocks[-1].attention.store(rms_norm(x_BTD), table, prefill)

    def _table(self, x_BTD: Tensor, places: slice | Tensor) -> Tensor | None:
        """The rows of the rotary table at these places."""
        if not self.positions:
            return None
        return rotary_table(self.context, self.width // self.options.n_head, x_BTD.device)[places]

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.options.embedding_dropout) if self.training and self.options.embedding_dropout else x

    @property
    def _attention_dropout(self) -> float:
        return self.options.attention_dropout if self.training else 0.0
