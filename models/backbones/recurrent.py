"""Recurrent backbones: x + GRU(norm(x)) or x + LSTM(norm(x)), layer upon layer, with RMSNorm before and after.

What such a model remembers is its hidden state, of one size for ever: nothing is dropped from the context, and a step
costs the same at any length. It is trained on windows that start from a hidden state of zeros.

Shape suffixes: B lanes, T tokens, D width.
"""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from icrl.errors import UsageError
from icrl.models.backbones.base import Backbone
from icrl.models.backbones.held import TensorState
from icrl.models.backbones.kernels import rms_norm
from icrl.models.backbones.options import RecurrentOptions

# Tokens of a prompt read at once: a bound on memory, not on a prompt.
_PREFILL_TOKENS = 16_384


class _Recurrent(Backbone):
    Options: ClassVar[type] = RecurrentOptions
    recurrent: ClassVar[bool] = True
    layer: ClassVar[type[nn.RNNBase]]
    memories: ClassVar[tuple[str, ...]]
    """Names of what a layer remembers, each `(B, D)`."""

    def __init__(self, options: RecurrentOptions, *, tokens_per_decision: int = 1, positions: bool = True) -> None:
        super().__init__(options, tokens_per_decision=tokens_per_decision, positions=positions)
        self.layers = nn.ModuleList(
            self.layer(options.width, options.width, batch_first=True) for _ in range(options.n_layer)
        )

    def forward(self, x_BTD: Tensor, *, causal: bool = True, lengths: Tensor | None = None) -> Tensor:
        if not causal:
            raise UsageError(self._no_sets())
        return self._read(x_BTD, None)

    def start(self, lanes: int) -> TensorState:
        names = [f"{name}.{layer}" for layer in range(len(self.layers)) for name in self.memories]
        zeros = {name: self._weight.new_zeros((lanes, self.width), requires_grad=False) for name in names}
        return TensorState(lanes, zeros)

    @torch.inference_mode()
    def prefill(self, x_BTD: Tensor, lengths_B: NDArray[np.int64], state: TensorState) -> None:
        chunk = max(1, _PREFILL_TOKENS // max(1, len(lengths_B)))
        for first in range(0, int(lengths_B.max(initial=0)), chunk):
            here_B = np.clip(lengths_B - first, 0, chunk)
            self._read(x_BTD[:, first : first + int(here_B.max())], state, torch.from_numpy(here_B))
        state.held_lengths = lengths_B.astype(np.int64)

    @torch.inference_mode()
    def step(self, x_BTD: Tensor, state: TensorState) -> Tensor:
        self._check_step(x_BTD, state)
        y_BTD = self._read(state.spread(x_BTD), state)
        state.held_lengths = state.held_lengths + x_BTD.shape[1]
        return state.shown(y_BTD)

    def _read(self, x_BTD: Tensor, state: TensorState | None, lengths_B: Tensor | None = None) -> Tensor:
        """Outputs `(B, T, D)`, from what the state remembers to what it remembers then; without one from zeros.

        Args:
            lengths_B: where a prompt is right-padded, on the CPU: what a lane remembers is of its own last token.
        """
        x_BTD = self._drop(x_BTD, self.options.embedding_dropout)
        for number, layer in enumerate(self.layers):
            names = [f"{name}.{number}" for name in self.memories]
            # A layer has one memory (GRU) or a pair of them (LSTM), with a dimension for layers in front.
            before = None if state is None else tuple(state.tensors[name][None] for name in names)
            y_BTD, after = self._run(layer, rms_norm(x_BTD), before, lengths_B)
            if state is not None:
                for name, new_1BD, old_1BD in zip(names, after, before, strict=True):
                    state.tensors[name] = new_1BD[0] if lengths_B is None else _where(lengths_B, new_1BD, old_1BD)
            x_BTD = x_BTD + self._drop(y_BTD, self.options.residual_dropout)
        return rms_norm(x_BTD)

    def _run(
        self, layer: nn.RNNBase, x_BTD: Tensor, before: tuple[Tensor, ...] | None, lengths_B: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        hidden = before if before is None or len(before) > 1 else before[0]
        if lengths_B is None:
            y_BTD, after = layer(x_BTD, hidden)
        else:
            # A lane of no tokens is read as one of a single token, whose memory `_where` drops.
            packed = pack_padded_sequence(x_BTD, lengths_B.clamp(min=1), batch_first=True, enforce_sorted=False)
            read, after = layer(packed, hidden)
            y_BTD, _ = pad_packed_sequence(read, batch_first=True, total_length=x_BTD.shape[1])
        return y_BTD, after if isinstance(after, tuple) else (after,)

    def _drop(self, x: Tensor, share: float) -> Tensor:
        return F.dropout(x, share) if self.training and share else x


def _where(lengths_B: Tensor, new_1BD: Tensor, old_1BD: Tensor) -> Tensor:
    return torch.where((lengths_B > 0).to(new_1BD.device)[:, None], new_1BD[0], old_1BD[0])


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al., 2014), as in RL² (Duan et al., 2016)."""

    layer = nn.GRU
    no_split_modules = ("GRU",)
    memories = ("hidden",)


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997)."""

    layer = nn.LSTM
    no_split_modules = ("LSTM",)
    memories = ("hidden", "cell")
